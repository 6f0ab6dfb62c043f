"""Gradient boosting on one-hot categories and numbers, and the calibrated tree models as ONNX."""

from typing import TYPE_CHECKING, Any

import numpy as np

from churn.contract.features import Service
from churn.model.calibration import EDGE, Calibration
from churn.model.encode import Columns
from churn.model.onnx_graph import calibrate, ensemble, one_hot, write_model
from churn.model.trees import Trees

if TYPE_CHECKING:
    import pandas as pd

RANDOM_STATE = 42


def new_boosting(service: Service, features: "pd.DataFrame", **parameters: Any) -> Any:
    """Return the unfitted pipeline for the features that `features` know at all.

    Args:
        service: the features.
        features: the rows to be fitted on: numbers without a single value are left out, which the
            booster cannot bin.
        parameters: of HistGradientBoostingClassifier.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    known = [name for name in service.numeric_cols if features[name].notna().any()]
    parts = [("categorical", encoder, service.categorical_cols), ("numeric", "passthrough", known)]
    booster = HistGradientBoostingClassifier(
        early_stopping=False, random_state=RANDOM_STATE, **parameters
    )
    return Pipeline([("encode", ColumnTransformer(parts)), ("boosting", booster)])


def categories_of(pipeline: Any) -> list[list[str]]:
    """Return the categories that each categorical column is one-hot encoded to."""
    encoder = pipeline["encode"].named_transformers_["categorical"]
    return [list(map(str, known)) for known in getattr(encoder, "categories_", [])]


def in_full_columns(trees: Trees, pipeline: Any, service: Service) -> Trees:
    """Return the trees with their splits counted over every column, those that were left out too."""
    import dataclasses

    one_hots = sum(map(len, categories_of(pipeline)))
    known = list(pipeline["encode"].transformers_[1][2])
    numbers = [one_hots + service.numeric_cols.index(name) for name in known]
    full = np.array([*range(one_hots), *numbers], dtype=np.int64)
    return dataclasses.replace(trees, feature=full[trees.feature])


def trees_to_onnx(
    trees: Trees,
    categories: list[list[str]],
    columns: Columns,
    calibration: Calibration,
    *,
    is_share: bool,
) -> bytes:
    """Return a calibrated tree model as ONNX.

    Args:
        trees: splits over the one-hot columns, then the numbers.
        categories: of each categorical column.
        columns: the model's columns.
        calibration: from log odds to probability.
        is_share: the trees' score is a forest's share of votes, not log odds.
    """
    from onnx import TensorProto, helper

    nodes, encoded = one_hot(categories)
    nodes += [
        helper.make_node("Concat", [*encoded, "numeric"], ["features"], axis=1),
        *ensemble(trees, "features", "sum"),
        helper.make_node("Cast", ["sum"], ["sum_double"], to=TensorProto.DOUBLE),
        helper.make_node("Add", ["sum_double", "base"], ["raw"]),
    ]
    constants = {"base": np.array(trees.base)}
    log_odds = "raw"
    if is_share:
        log_odds = "log_odds"
        constants |= {"edge": np.array(EDGE), "far_edge": np.array(1 - EDGE), "one": np.array(1.0)}
        nodes += [
            helper.make_node("Max", ["raw", "edge"], ["above"]),
            helper.make_node("Min", ["above", "far_edge"], ["share"]),
            helper.make_node("Sub", ["one", "share"], ["rest"]),
            helper.make_node("Div", ["share", "rest"], ["odds"]),
            helper.make_node("Log", ["odds"], ["log_odds"]),
        ]
    tail, more = calibrate(log_odds, calibration, "probability")
    return write_model(
        [*nodes, *tail],
        {**constants, **more},
        len(columns.categorical_cols),
        len(columns.numeric_cols),
    )

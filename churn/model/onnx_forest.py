"""The contract's forest as ONNX: the same splits, the same probabilities, nothing that executes."""

from typing import TYPE_CHECKING, Any

import numpy as np

from churn.contract.features import Service
from churn.errors import ChurnError
from churn.model.encode import onnx_inputs
from churn.model.onnx_graph import ensemble, one_hot, open_session, score, write_model
from churn.model.trees import trees_of_forest

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 1e-5


class DifferentModel(ChurnError):
    """The ONNX model does not give the probabilities of the pipeline."""

    def __init__(self, difference: float, where: str) -> None:
        super().__init__(
            f"the ONNX model is off by {difference:.2g} on the hold-out, {TOLERANCE:g} is allowed",
            where=where,
            remedy="nothing was registered; look at churn/model/onnx_graph.py",
        )
        self.difference = difference


def to_onnx(pipeline: Any) -> bytes:
    """Return a fitted baseline pipeline as an ONNX model.

    Written from the trees' arrays: a general converter takes seconds for this forest and rounds
    thresholds to the nearest float32, which moves rows across splits.
    """
    from onnx import helper

    transformers = {name: parts for name, *parts in pipeline["encode"].transformers_}
    encoder, categorical = transformers["categorical"]
    n_numeric = len(transformers["remainder"][1]) if "remainder" in transformers else 0
    nodes, encoded = one_hot([list(known) for known in encoder.categories_] if categorical else [])
    nodes += [
        helper.make_node("Concat", [*encoded, "numeric"], ["features"], axis=1),
        *ensemble(trees_of_forest(pipeline["forest"]), "features", "sum"),
        # 300 rounded weights may add up to a hair more than 1.
        helper.make_node("Clip", ["sum", "zero", "one"], ["probability"]),
    ]
    bounds = {"zero": np.array(0, np.float32), "one": np.array(1, np.float32)}
    return write_model(nodes, bounds, len(categorical), n_numeric)


def max_difference(pipeline: Any, onnx: bytes, frame: "pd.DataFrame", service: Service) -> float:
    """Return how far the ONNX model is from the pipeline, at worst, on the rows of `frame`."""
    from churn.model.encode import model_frame

    expected = pipeline.predict_proba(model_frame(frame, service))[:, 1]
    found = score(open_session(onnx), onnx_inputs(frame, service))
    return float(np.abs(found - expected).max(initial=0.0))

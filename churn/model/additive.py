"""A logistic regression on pieces, as arrays: one curve per feature, which add up to the log odds."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from churn.contract.features import Service
from churn.model.calibration import Calibration
from churn.model.encode import Columns, Inputs
from churn.model.onnx_graph import calibrate, one_hot, write_model

if TYPE_CHECKING:
    from onnx import NodeProto

    from churn.model.piecewise import PiecewiseLinear  # brings scikit-learn

Floats = npt.NDArray[np.float64]
PIECES = 6  # of a number's line, at most


def new_logistic(service: Service, *, strength: float) -> Any:
    """Return the unfitted pipeline: one-hot categories, numbers in pieces, logistic regression.

    Args:
        service: the features.
        strength: inverse of the regularisation (scikit-learn's C).
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    from churn.model.piecewise import PiecewiseLinear

    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    parts = [
        ("categorical", encoder, service.categorical_cols),
        ("numeric", PiecewiseLinear(PIECES), service.numeric_cols),
    ]
    # Newton's steps are exact on a few hundred columns, and alike whatever the threads.
    regression = LogisticRegression(C=strength, solver="newton-cholesky", max_iter=200)
    return Pipeline([("encode", ColumnTransformer(parts)), ("regression", regression)])


@dataclass(frozen=True)
class Additive:
    """log odds = intercept + a curve of each feature; categories first, then numbers."""

    intercept: float
    categories: list[list[str]]
    category_weights: list[Floats]
    fill: Floats  # per number: what unknown becomes
    weight: Floats
    unknown_weight: Floats
    hinge_column: npt.NDArray[np.int64]  # per hinge: the number that it bends
    hinge_knot: Floats
    hinge_weight: Floats

    @classmethod
    def of(cls, pipeline: Any) -> "Additive":
        """Read the curves of a fitted pipeline."""
        encode, regression = pipeline["encode"], pipeline["regression"]
        coefficients = regression.coef_[0].astype(np.float64)
        encoder = encode.named_transformers_["categorical"]
        pieces: PiecewiseLinear = encode.named_transformers_["numeric"]
        categories = [list(map(str, known)) for known in getattr(encoder, "categories_", [])]
        ends = np.cumsum([len(known) for known in categories])
        weights = np.split(coefficients[: ends[-1] if len(ends) else 0], ends[:-1])
        at = int(ends[-1]) if len(ends) else 0
        slopes, unknowns, columns, hinges = [], [], [], []
        for column, knots in enumerate(pieces.knots_):
            own = coefficients[at : at + len(knots) + 2]
            slopes.append(own[0] / pieces.scale_[column])
            hinges += list(own[1:-1] / pieces.scale_[column])
            columns += [column] * len(knots)
            unknowns.append(own[-1])
            at += len(own)
        return cls(
            intercept=float(regression.intercept_[0]),
            categories=categories,
            category_weights=list(weights) if categories else [],
            fill=np.asarray(pieces.fill_, dtype=np.float64),
            weight=np.asarray(slopes, dtype=np.float64),
            unknown_weight=np.asarray(unknowns, dtype=np.float64),
            hinge_column=np.asarray(columns, dtype=np.int64),
            hinge_knot=np.concatenate([*pieces.knots_, np.empty(0)]).astype(np.float64),
            hinge_weight=np.asarray(hinges, dtype=np.float64),
        )

    def curves(self, inputs: Inputs) -> Floats:
        """Return what each feature adds to the log odds: [N, categories + numbers]."""
        numeric = inputs["numeric"].astype(np.float64)
        unknown = np.isnan(numeric)
        filled = np.where(unknown, self.fill, numeric)
        parts = [
            self._of_category(at, inputs["categorical"][:, at])
            for at in range(len(self.categories))
        ]
        numbers = filled * self.weight + unknown * self.unknown_weight
        excess = np.maximum(0, filled[:, self.hinge_column] - self.hinge_knot) * self.hinge_weight
        np.add.at(numbers.T, self.hinge_column, excess.T)
        return np.column_stack([*parts, numbers]) if parts else numbers

    def log_odds(self, inputs: Inputs) -> Floats:
        """Return the log odds of each row."""
        return np.asarray(self.curves(inputs).sum(axis=1) + self.intercept)

    def to_onnx(self, calibration: Calibration, columns: Columns) -> bytes:
        """Return the calibrated model as ONNX, in float64 inside."""
        return write_model(
            *_graph(self, calibration), len(columns.categorical_cols), len(columns.numeric_cols)
        )

    def _of_category(self, at: int, values: npt.NDArray[Any]) -> Floats:
        known = dict(zip(self.categories[at], self.category_weights[at], strict=True))
        return np.array([known.get(value, 0.0) for value in values], dtype=np.float64)


def _graph(
    model: Additive, calibration: Calibration
) -> "tuple[list[NodeProto], dict[str, npt.NDArray[Any]]]":
    from onnx import TensorProto, helper

    def double(name: str) -> "NodeProto":
        return helper.make_node("Cast", [name], [f"{name}_double"], to=TensorProto.DOUBLE)

    nodes, encoded = one_hot(model.categories)
    constants: dict[str, npt.NDArray[Any]] = {"bias": np.array(model.intercept)}
    terms = ["bias"]
    for at, (name, weights) in enumerate(zip(encoded, model.category_weights, strict=True)):
        constants[f"weights_{at}"] = weights[:, None]
        product = [f"{name}_double", f"weights_{at}"]
        nodes += [double(name), helper.make_node("MatMul", product, [f"term_{at}"])]
        terms.append(f"term_{at}")
    if len(model.fill):
        constants |= {
            "fill": model.fill[None],
            "weight": model.weight[:, None],
            "unknown_weight": model.unknown_weight[:, None],
        }
        nodes += [
            double("numeric"),
            helper.make_node("IsNaN", ["numeric_double"], ["unknown"]),
            helper.make_node("Where", ["unknown", "fill", "numeric_double"], ["filled"]),
            double("unknown"),
            helper.make_node("MatMul", ["filled", "weight"], ["lines"]),
            helper.make_node("MatMul", ["unknown_double", "unknown_weight"], ["unknowns"]),
        ]
        terms += ["lines", "unknowns"]
    if len(model.hinge_column):
        constants |= {
            "hinge_column": model.hinge_column,
            "hinge_knot": model.hinge_knot[None],
            "hinge_weight": model.hinge_weight[:, None],
            "none": np.array(0.0),
        }
        nodes += [
            helper.make_node("Gather", ["filled", "hinge_column"], ["bent"], axis=1),
            helper.make_node("Sub", ["bent", "hinge_knot"], ["over"]),
            helper.make_node("Max", ["over", "none"], ["excess"]),
            helper.make_node("MatMul", ["excess", "hinge_weight"], ["hinges"]),
        ]
        terms.append("hinges")
    nodes.append(helper.make_node("Sum", terms, ["log_odds"]))
    tail, more = calibrate("log_odds", calibration, "probability")
    return [*nodes, *tail], {**constants, **more}

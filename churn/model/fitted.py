"""A fitted model of any kind, and what explains its scores: plain arrays, stored beside its ONNX file.

The explainer's file is `explainer.npz`. `kind` says how to read it: `additive` holds the arrays of
Additive, `trees` those of Trees. `meta` is JSON: the columns, their categories, the calibration, and what
is usual (median, or most frequent) among the training users. Nothing in it executes: numpy reads it with
allow_pickle=False.
"""

import dataclasses
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from churn.arrays import Floats, Labels
from churn.contract.structure import Service
from churn.model.arrays import Additive, Calibration, TreeModel, Trees
from churn.model.encode import THRESHOLD, onnx_inputs
from churn.model.kinds import Kind
from churn.model.onnx import write_onnx
from churn.model.rows import Rows

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Fitted:
    """A fitted model and what the hold-out says of it; rows are in the order of user_id."""

    kind: Kind
    data: Rows
    pipeline: Any
    probabilities: Floats  # of the hold-out
    metrics: dict[str, float]
    train_time_sec: float
    calibration: Calibration | None = None  # None: the contract's baseline, as it is
    threshold: float = THRESHOLD
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def service(self) -> Service:
        """The features that it takes."""
        return self.data.service

    @property
    def model_type(self) -> str:
        """The class of scikit-learn behind it."""
        return self.kind.model_type

    @property
    def holdout(self) -> "pd.DataFrame":
        """Encoded features of those held out, indexed by user_id."""
        return self.data.holdout

    @property
    def rows(self) -> int:
        """Rows of the training set, hold-out included."""
        return self.data.total

    @property
    def training_rows(self) -> int:
        """Rows that it was fitted on: fewer than the rest above the sample limit."""
        return len(self.data.labels)

    @property
    def holdout_rows(self) -> int:
        """Rows held out."""
        return len(self.data.holdout_labels)

    @property
    def importances(self) -> dict[str, float]:
        """Each feature's share in what it says, highest first."""
        return self.kind.importances(self.pipeline, self.data)

    @property
    def labels(self) -> Labels:
        """What those held out did."""
        return self.data.holdout_labels


def to_onnx(fitted: Fitted) -> bytes:
    """Return the model as it is served."""
    arrays = fitted.kind.arrays(fitted.pipeline, fitted.service)
    return write_onnx(arrays, fitted.service, fitted.calibration)


EXPLAINER_PATH = "explainer.npz"


@dataclass(frozen=True)
class Explainer:
    """A model in the form that reasons are taken from."""

    categorical_cols: list[str]
    numeric_cols: list[str]
    calibration: Calibration
    usual: Mapping[str, Any]  # feature -> what is usual among the training users; None: unknown is
    is_share: bool  # the trees' score is a forest's share of votes, not log odds
    categories: list[list[str]]
    trees: Trees | None = None
    additive: Additive | None = None
    centre: Floats | None = None  # of additive: each curve's mean over the training users

    def write(self) -> bytes:
        """Return the bytes of `explainer.npz`, the same for the same model."""
        arrays = _arrays(self)
        meta = {
            "kind": "trees" if self.trees else "additive",
            "categorical_cols": self.categorical_cols,
            "numeric_cols": self.numeric_cols,
            "calibration": dataclasses.asdict(self.calibration),
            "usual": dict(self.usual),
            "is_share": self.is_share,
            "categories": self.categories,
        }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, meta=np.array(json.dumps(meta)), **arrays)
        return buffer.getvalue()

    @classmethod
    def read(cls, content: bytes) -> "Explainer":
        """Read the bytes of `explainer.npz`."""
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            meta = json.loads(str(stored["meta"]))
            common: dict[str, Any] = {
                "categorical_cols": meta["categorical_cols"],
                "numeric_cols": meta["numeric_cols"],
                "calibration": Calibration(**meta["calibration"]),
                "usual": meta["usual"],
                "is_share": meta["is_share"],
                "categories": meta["categories"],
            }
            if meta["kind"] == "trees":
                names = [f.name for f in dataclasses.fields(Trees) if f.name != "base"]
                trees = Trees(base=float(stored["base"]), **{n: stored[n] for n in names})
                return cls(**common, trees=trees)
            weights = [stored[f"category_weights_{at}"] for at in range(len(meta["categories"]))]
            additive = Additive(
                intercept=float(stored["intercept"]),
                categories=meta["categories"],
                category_weights=weights,
                **{name: stored[name] for name in _CURVES},
            )
            return cls(**common, additive=additive, centre=stored["centre"])


_CURVES = ("fill", "weight", "unknown_weight", "hinge_column", "hinge_knot", "hinge_weight")


def explainer_of(fitted: Fitted) -> Explainer:
    """Return what explains a calibrated model."""
    assert fitted.calibration is not None  # noqa: S101  (the baseline has none)
    service = fitted.service
    arrays = fitted.kind.arrays(fitted.pipeline, service)
    common: dict[str, Any] = {
        "categorical_cols": service.categorical_cols,
        "numeric_cols": service.numeric_cols,
        "calibration": fitted.calibration,
        "usual": _usual(fitted),
        "categories": arrays.categories,
    }
    if isinstance(arrays, TreeModel):
        return Explainer(**common, is_share=arrays.is_share, trees=arrays.trees)
    centre = arrays.curves(onnx_inputs(fitted.data.features, service)).mean(axis=0)
    return Explainer(**common, is_share=False, additive=arrays, centre=centre)


def _usual(fitted: Fitted) -> dict[str, Any]:
    features, service = fitted.data.features, fitted.service
    usual: dict[str, Any] = {}
    for name in service.categorical_cols:
        usual[name] = str(features[name].mode().iloc[0]) or None
    for name in service.numeric_cols:
        known = features[name].dropna()
        usual[name] = round(float(known.median()), 4) if len(known) else None
    return usual


def _arrays(explainer: Explainer) -> dict[str, Any]:
    if explainer.trees:
        return {f.name: getattr(explainer.trees, f.name) for f in dataclasses.fields(Trees)}
    additive = explainer.additive
    assert additive is not None  # noqa: S101  (one of the two)
    assert explainer.centre is not None  # noqa: S101
    weights = {f"category_weights_{at}": w for at, w in enumerate(additive.category_weights)}
    return {
        "intercept": additive.intercept,
        "centre": explainer.centre,
        **{name: getattr(additive, name) for name in _CURVES},
        **weights,
    }

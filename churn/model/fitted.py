"""A fitted model of any kind, and its explainer: plain arrays that are stored beside its ONNX file.

The explainer's file is `explainer.npz`. Its `meta` is JSON: the kind, the columns, their categories, the
calibration, and what is usual (the median, or the most frequent value) among the training users. The kind
`additive` comes with the arrays of Additive, `trees` with those of Trees. Nothing in the file executes:
numpy reads it with allow_pickle=False. Reasons are computed from it in `churn.scoring.reasons`.
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
    """A fitted model and its figures on the hold-out.

    `probabilities` are those of the hold-out, in the order of user_id. A model without a calibration is the
    baseline, whose share of votes is served as it is.
    """

    kind: Kind
    data: Rows
    pipeline: Any
    probabilities: Floats
    metrics: dict[str, float]
    train_time_sec: float
    calibration: Calibration | None = None
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
        """Rows that it was fitted on; above the sample limit, fewer than those not held out."""
        return len(self.data.labels)

    @property
    def holdout_rows(self) -> int:
        """Rows held out."""
        return len(self.data.holdout_labels)

    @property
    def importances(self) -> dict[str, float]:
        """Each feature's importance as a share of all, highest first."""
        return self.kind.importances(self.pipeline, self.data)

    @property
    def labels(self) -> Labels:
        """Labels of the hold-out: 1 for those who left."""
        return self.data.holdout_labels


def to_onnx(fitted: Fitted) -> bytes:
    """Return the model's ONNX file, as it is served."""
    arrays = fitted.kind.arrays(fitted.pipeline, fitted.service)
    return write_onnx(arrays, fitted.service, fitted.calibration)


EXPLAINER_PATH = "explainer.npz"


@dataclass(frozen=True)
class Explainer:
    """A model in the form from which reasons are computed: either `trees`, or `additive` with its `centre`.

    `usual` maps each feature to what is usual among the training users; None where unknown is. `is_share`
    tells a score that is a forest's share of votes from one in log odds. `centre` is the mean of each curve
    over the training users.
    """

    categorical_cols: list[str]
    numeric_cols: list[str]
    calibration: Calibration
    usual: Mapping[str, Any]
    is_share: bool
    categories: list[list[str]]
    trees: Trees | None = None
    additive: Additive | None = None
    centre: Floats | None = None

    def write(self) -> bytes:
        """Return the bytes of `explainer.npz`; the same model gives the same bytes."""
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
    """Return the explainer of a calibrated model."""
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

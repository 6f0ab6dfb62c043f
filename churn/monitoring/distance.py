"""How far apart two months are in one column: values sorted into bins, and a distance between the counts.

From which distance on a column has drifted is decided in `thresholds.py`; which months are compared, in
`watch.py`.
"""

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from churn.arrays import Floats, Ints
from churn.contract.in_force import VIEWS
from churn.contract.structure import Feature, View

if TYPE_CHECKING:
    import pandas as pd


# Every feature of the contract, whether or not a release reads it.
FEATURES = tuple(feature for view in VIEWS for feature in view.features)
Kind = Literal["counter", "number", "flag", "text"]
UNKNOWN = "unknown"
_PARTS = 10


@dataclass(frozen=True)
class Bins:
    """The bins of one column, made from the reference alone, so that today's outliers move none of them.

    Numbers fall between the reference's deciles, or below or above all of its values. Text and booleans are
    their own bins, and have no edges. Unknown is a bin like any other.
    """

    edges: Floats | None

    @classmethod
    def of(cls, reference: "pd.Series[Any]", *, is_number: bool) -> "Bins":
        """Make the bins of a column from its values in the reference."""
        if not is_number:
            return cls(None)
        values = _numbers(reference)
        known = values[~np.isnan(values)]
        if known.size == 0:
            return cls(np.empty(0))
        deciles = np.quantile(known, np.arange(_PARTS) / _PARTS)
        return cls(np.unique([*deciles, np.nextafter(known.max(), np.inf)]))

    def sort(self, values: "pd.Series[Any]") -> "pd.Series[Any]":
        """Return each value's bin as a category, by a name that sorts as the bins do."""
        import pandas as pd

        if self.edges is None:
            codes, own = pd.factorize(values)
            names = [str(value) for value in own]
        else:
            numbers = _numbers(values)
            codes = np.searchsorted(self.edges, numbers, side="right")
            codes[np.isnan(numbers)] = -1
            names = self._names()
        # Unknown has the code -1, and so is the last name.
        names = [*names, UNKNOWN]
        # The text "unknown" may also be a value of its own.
        bins = list(dict.fromkeys(names))
        at = np.array([bins.index(name) for name in names], dtype=np.int64)
        binned_codes: Ints = at[codes]
        return pd.Series(
            pd.Categorical.from_codes(binned_codes, pd.Index(bins)), index=values.index
        )

    def _names(self) -> list[str]:
        assert self.edges is not None  # noqa: S101  (asked before)
        if not self.edges.size:
            return ["any"]
        texts = [f"{edge:.6g}" for edge in self.edges]
        inner = [f"{low} to {high}" for low, high in itertools.pairwise(texts)]
        names = [f"below {texts[0]}", *inner, f"above {texts[-1]}"]
        return [f"{number:02d}: {name}" for number, name in enumerate(names)]


def is_number(feature: Feature) -> bool:
    """Return whether a feature is counted or measured, unlike text and booleans."""
    return feature.dtype in ("Int64", "Float64", "Float32")


NUMBERS = {feature.name: is_number(feature) for feature in FEATURES}


def kind_of(view: View, feature: Feature) -> Kind:
    """Return the kind of a column, as far as it matters for how much the column moves by itself.

    A counter, which grows with a user's stay, is a kind of its own, since joiners begin at the bottom.
    """
    if view.table.column(feature.name).trend is not None:
        return "counter"
    if is_number(feature):
        return "number"
    return "flag" if feature.dtype == "Bool" else "text"


KINDS: dict[str, Kind] = {f.name: kind_of(view, f) for view in VIEWS for f in view.features}


def binned(
    reference: "pd.DataFrame", current: "pd.DataFrame", numbers: dict[str, bool]
) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Return both frames, with values replaced by the bins of the reference.

    Args:
        reference: raw values, one column per name.
        current: the same columns.
        numbers: by column, whether its values are numbers.
    """
    import pandas as pd

    bins = {name: Bins.of(reference[name], is_number=numbers[name]) for name in numbers}
    before, after = (
        pd.DataFrame({name: bins[name].sort(frame[name]) for name in numbers})
        for frame in (reference, current)
    )
    return before, after


def _numbers(values: "pd.Series[Any]") -> Floats:
    return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)


@dataclass(frozen=True)
class Distance:
    """The Jensen-Shannon distance of one column: 0 if alike, 0.83 if disjoint (natural logarithms).

    `chance` is the distance that two samples of one population have on average: with k bins in use it
    is about sqrt((k - 1) / 8 * (1 / rows + 1 / rows of the reference)).
    """

    value: float
    chance: float


def distances(before: "pd.DataFrame", after: "pd.DataFrame") -> dict[str, Distance]:
    """Return the distance of each column of two frames in the same bins."""
    return {str(name): _distance(before[name], after[name]) for name in before.columns}


def _distance(before: "pd.Series[Any]", after: "pd.Series[Any]") -> Distance:
    from scipy.spatial.distance import jensenshannon

    counts = [_counts(column) for column in (before, after)]
    used = sorted(counts[0].keys() | counts[1].keys())
    users = [np.array([count.get(name, 0) for name in used]) for count in counts]
    shares = [each / each.sum() for each in users]
    value = float(jensenshannon(*shares)) if len(used) > 1 else 0.0
    chance = np.sqrt((len(used) - 1) / 8 * (1 / len(before) + 1 / len(after)))
    return Distance(value, float(chance))


def _counts(column: "pd.Series[Any]") -> dict[Any, int]:
    """Return how many rows each non-empty bin has.

    They are counted by code, since making and aligning the index of a pandas count costs more than counting.
    """
    bins = column.astype("category").cat
    codes = bins.codes.to_numpy()
    counts = np.bincount(codes[codes >= 0], minlength=len(bins.categories))
    return {
        name: count for name, count in zip(bins.categories, counts.tolist(), strict=True) if count
    }

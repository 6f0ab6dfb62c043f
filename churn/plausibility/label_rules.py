"""The rules for a month's labels beside its users, the next month's users and earlier months' labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import pyarrow as pa
import pyarrow.compute as pc

from churn.contract.tables import LABELS, USERS
from churn.months import Month
from churn.plausibility.findings import Finding
from churn.plausibility.profile_rules import FEW_USERS

_COVER_ODD, _COVER_IMPOSSIBLE = 0.95, 0.5  # share of the month's users who have a label
_AGREE_ODD, _AGREE_IMPOSSIBLE = 0.1, 0.5  # share of leavers, or stayers, whom the next month belies
_FEW_LEAVERS = 10
_STAY_AT_ALL = 0.1  # with fewer users left, the next month itself is what cannot be
_FIRST_HIGHEST = 0.5  # where no earlier month is there: half of all users leave within a month
_ODDS_ODD, _ODDS_IMPOSSIBLE = 2.0, 3.0  # how far the odds of leaving may lie from earlier months'
_Z = 3.0  # standard errors that chance is given on either side


@dataclass(frozen=True)
class Leavers:
    """How many of a month's labelled users left."""

    month: Month
    left: int
    labelled: int


def labels_cover(month: Month, labels: pa.Table, users: pa.ChunkedArray) -> list[Finding]:
    """Return whether too few of the month's users have a label."""
    total = len(users)
    labelled = _count(pc.is_in(users, value_set=labels["user_id"].combine_chunks()))
    if labelled >= _COVER_ODD * total:
        return []
    what = f"{LABELS.shown_file} of {month} labels {labelled:,} of the month's {total:,} users"
    is_impossible = total >= FEW_USERS and labelled < _COVER_IMPOSSIBLE * total
    return [Finding("labels_cover", what, is_impossible)]


def leavers_share(now: Leavers, earlier: Sequence[Leavers]) -> list[Finding]:
    """Return whether the share of leavers lies where neither chance nor a bad month can take it.

    A month of one class is no measure for others: nothing can be trained on it, and months that follow it
    would be blocked for its fault.
    """
    low, high = _interval(now)
    earlier = [month for month in earlier if 0 < month.left < month.labelled]
    claim = f"{LABELS.shown_file} of {now.month} says that {_share(now)} left"
    if not earlier:
        what = (
            f"{claim}, more than half; there is no earlier month of both classes to compare it with"
        )
        return [Finding("leavers_share", what, True)] if low > _FIRST_HIGHEST else []
    lowest, highest = (
        min(_interval(month)[0] for month in earlier),
        max(_interval(month)[1] for month in earlier),
    )
    others = ", ".join(f"{month.month} {_share(month)}" for month in earlier)
    times = max(_odds(low) / _odds(highest), _odds(lowest) / _odds(high))
    if times < _ODDS_ODD:
        return []
    what = f"{claim}; in earlier months: {others}"
    return [Finding("leavers_share", what, times >= _ODDS_IMPOSSIBLE)]


def labels_agree(
    month: Month, labels: pa.Table, users: pa.ChunkedArray, next_users: pa.ChunkedArray
) -> list[Finding]:
    """Return whether the next month's users.csv belies the labels.

    It says nothing where nearly nobody is left in it, or where nobody came and nobody went: then it is
    that file which needs a look, and a rule of its own says so.
    """
    stayed = pc.is_in(users, value_set=next_users.combine_chunks())
    if _count(stayed) < _STAY_AT_ALL * len(users):
        return []
    unmoved = _count(stayed) == len(users) == len(next_users)
    known = labels.filter(pc.is_in(labels["user_id"], value_set=users.combine_chunks()))
    there = pc.is_in(known["user_id"], value_set=next_users.combine_chunks())
    left = known["churn_label"]
    leavers, still = _count(left), _count(pc.and_(left, there))
    stayers, gone = len(left) - leavers, _count(pc.invert(pc.or_(left, there)))
    findings = []
    for count, of, what in (
        (still, leavers, f"of {leavers:,} users who left by it, {still:,} are in"),
        (gone, stayers, f"of {stayers:,} users who stayed by it, {gone:,} are not in"),
    ):
        if of >= _FEW_LEAVERS and count > _AGREE_ODD * of:
            claim = f"{LABELS.shown_file} of {month}: {what} {USERS.shown_file} of {month.next}"
            is_impossible = count > _AGREE_IMPOSSIBLE * of and not unmoved
            findings.append(Finding("labels_agree", claim, is_impossible))
    return findings


def same_labels(month: Month, labels: pa.Table, twin: Month) -> Finding:
    """Return what to think of labels that are, to the last value, another month's."""
    leavers = _count(labels["churn_label"])
    what = (
        f"{LABELS.shown_file} of {month} is that of {twin}: the same content in all {labels.num_rows:,} rows,"
        f" {leavers:,} leavers among them"
    )
    return Finding("same_content", what, leavers > 0 and labels.num_rows >= FEW_USERS)


def _interval(month: Leavers) -> tuple[float, float]:
    """Return Wilson's interval of the share of leavers."""
    share, z2 = month.left / month.labelled, _Z * _Z / month.labelled
    middle = (share + z2 / 2) / (1 + z2)
    half = _Z * sqrt(share * (1 - share) / month.labelled + z2 / (4 * month.labelled)) / (1 + z2)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _odds(share: float) -> float:
    return (share + 1e-9) / (1 - share + 1e-9)


def _share(month: Leavers) -> str:
    return f"{month.left:,} of {month.labelled:,} ({month.left / month.labelled:.0%})"


def _count(mask: pa.ChunkedArray | pa.Array) -> int:
    return pc.sum(mask).as_py() or 0

"""The rules for a month's profile files and labels beside those of other months. Each finding has counts.

The bounds come from 24 months of the public population (60 to 7,043 users, 26 % of whom leave each month) and
18 month ends of a business-to-business service (193 to 4,514 customers, 1 to 2 % of whom leave). There, no
usage row with any figure in it occurred again in the next month; of 90-day tables, at most 54 % of such rows
did; at least 42 % of the users stayed; and everybody's tenure grew. Each bound lies far outside of that.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

import pyarrow as pa
import pyarrow.compute as pc

from churn.contract.in_force import LABELS, PROFILE_TABLES, USERS
from churn.contract.structure import Column, Table
from churn.months import Month

RULES = (
    "same_content",
    "same_rows",
    "users_stay",
    # The columns whose contract says how they move from month to month.
    *(
        f"{column.name}_grows"
        for table in PROFILE_TABLES
        for column in table.values
        if column.trend
    ),
    "labels_cover",
    "leavers_share",
    "labels_agree",
)


@dataclass(frozen=True)
class Finding:
    """A rule that a file breaks.

    Args:
        rule: the rule's name, which a confirmation repeats.
        what: the fact, with its counts.
        is_impossible: it blocks the month until a person confirms it; otherwise it is odd, and only shown.
    """

    rule: str
    what: str
    is_impossible: bool


def impossible(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that block."""
    return [finding for finding in findings if finding.is_impossible]


# With fewer users, nothing but a copy of the whole month is called impossible.
FEW_USERS = 20
# How many rows with any figure in them it takes before their repetition can be no accident. Windows of more
# than a month overlap from month to month, so that many rows repeat by themselves.
_TELLING_ROWS, _TELLING_ROWS_OF_LONG_WINDOWS = FEW_USERS, 30
_LONGEST_MONTH_DAYS = 31
# With as many users as this, somebody joins or leaves every month.
_UNMOVED_USERS = 2000
_SAME_ROWS_ODD, _SAME_ROWS_IMPOSSIBLE = 0.9, 0.98
# Shares of the users who stay, per month.
_STAY_ODD, _STAY_IMPOSSIBLE = 0.5, 0.1
# Share of users who were not there the month before.
_NEW_ODD = 0.5
# Shares of the users whose figure moved as it cannot.
_OFF_ODD, _OFF_IMPOSSIBLE = 0.1, 0.5


@dataclass(frozen=True)
class ProfileMonth:
    """The rows of one profile file of a month: user_id and the columns that its rules read."""

    month: Month
    rows: pa.Table


def columns_read(table: Table) -> tuple[str, ...]:
    """Return the columns that the rules for a table read."""
    if table.window_days is not None:
        return tuple(column.name for column in table.columns)
    return ("user_id", *(column.name for column in table.values if column.trend))


def compare(table: Table, judged: ProfileMonth, other: ProfileMonth) -> list[Finding]:
    """Return what is odd or impossible about a file beside that of an earlier or later month.

    Beside a later month, only a copy is impossible: anything else may be that month's fault.
    """
    beside = _PairedMonths(table, judged, other)
    findings = _users_stay(beside) if table is USERS else []
    for column in table.values:
        if column.trend == "counts_months":
            findings += _months_grow(beside, column)
        elif column.trend == "never_falls":
            findings += _figure_grows(beside, column)
    return findings if table.window_days is None else [*findings, *_same_rows(beside)]


def same_content(
    table: Table, judged: ProfileMonth, twin: Month, *, is_whole_month: bool
) -> Finding:
    """Return the finding about a file whose content is, to the last value, another month's.

    Args:
        table: the file's table.
        judged: its rows.
        twin: the other month.
        is_whole_month: the month's other files are copies, too.
    """
    count = judged.rows.num_rows
    others = ", and the other four files are that month's, too" if is_whole_month else ""
    what = (
        f"{table.shown_file} of {judged.month} is that of {twin}: the same content in all {count:,} rows"
        f"{others}"
    )
    return Finding("same_content", what, is_whole_month or _must_move(table, judged.rows))


def _must_move(table: Table, rows: pa.Table) -> bool:
    """Return whether a file with these rows cannot possibly be the same in two months."""
    if table is USERS:
        return bool(rows.num_rows >= _UNMOVED_USERS)
    if table.window_days is not None:
        return _count(_says_something(table, rows)) >= _telling_rows(table)
    counted = [rows[column.name] for column in table.values if column.trend == "counts_months"]
    return any(len(values) - values.null_count >= FEW_USERS for values in counted)


def _telling_rows(table: Table) -> int:
    is_long = (table.window_days or 0) > _LONGEST_MONTH_DAYS
    return _TELLING_ROWS_OF_LONG_WINDOWS if is_long else _TELLING_ROWS


class _PairedMonths:
    """A file and the same file of another month, matched by user; `gap` is how many months lie between."""

    def __init__(self, table: Table, judged: ProfileMonth, other: ProfileMonth) -> None:
        self.table, self.judged, self.other = table, judged, other
        self.is_backward = other.month < judged.month
        self.earlier, self.later = (other, judged) if self.is_backward else (judged, other)
        self.gap = self.later.month - self.earlier.month
        there = pc.index_in(
            self.later.rows["user_id"], value_set=self.earlier.rows["user_id"].combine_chunks()
        )
        stay = pc.is_valid(there)
        self._of_earlier = there.filter(stay)
        self._of_later = stay
        self.both = _count(stay)

    def rows(self) -> tuple[pa.Table, pa.Table]:
        """Return the earlier and the later rows of the users who are in both months, in the same order."""
        return self.earlier.rows.take(self._of_earlier), self.later.rows.filter(self._of_later)

    def finding(self, what: str) -> str:
        return f"{self.table.shown_file} of {self.judged.month} beside {self.other.month}: {what}"


def _users_stay(beside: _PairedMonths) -> list[Finding]:
    before, after, both = beside.earlier.rows.num_rows, beside.later.rows.num_rows, beside.both
    stay, old = (both / before) ** (1 / beside.gap), (both / after) ** (1 / beside.gap)
    if stay >= _STAY_ODD and old >= 1 - _NEW_ODD:
        return []
    what = (
        f"of the {before:,} users of {beside.earlier.month}, {before - both:,} are gone in"
        f" {beside.later.month}; of its {after:,} users, {after - both:,} are new"
    )
    is_impossible = (
        beside.is_backward and before >= FEW_USERS and after > 0 and stay < _STAY_IMPOSSIBLE
    )
    return [Finding("users_stay", beside.finding(what), is_impossible)]


def _months_grow(beside: _PairedMonths, column: Column) -> list[Finding]:
    earlier, later = beside.rows()
    grown = pc.drop_null(pc.subtract(later[column.name], earlier[column.name]))
    known = len(grown)
    stuck = _count(pc.less_equal(grown, 0))
    off = _count(pc.not_equal(grown, beside.gap))
    if known < FEW_USERS or off <= _OFF_ODD * known:
        return []
    if stuck <= _OFF_ODD * known:
        what = f"{column.name} grew by another number than {beside.gap} for {off:,} of {known:,}"
        return [Finding(f"{column.name}_grows", beside.finding(f"{what} users"), False)]
    what = f"{column.name} did not grow for {stuck:,} of {known:,} users who are in both months"
    is_impossible = beside.is_backward and stuck > _OFF_IMPOSSIBLE * known
    return [Finding(f"{column.name}_grows", beside.finding(what), is_impossible)]


def _figure_grows(beside: _PairedMonths, column: Column) -> list[Finding]:
    earlier, later = beside.rows()
    grown = pc.drop_null(pc.subtract(later[column.name], earlier[column.name]))
    known, fallen = len(grown), _count(pc.less(grown, -0.005))  # half a cent is no fall
    if known < FEW_USERS or fallen <= _OFF_ODD * known:
        return []
    what = f"{column.name} fell for {fallen:,} of {known:,} users who are in both months"
    is_impossible = beside.is_backward and fallen > _OFF_IMPOSSIBLE * known
    return [Finding(f"{column.name}_grows", beside.finding(what), is_impossible)]


def _same_rows(beside: _PairedMonths) -> list[Finding]:
    table = beside.table
    earlier, later = beside.rows()
    telling = pc.or_(_says_something(table, earlier), _says_something(table, later))
    same = telling
    for column in table.values:
        was, now = earlier[column.name], later[column.name]
        alike = pc.fill_null(pc.equal(was, now), False)
        same = pc.and_(same, pc.or_(alike, pc.and_(pc.is_null(was), pc.is_null(now))))
    count, again = _count(telling), _count(same)
    if count < FEW_USERS / 2 or again < _SAME_ROWS_ODD * count:
        return []
    what = (
        f"{again:,} of the {count:,} users in both months of whom it says anything have the same row"
        " in both"
    )
    enough = count >= _telling_rows(table)
    is_impossible = enough and again >= _SAME_ROWS_IMPOSSIBLE * count
    return [Finding("same_rows", beside.finding(what), is_impossible)]


def _says_something(table: Table, rows: pa.Table) -> pa.ChunkedArray:
    """Return which rows hold a figure other than 0; the others may well be the same each month."""
    telling = pa.chunked_array([pa.array([], pa.bool_())])
    for column in table.values:
        some = pc.fill_null(pc.not_equal(rows[column.name], 0), False)
        telling = some if column is table.values[0] else pc.or_(telling, some)
    return telling


def _count(mask: pa.ChunkedArray | pa.Array) -> int:
    return pc.sum(mask).as_py() or 0


# Shares of the month's users who have a label.
_COVER_ODD, _COVER_IMPOSSIBLE = 0.95, 0.5
# Shares of the leavers, or of the stayers, whom the next month contradicts.
_AGREE_ODD, _AGREE_IMPOSSIBLE = 0.1, 0.5
_FEW_LEAVERS = 10
# With fewer users left, it is the next month itself that is impossible.
_STAY_AT_ALL = 0.1
# Without an earlier month to compare with: half of all users leave within a month.
_FIRST_HIGHEST = 0.5
# How far the odds of leaving may be from those of earlier months, as a factor.
_ODDS_ODD, _ODDS_IMPOSSIBLE = 2.0, 3.0
# How many standard errors are allowed for chance, on either side.
_Z = 3.0


@dataclass(frozen=True)
class Leavers:
    """How many of a month's labelled users left."""

    month: Month
    left: int
    labelled: int


def labels_cover(month: Month, labels: pa.Table, users: pa.ChunkedArray) -> list[Finding]:
    """Return a finding where too few of the month's users have a label."""
    total = len(users)
    labelled = _count(pc.is_in(users, value_set=labels["user_id"].combine_chunks()))
    if labelled >= _COVER_ODD * total:
        return []
    what = f"{LABELS.shown_file} of {month} labels {labelled:,} of the month's {total:,} users"
    is_impossible = total >= FEW_USERS and labelled < _COVER_IMPOSSIBLE * total
    return [Finding("labels_cover", what, is_impossible)]


def leavers_share(now: Leavers, earlier: Sequence[Leavers]) -> list[Finding]:
    """Return a finding where neither chance nor a bad month can explain the share of leavers.

    Earlier months in which all users left, or none, do not count: nothing can be trained on them, and the
    months after them would be blocked for their fault.
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
    """Return findings where the next month's users contradict the labels.

    Next month's file proves nothing where nearly nobody is left in it, or where nobody joined and nobody
    left: then that file is the suspect, and a rule of its own says so.
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
    """Return the finding about labels that are, to the last value, another month's."""
    leavers = _count(labels["churn_label"])
    what = (
        f"{LABELS.shown_file} of {month} is that of {twin}: the same content in all {labels.num_rows:,} rows,"
        f" {leavers:,} leavers among them"
    )
    return Finding("same_content", what, leavers > 0 and labels.num_rows >= FEW_USERS)


def _interval(month: Leavers) -> tuple[float, float]:
    """Return Wilson's interval for the share of leavers."""
    share, z2 = month.left / month.labelled, _Z * _Z / month.labelled
    middle = (share + z2 / 2) / (1 + z2)
    half = _Z * sqrt(share * (1 - share) / month.labelled + z2 / (4 * month.labelled)) / (1 + z2)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _odds(share: float) -> float:
    return (share + 1e-9) / (1 - share + 1e-9)


def _share(month: Leavers) -> str:
    return f"{month.left:,} of {month.labelled:,} ({month.left / month.labelled:.0%})"

"""The effect of a month's calls: churn among users due a call, compared with the control group left alone."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from churn.arrays import Bools, Floats, Ints
from churn.contract.in_force import LABELS
from churn.database import connect, lock
from churn.errors import ChurnError
from churn.evaluation.bootstrap import CONFIDENCE, Interval
from churn.evaluation.money import Campaign
from churn.months import Month
from churn.scoring.action_file import CONTROL
from churn.scoring.campaigns import terms_of_month
from churn.scoring.control_group import bands_of_list
from churn.settings import CampaignSettings

# With fewer users in either group, the interval would promise more than it can hold.
FEWEST = 20


@dataclass(frozen=True)
class NotClaimed:
    """Why no effect of the calls can be claimed; `listed` is the number of users on the action list."""

    month: Month
    reason: str
    listed: int = 0


@dataclass(frozen=True)
class Uplift:
    """The effect of assigning users to be called, whether or not they were called (intention to treat).

    The churn rates are the shares of those who left; the control group's is weighted to the bands of the
    treated. `uplift` is their difference, positive if calling kept users. `cost` covers the contacts, and the
    offer to each contacted user who stayed; `profit` is the value of the saved users less that, each worth
    what the treated users are worth on average. `contacted` are treated users with a reported treatment,
    `breaches` control users with one. `unlabelled` users are on the list, but not among the labels.
    """

    month: Month
    treated: int
    control: int
    churn_treated: float
    churn_control: float
    uplift: Interval
    saved_users: Interval
    cost: float
    profit: Interval
    contacted: int
    breaches: int
    unlabelled: int

    @property
    def is_shown(self) -> bool:
        """Whether the calls are shown to have kept users: the interval lies above zero."""
        return self.uplift.low > 0


def uplift_of(
    left: Bools,
    is_control: Bools,
    bands: Ints,
    *,
    confidence: float = CONFIDENCE,
) -> tuple[float, float, Interval]:
    """Return the churn rates of treated and control, and the interval of their difference.

    The bands of the ranked list are weighted by how many treated users are in each. The interval is
    Newcombe's hybrid score interval on the weighted rates, which holds for small groups and for rates near 0
    or 1.

    Args:
        left: who left, [users].
        is_control: who was to be left alone, [users].
        bands: the band of the ranked list, within which the control group was drawn, [users].
        confidence: of the interval, between 0 and 1.

    Raises:
        ChurnError: no claim can be made: there is no control group, or a group has fewer than FEWEST users.
    """
    treated, control = int((~is_control).sum()), int(is_control.sum())
    if control == 0:
        raise ChurnError("no control group was left alone, so nothing can be claimed")
    for count, name in ((treated, "to treat"), (control, "in the control group")):
        if count < FEWEST:
            raise ChurnError(f"{count} users {name} are too few for a claim: it takes {FEWEST}")
    both = [set(bands[is_control]), set(bands[~is_control])]
    strata = bands if both[0] == both[1] else np.zeros_like(bands)
    rates = [0.0, 0.0]
    for band in np.unique(strata):
        inside = strata == band
        weight = (inside & ~is_control).sum() / treated
        for at, group in enumerate((~is_control, is_control)):
            rates[at] += float(weight * left[inside & group].mean())
    difference = rates[1] - rates[0]
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    low_t, high_t = _wilson(rates[0], treated, z)
    low_c, high_c = _wilson(rates[1], control, z)
    interval = Interval(
        difference,
        difference - float(np.hypot(rates[1] - low_c, high_t - rates[0])),
        difference + float(np.hypot(high_c - rates[1], rates[0] - low_t)),
    )
    return rates[0], rates[1], interval


@dataclass(frozen=True)
class _MonthList:
    """The users of a month's action list by rank, and what is known of them, [users].

    `bands` are those that the control group was drawn in, `values` what keeping each user was worth when they
    were scored. `labels_are_there` says whether the month has any labels. Of the reports it has those up to
    `reported_at`; None: there are none. `terms` are those of the campaign that the list was made under.
    """

    month: Month
    segments: list[dict[str, str] | None]
    bands: Ints
    values: Floats
    is_control: Bools
    is_contacted: Bools
    is_labelled: Bools
    left: Bools
    labels_are_there: bool
    reported_at: dt.datetime | None
    terms: CampaignSettings

    def __len__(self) -> int:
        return len(self.segments)


def measure_uplift(month: Month) -> Uplift | NotClaimed:
    """Return the effect of a month's calls, or why none can be claimed; reads Postgres only."""
    return _measure(_read(month))


def measure_uplift_by_segment(month: Month) -> dict[tuple[str, str], Uplift | NotClaimed]:
    """Return the effect of a month's calls by segment and level; nothing before there are labels."""
    return dict(_by_segment(_read(month)))


def _measure(listed: _MonthList) -> Uplift | NotClaimed:
    if not len(listed):
        return NotClaimed(listed.month, "there is no action list")
    if not listed.labels_are_there:
        due = listed.month.matures_at.date()
        reason = f"the labels are not here; they mature at {due}"
        return NotClaimed(listed.month, reason, len(listed))
    return _effect(listed, np.ones(len(listed), dtype=bool), listed.bands)


def _by_segment(listed: _MonthList) -> Iterator[tuple[tuple[str, str], Uplift | NotClaimed]]:
    """Yield what is measured of each level of each segment.

    The bands of the list are not weighted here: in some of them a level has hardly anybody who was left
    alone, and the share that is left alone is the same in all.
    """
    if not listed.labels_are_there:
        return
    levels = sorted({pair for each in listed.segments for pair in (each or {}).items()})
    for segment, level in levels:
        inside = np.array([(each or {}).get(segment) == level for each in listed.segments])
        yield (segment, level), _effect(listed, inside, np.zeros_like(listed.bands))


def _effect(listed: _MonthList, inside: Bools, bands: Ints) -> Uplift | NotClaimed:
    """Return the effect among some users of a list, or why none can be claimed."""
    is_control = listed.is_control & inside
    is_contacted = listed.is_contacted & inside
    is_labelled = listed.is_labelled & inside
    users = int(inside.sum())
    if not listed.is_contacted.any():
        reason = "no treatment was reported; load them with `churn treatments FILE`"
        return NotClaimed(listed.month, reason, users)
    if not is_contacted.any():
        return NotClaimed(listed.month, "nobody of these users was called", users)
    try:
        churn_treated, churn_control, uplift = uplift_of(
            listed.left[is_labelled], is_control[is_labelled], bands[is_labelled]
        )
    except ChurnError as error:
        return NotClaimed(listed.month, error.what, users)
    campaign = Campaign.of(listed.terms)
    treated = int((is_labelled & ~is_control).sum())
    stayed = int((is_contacted & is_labelled & ~listed.left).sum())
    cost = float(is_contacted.sum() * campaign.contact_cost + stayed * campaign.incentive_cost)
    saved = Interval(*(treated * bound for bound in uplift))
    worth = _average(listed.values[is_labelled & ~is_control])
    return Uplift(
        month=listed.month,
        treated=treated,
        control=int((is_labelled & is_control).sum()),
        churn_treated=churn_treated,
        churn_control=churn_control,
        uplift=uplift,
        saved_users=saved,
        cost=cost,
        profit=Interval(*(worth * bound - cost for bound in saved)),
        contacted=int((is_contacted & ~is_control).sum()),
        breaches=int((is_contacted & is_control).sum()),
        unlabelled=int((inside & ~listed.is_labelled).sum()),
    )


def _average(values: Floats) -> float:
    """Return the mean; of equal values exactly that value."""
    return float(values[0] if (values == values[0]).all() else values.mean())


def record_uplift(month: Month) -> Uplift | NotClaimed:
    """Measure what a month's calls brought, whole and by segment, in place of what was measured before."""
    listed = _read(month)
    measured = _measure(listed)
    row = {"as_of": month.as_of, "reported_at": listed.reported_at, **_row(measured)}
    by_segment = [
        {"as_of": month.as_of, "segment": segment, "level": level, **_row(each)}
        for (segment, level), each in _by_segment(listed)
    ]
    with connect() as connection:
        lock(connection, f"monitoring.uplift {month}")
        # The whole last: it is as new as all that was measured with it.
        for table, rows in (("uplift_segments", by_segment), ("uplift", [row])):
            name = sql.Identifier("monitoring", table)
            connection.execute(
                sql.SQL("DELETE FROM {} WHERE as_of = %s").format(name), [month.as_of]
            )
            for each in rows:
                _insert(connection, name, each)
    return measured


def _row(measured: Uplift | NotClaimed) -> dict[str, Any]:
    if isinstance(measured, NotClaimed):
        return {"listed": measured.listed, "not_claimed": measured.reason}
    listed = measured.treated + measured.control + measured.unlabelled
    return {"listed": listed, **facts(measured)}


def _insert(connection: psycopg.Connection, table: sql.Identifier, row: dict[str, Any]) -> None:
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        table,
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(map(sql.Placeholder, row)),
    )
    connection.execute(statement, row)


def facts(measured: Uplift) -> dict[str, Any]:
    """Return every figure of a claim by its name; of an interval the bounds beside the estimate."""
    named: dict[str, Any] = {}
    for name, value in asdict(measured).items():
        if isinstance(value, Interval):
            bounds = zip(("", "_low", "_high"), value, strict=True)
            named |= {f"{name}{which}": bound for which, bound in bounds}
        elif name != "month":
            named[name] = value
    return named


def sentence(measured: Uplift | NotClaimed) -> str:
    """Return the result as one line of text."""
    if isinstance(measured, NotClaimed):
        return f"{measured.month}: no savings are claimed: {measured.reason}"
    verdict = "kept users" if measured.is_shown else "are not shown to have kept anybody"
    return (
        f"{measured.month}: the calls {verdict}: churn {measured.churn_treated:.3f} where"
        f" {measured.churn_control:.3f} was to be expected, uplift {_bounds(measured.uplift, '.3f')},"
        f" profit {_bounds(measured.profit, ',.0f')}"
    )


def _bounds(interval: Interval, form: str) -> str:
    low, high = (format(bound, form) for bound in (interval.low, interval.high))
    return f"{format(interval.estimate, form)} ({low} to {high})"


def _wilson(rate: float, users: int, z: float) -> tuple[float, float]:
    centre = rate + z**2 / (2 * users)
    half = z * float(np.sqrt(rate * (1 - rate) / users + (z / (2 * users)) ** 2))
    scale = 1 + z**2 / users
    return (centre - half) / scale, (centre + half) / scale


def _read(month: Month) -> _MonthList:
    """Read a month's list, reports and labels, all of one state of the database."""
    labels = sql.Identifier(f"{LABELS.snapshot}_current")
    of_users = sql.SQL(
        "SELECT treatment_group, t.user_id IS NOT NULL AND t.withdrawn_at IS NULL, l.churn_label,"
        " a.band, s.customer_value, segments"
        " FROM action_list AS a JOIN churn_scores AS s USING (as_of, user_id)"
        " LEFT JOIN treatments AS t USING (as_of, user_id)"
        " LEFT JOIN {} AS l USING (as_of, user_id) WHERE as_of = %s ORDER BY s.rank"
    ).format(labels)
    of_month = sql.SQL(
        "SELECT EXISTS (SELECT 1 FROM {} WHERE as_of = %(as_of)s),"
        " (SELECT recorded_at FROM treatment_months WHERE as_of = %(as_of)s)"
    ).format(labels)
    with connect() as connection:
        # What was reported between two statements would be counted by one of them only.
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        rows = connection.execute(of_users, [month.as_of]).fetchall()
        terms = terms_of_month(connection, month)
        answer = connection.execute(of_month, {"as_of": month.as_of}).fetchone()
    assert answer is not None  # noqa: S101  (a SELECT without FROM always returns a row)
    return _MonthList(
        month,
        segments=[segments for *_, segments in rows],
        bands=_bands([band for _, _, _, band, *_ in rows]),
        values=np.array(
            [terms.customer_value if value is None else value for *_, value, _ in rows], dtype=float
        ),
        is_control=np.array([group == CONTROL for group, *_ in rows], dtype=bool),
        is_contacted=np.array([contacted for _, contacted, *_ in rows], dtype=bool),
        is_labelled=np.array([label is not None for _, _, label, *_ in rows], dtype=bool),
        left=np.array([bool(label) for _, _, label, *_ in rows], dtype=bool),
        labels_are_there=bool(answer[0]),
        reported_at=answer[1],
        terms=terms,
    )


def _bands(kept: list[int | None]) -> Ints:
    """Return the bands that were kept with a list; those of its length for one of before they were kept.

    Users who were erased are gone from the list, and the others stay in the bands that they were drawn in.
    """
    if any(band is None for band in kept):
        return bands_of_list(len(kept))
    return np.array(kept, dtype=np.int64)

"""Trust: what was estimated against what came, what drifted, what the gate decided, and each release."""

import datetime as dt
import re
from dataclasses import dataclass
from math import isfinite
from typing import Any, LiteralString

from fastapi import APIRouter, Request, Response

from console.access import Viewer, database_of
from console.errors import NothingHereError
from console.pages import number, page, percent
from console.queries import Queries
from console.roles import Role
from console.routes.decisions import candidates, newest_requests
from console.routes.month import in_force

router = APIRouter()
_RELEASE_ID = re.compile("[0-9a-f]{64}")
SHOWN = 60  # entries of the ledger, and months of the chart


@dataclass(frozen=True)
class Metric:
    """A figure that is estimated before labels come, and measured after.

    Args:
        name: as the view has it.
        title: for people.
        unit: of its values; shares are drawn as per cent.
        digits: behind the point.
        scale: what the chart multiplies it by.
    """

    name: str
    title: str
    unit: str
    digits: int
    scale: float = 1.0

    def write(self, value: float | None) -> str:
        """Write one value."""
        return percent(value) if self.scale != 1 else number(value, self.digits)


METRICS = {
    each.name: each
    for each in (
        Metric("auc", "AUC: how well the order of risk is right, 0.5 to 1", "", 4),
        Metric("profit", "Profit per user, currency units", "", 2),
        Metric("churn_rate", "Share of users who leave", "%", 1, 100.0),
        Metric("brier", "Brier score: mean squared error of the probabilities, 0 is best", "", 4),
        Metric("log_loss", "Log loss of the probabilities, 0 is best", "", 4),
    )
}
JUDGES = {"hold-out": "users of whom no model ever learned", "all": "all users who were scored"}


@dataclass(frozen=True)
class PerformanceRow:
    """One month's figure."""

    month: dt.date
    users: int
    estimated: float
    estimated_low: float
    estimated_high: float
    realised: float | None
    realised_low: float | None
    realised_high: float | None
    error: float | None
    alarm: str | None
    release_id: str


_PERFORMANCE: LiteralString = """
SELECT month, users, estimated, estimated_low, estimated_high, realised, realised_low, realised_high,
    error, alarm, release_id
FROM (SELECT * FROM retention.performance WHERE metric = %s AND judged_on = %s
    ORDER BY month DESC LIMIT %s) AS newest ORDER BY month"""


@dataclass(frozen=True)
class DriftRow:
    """A month in which columns drifted."""

    month: dt.date
    drift_alarm: str


@dataclass(frozen=True)
class Decision:
    """One entry of the promotion ledger."""

    seq: int
    month: dt.date | None
    kind: str
    outcome: str
    decided_for: dt.datetime
    is_standing: bool
    release_id: str | None
    challenger_id: str | None
    reasons: str | None
    actor: str
    judged_users: int | None
    auc_difference: float | None
    auc_difference_low: float | None
    auc_difference_high: float | None
    profit_difference: float | None
    profit_difference_low: float | None
    profit_difference_high: float | None

    @property
    def what(self) -> str:
        """What was done, in a word or two."""
        return self.outcome if self.kind == "decision" else self.kind


_DECISIONS: LiteralString = """
SELECT seq, month, kind, outcome, decided_for, is_standing, release_id, challenger_id, reasons, actor,
    judged_users, auc_difference, auc_difference_low, auc_difference_high,
    profit_difference, profit_difference_low, profit_difference_high
FROM retention.decisions WHERE %(release)s::text IS NULL OR %(release)s IN (release_id, challenger_id)
ORDER BY seq DESC LIMIT %(shown)s"""


@router.get("/trust")
def trust(
    request: Request, who: Viewer, metric: str = "auc", judged_on: str = "hold-out"
) -> Response:
    """Show one metric over the months, the drift, and the gate's decisions."""
    if metric not in METRICS or judged_on not in JUDGES:
        raise NothingHereError("There is no such figure.", "Choose one of the list.")
    queries = database_of(request).queries
    shown = METRICS[metric]
    rows = queries.rows(PerformanceRow, _PERFORMANCE, [metric, judged_on, SHOWN])
    return page(
        request,
        "trust.html",
        who=who,
        metric=shown,
        metrics=METRICS.values(),
        judged_on=judged_on,
        judges=JUDGES,
        performance=rows,
        drawn=drawn(rows, shown),
        drift=queries.rows(
            DriftRow,
            "SELECT month, drift_alarm FROM retention.month WHERE drift_alarm IS NOT NULL"
            " ORDER BY month DESC LIMIT %s",
            [SHOWN],
        ),
        decisions=_decisions(queries),
        in_force=in_force(queries),
        approver=Role.APPROVER,
        candidates=candidates(queries) if who.may(Role.APPROVER) else (),
        requests=newest_requests(request),
    )


def drawn(rows: list[PerformanceRow], metric: Metric) -> dict[str, Any]:
    """Return the chart of a metric: two lines with their bounds, over the months."""

    def line(label: str, name: str) -> dict[str, Any]:
        def values(suffix: str) -> list[float | None]:
            figures = (getattr(row, f"{name}{suffix}") for row in rows)
            return [
                None if value is None or not isfinite(value) else metric.scale * value
                for value in figures
            ]

        return {
            "label": label,
            "values": values(""),
            "low": values("_low"),
            "high": values("_high"),
            "colour": name,
        }

    return {
        "x": [f"{row.month:%Y-%m}" for row in rows],
        "unit": metric.unit,
        "digits": metric.digits,
        "series": [line("estimated before labels", "estimated"), line("realised", "realised")],
    }


@dataclass(frozen=True)
class ScoredRow:
    """A month that a release scored."""

    month: dt.date
    release_version: str | None
    release_candidate: str | None
    release_trained_on: dt.date | None
    users: int | None


@router.get("/trust/releases/{release_id}")
def release(request: Request, who: Viewer, release_id: str) -> Response:
    """Show what is on record of one release."""
    queries = database_of(request).queries
    decisions = _decisions(queries, release_id) if _RELEASE_ID.fullmatch(release_id) else []
    if not decisions:
        raise NothingHereError("There is no such release.", "Trust lists those that there were.")
    months = queries.rows(
        ScoredRow,
        "SELECT month, release_version, release_candidate, release_trained_on, users"
        " FROM retention.month WHERE release_id = %s ORDER BY month DESC",
        [release_id],
    )
    serving = in_force(queries)
    return page(
        request,
        "release.html",
        who=who,
        release_id=release_id,
        is_in_force=serving is not None and serving.release_id == release_id,
        decisions=decisions,
        months=months,
    )


def _decisions(queries: Queries, release_id: str | None = None) -> list[Decision]:
    return queries.rows(Decision, _DECISIONS, {"release": release_id, "shown": SHOWN})

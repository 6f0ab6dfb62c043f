"""What monitoring keeps in Postgres of a month: it is replaced whole, and read back for reports."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal, LiteralString

from psycopg import sql
from psycopg.rows import dict_row

from churn.database import connect, lock
from churn.evaluation.bootstrap import Interval
from churn.events.kinds import AlarmRaised
from churn.events.outbox import record_event
from churn.monitoring.drift import Drift
from churn.monitoring.performance import Performance
from churn.monitoring.segments import SegmentLeavers
from churn.months import Month

Row = dict[str, Any]


def keep_drift(month: Month, release_id: str | None, drift: Drift | None) -> None:
    """Replace a month's drift; without a release, there is none to store."""
    rows = (
        []
        if drift is None
        else [
            {
                "as_of": month.as_of,
                "feature": column.feature,
                "release_id": release_id,
                "reference_as_of": drift.reference.as_of,
                "reference_rows": column.reference_rows,
                "rows": column.rows,
                "distance": column.distance,
                "threshold": column.threshold,
                "is_drifted": column.is_drifted,
                "is_provisional": column.is_provisional,
            }
            for column in drift.columns
        ]
    )
    drifted = tuple(column.feature for column in drift.drifted) if drift else ()
    _replace("feature_drift", month, rows, _alarm("drift", month, release_id, drifted))


def keep_performance(month: Month, release_id: str | None, figures: Sequence[Performance]) -> None:
    """Replace a month's estimated and realised figures; without a release, there are none to store."""
    rows = [
        {
            "as_of": month.as_of,
            "users": each.users,
            "metric": each.metric,
            "release_id": release_id,
            "rows": each.rows,
            **_bounds("estimated", each.estimated),
            **_bounds("realised", each.realised),
            "alarm": each.alarm,
        }
        for each in figures
    ]
    off = tuple(dict.fromkeys(each.metric for each in figures if each.alarm))
    _replace("model_performance", month, rows, _alarm("performance", month, release_id, off))


def keep_segments(month: Month, release_id: str | None, figures: Sequence[SegmentLeavers]) -> None:
    """Replace the leavers of a month by segment, expected and observed; without a release there are none."""
    rows = [{"as_of": month.as_of, "release_id": release_id, **asdict(each)} for each in figures]
    _replace("segment_figures", month, rows)


def read_drift(month: Month) -> list[Row]:
    """Return a month's drift, the column farthest over its threshold first; empty without a release."""
    return _read(
        "SELECT as_of, feature, release_id, reference_as_of, reference_rows, rows, distance, threshold,"
        " is_drifted, is_provisional FROM monitoring.feature_drift WHERE as_of = %s"
        " ORDER BY distance - threshold DESC, feature",
        [month.as_of],
    )


def read_performance(month: Month | None = None) -> list[Row]:
    """Return estimated and realised figures by month, users and metric; those of one month, or all.

    Until a month's labels have matured, the realised figures and the estimate's error are None.
    """
    return _read(
        "SELECT as_of, users, metric, release_id, rows, estimated, estimated_low, estimated_high,"
        " realised, realised_low, realised_high, alarm, estimated - realised AS error"
        " FROM monitoring.model_performance"
        " WHERE as_of = coalesce(%s, as_of) ORDER BY as_of, users, metric",
        [month.as_of if month else None],
    )


def _bounds(name: str, interval: Interval | None) -> Row:
    values = interval or (None, None, None)
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def _alarm(
    kind: Literal["drift", "performance"],
    month: Month,
    release_id: str | None,
    about: tuple[str, ...],
) -> AlarmRaised | None:
    return AlarmRaised(kind, month, release_id, about) if release_id and about else None


def _replace(
    table: str, month: Month, rows: Sequence[Row], alarm: AlarmRaised | None = None
) -> None:
    name = sql.Identifier("monitoring", table)
    with connect() as connection, connection.cursor() as cursor:
        lock(connection, f"monitoring.{table} {month}")
        cursor.execute(sql.SQL("DELETE FROM {} WHERE as_of = %s").format(name), [month.as_of])
        if rows:
            statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                name,
                sql.SQL(", ").join(map(sql.Identifier, rows[0])),
                sql.SQL(", ").join(map(sql.Placeholder, rows[0])),
            )
            cursor.executemany(statement, rows)
        if alarm:
            record_event(connection, alarm)


def _read(query: LiteralString, values: Sequence[dt.datetime | None]) -> list[Row]:
    with connect() as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query, values).fetchall()
    return [{"month": str(Month.of_as_of(row["as_of"])), **row} for row in rows]

"""What our own database says: months, drops, the release in force and what it is worth, drift, lists.

Every function reads in the transaction that it is given, so that all figures are of one moment.
"""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import psycopg
from prometheus_client.metrics_core import Metric
from psycopg.rows import dict_row

from churn.contract.in_force import LABELS, USERS
from churn.exporter import families as f
from churn.months import Month, months_between
from churn.promotion import ledger
from churn.promotion.entry import Entry, decisions, effective, releases_until
from churn.settings import Settings

_BOUNDS = (("value", ""), ("low", "_low"), ("high", "_high"))


def of_pipeline(
    connection: psycopg.Connection, settings: Settings, now: dt.datetime
) -> Iterator[Metric]:
    """Yield every metric that our own database knows.

    Args:
        connection: on our own database, one transaction that sees one moment.
        settings: the first and the last month, and the gate's floor.
        now: says which months are over.
    """
    entries = ledger.entries(connection)
    stack = releases_until(entries)
    release_id = stack[-1] if stack else None
    yield from _months(connection, settings, now)
    yield from _behind(connection)
    yield from _drops(connection, settings, now)
    yield from _release(connection, entries, release_id)
    yield from _performance(connection, settings, release_id)
    yield from _drift(connection, release_id)
    yield from _actions(connection)


def due_month(settings: Settings, now: dt.datetime) -> Month | None:
    """Return the newest month that is over at `now`, the last one of the settings at most."""
    newest = Month.of_as_of(now).shift(-1)
    last = min(newest, settings.last_month or newest)
    return last if last >= settings.first_month else None


def _months(
    connection: psycopg.Connection, settings: Settings, now: dt.datetime
) -> Iterator[Metric]:
    due = due_month(settings, now)
    # A month's newest drop is known by its known_at, and so is what was published of it.
    delivered, closed = _one(
        connection,
        "SELECT max(month), max(month) FILTER (WHERE EXISTS (SELECT FROM online.publications AS p"
        "  WHERE p.as_of = month + interval '1 month' - interval '1 microsecond'"
        "  AND p.known_at = newest)) FROM (SELECT month, max(known_at) AS newest"
        "  FROM raw.deliveries WHERE file <> %s GROUP BY month) AS drops",
        [LABELS.name],
    )
    yield f.DUE.of(due.as_of if due else None)
    yield f.DELIVERED.of(_end(delivered))
    yield f.CLOSED.of(_end(closed))
    newest = Month(closed) if closed else settings.first_month.shift(-1)
    yield f.BEHIND_BY.of(max(0, due - newest) if due else 0)
    online = connection.execute(
        "SELECT as_of, users, published_at FROM online.publications"
        " ORDER BY as_of DESC, known_at DESC LIMIT 1"
    ).fetchone()
    as_of, users, published_at = online or (None, None, None)
    yield f.ONLINE.of(as_of)
    yield f.ONLINE_USERS.of(users)
    yield f.PUBLISHED_AT.of(published_at)
    scored = "SELECT max(as_of) FROM churn_score_runs WHERE release_id IS NOT NULL"
    yield f.SCORED.of(_one(connection, scored)[0])


def _behind(connection: psycopg.Connection) -> Iterator[Metric]:
    rows = connection.execute("SELECT month, stage, state, since FROM online.months_behind")
    yield f.BEHIND_SINCE.by_label(
        ((str(Month(month)), stage, state), since) for month, stage, state, since in rows
    )
    yield f.LOOKED_AT.of(_one(connection, "SELECT max(looked_at) FROM monitoring.looks")[0])


def _drops(
    connection: psycopg.Connection, settings: Settings, now: dt.datetime
) -> Iterator[Metric]:
    files = connection.execute(
        "SELECT file, count(*), max(accepted_at) FROM raw.deliveries GROUP BY file ORDER BY file"
    ).fetchall()
    yield f.DELIVERIES.by_label(((file,), count) for file, count, _ in files)
    yield f.TAKEN_IN_AT.of(max((at for _, _, at in files), default=None))
    standing = connection.execute(
        "SELECT month, waits, min(since), count(*) FROM monitoring.drops_not_taken"
        " GROUP BY month, waits ORDER BY month, waits"
    ).fetchall()
    yield f.REFUSED.of(sum(count for _, waits, _, count in standing if not waits))
    yield f.REFUSED_SINCE.by_label(
        ((str(Month(month)),), since) for month, waits, since, _ in standing if not waits
    )
    yield f.WAITING.of(sum(count for _, waits, _, count in standing if waits))
    rows = connection.execute(
        "SELECT DISTINCT month FROM raw.deliveries WHERE file = %s", [USERS.name]
    ).fetchall()
    here, due = {Month(row[0]) for row in rows}, due_month(settings, now)
    months = months_between(settings.first_month, due) if due else iter(())
    late = [month for month in months if month not in here]
    yield f.LATE.of(len(late))
    yield f.LATE_SINCE.by_label(((str(month),), month.as_of) for month in late)


def _release(
    connection: psycopg.Connection, entries: list[Entry], release_id: str | None
) -> Iterator[Metric]:
    release = ledger.read_releases(connection)[release_id] if release_id else None
    names = (
        (release.short_id, release.version, release.service, release.candidate) if release else ()
    )
    yield f.IN_FORCE.by_label([(names, 1)] if release else ())
    yield f.IN_FORCE_SINCE.of(in_force_since(entries, release_id))
    yield f.TRAINED_ON.of(release.month.as_of if release else None)
    counts: dict[tuple[str, str], int] = {}
    for entry in entries:
        key = (entry.kind, entry.outcome)
        counts[key] = counts.get(key, 0) + 1
    yield f.DECISIONS.by_label(counts.items())
    newest = max(decisions(entries), default=None)
    yield f.DECIDED.of(newest.as_of if newest else None)


def in_force_since(entries: list[Entry], release_id: str | None) -> dt.datetime | None:
    """Return when the entry was written by which the release is in force now."""
    since = None
    for entry in effective(entries):
        if entry.release_id is None or entry.outcome == "keep":
            continue
        if entry.release_id != release_id:
            since = None
        elif since is None:
            since = entry.recorded_at
    return since


def _performance(
    connection: psycopg.Connection, settings: Settings, release_id: str | None
) -> Iterator[Metric]:
    estimated = _figures(connection, release_id, "true")
    realised = _figures(connection, release_id, "realised IS NOT NULL")
    for family, month, name, rows in (
        (f.ESTIMATED, f.ESTIMATED_MONTH, "estimated", estimated),
        (f.REALISED, f.REALISED_MONTH, "realised", realised),
    ):
        yield family.by_label(
            ((row["users"], row["metric"], bound), row[f"{name}{suffix}"])
            for row in rows
            for bound, suffix in _BOUNDS
        )
        yield month.of(rows[0]["as_of"] if rows else None)
    yield f.ALARMS.of(sum(row["alarm"] != "" for row in realised) if realised else None)
    yield f.FLOOR.by_label([(("auc",), settings.gate.auc_floor)])


def _figures(
    connection: psycopg.Connection, release_id: str | None, which: str
) -> list[dict[str, Any]]:
    """Return the rows of the newest month, about the release in force, that meet a condition in SQL."""
    query = (
        f"SELECT * FROM (SELECT *, max(as_of) OVER () AS newest FROM monitoring.model_performance"  # noqa: S608
        f" WHERE release_id = %s AND {which}) AS rows WHERE as_of = newest ORDER BY users, metric"
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, [release_id]).fetchall()


def _drift(connection: psycopg.Connection, release_id: str | None) -> Iterator[Metric]:
    rows = connection.execute(
        "SELECT as_of, feature, distance, threshold, is_drifted FROM (SELECT *, max(as_of) OVER ()"
        " AS newest FROM monitoring.feature_drift WHERE release_id = %s) AS rows"
        " WHERE as_of = newest ORDER BY feature",
        [release_id],
    ).fetchall()
    yield f.DRIFT_MONTH.of(rows[0][0] if rows else None)
    yield f.WATCHED.of(len(rows) if rows else None)
    yield f.DRIFTED.of(sum(row[4] for row in rows) if rows else None)
    yield f.DISTANCE.by_label(((row[1],), row[2]) for row in rows)
    yield f.THRESHOLD.by_label(((row[1],), row[3]) for row in rows)


def _actions(connection: psycopg.Connection) -> Iterator[Metric]:
    [newest] = _one(connection, "SELECT max(as_of) FROM action_list")
    rows = connection.execute(
        "SELECT treatment_group, count(*) FROM action_list WHERE as_of = %s GROUP BY 1 ORDER BY 1",
        [newest],
    )
    yield f.ACTIONS.by_label(((group,), count) for group, count in rows)
    yield f.ACTIONS_MONTH.of(newest)


def _one(connection: psycopg.Connection, query: str, values: list[Any] | None = None) -> Any:
    row = connection.execute(query, values).fetchone()
    assert row is not None  # noqa: S101  (an aggregate always returns a row)
    return row


def _end(first_day: dt.date | None) -> dt.datetime | None:
    return Month(first_day).as_of if first_day else None

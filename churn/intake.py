"""What is still due: months to close, to train and to score, and months whose drop is late."""

from collections.abc import Iterable
from datetime import date

import psycopg

from churn.contract.tables import LABELS, USERS
from churn.database import connect
from churn.months import Month, months_between
from churn.plausibility.confirmations import standing
from churn.promotion import ledger
from churn.promotion.timeline import releases_until
from churn.scoring.scores import scored_from
from churn.settings import get_settings

BATCH_LOCK = "churn.batch"  # held while the command line puts months through the graph


def command_line_at_work() -> bool:
    """Say whether a command-line run is putting months through the graph now."""
    with connect() as connection:
        row = connection.execute(
            "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [BATCH_LOCK]
        ).fetchone()
        return row is None or not row[0]


def closable_months() -> dict[Month, int | str]:
    """Return the months whose newest drop is not the one online, with what closing them rests on.

    That is its newest delivery id, and what people have confirmed of the month.
    """
    with connect() as connection:
        rows = connection.execute(
            "SELECT month, max(delivery_id) FROM raw.deliveries WHERE file <> %s GROUP BY month"
            " HAVING NOT EXISTS (SELECT 1 FROM online.publications AS p"
            "  WHERE p.as_of = month + interval '1 month' - interval '1 microsecond'"
            "  AND p.known_at = max(raw.deliveries.known_at)) ORDER BY month",
            [LABELS.name],
        ).fetchall()
        return _with_standing(connection, rows)


def trainable_months() -> dict[Month, int | str]:
    """Return the published months whose labels are here, with what training on them rests on."""
    with connect() as connection:
        rows = connection.execute(
            "SELECT month, max(delivery_id) FROM raw.deliveries WHERE file = %s"
            " AND month + interval '1 month' - interval '1 microsecond'"
            "  IN (SELECT as_of FROM online.publications) GROUP BY month ORDER BY month",
            [LABELS.name],
        ).fetchall()
        return _with_standing(connection, rows)


def scorable_months() -> dict[Month, str]:
    """Return the published months whose scores are missing or rest on something else by now.

    The value names what they have to rest on: the newest publication and the release in force.
    """
    entries, done = ledger.entries(), scored_from()
    with connect() as connection:
        rows = connection.execute(
            "SELECT as_of, max(known_at) FROM online.publications GROUP BY as_of ORDER BY as_of"
        ).fetchall()
    due = {}
    for as_of, known_at in rows:
        month, stack = Month.of_as_of(as_of), releases_until(entries, as_of)
        release_id = stack[-1] if stack else None
        if done.get(month) != (known_at, release_id):
            due[month] = f"{known_at:%Y%m%dT%H%M%S.%f}:{(release_id or 'none')[:12]}"
    return due


def late_months(last_closed: Month) -> list[Month]:
    """Return the months up to `last_closed` of which no drop has been accepted."""
    settings = get_settings()
    last = min(last_closed, settings.last_month or last_closed)
    with connect() as connection:
        rows = connection.execute(
            "SELECT DISTINCT month FROM raw.deliveries WHERE file = %s", [USERS.name]
        )
        here = {Month(row[0]) for row in rows}
    return [month for month in months_between(settings.first_month, last) if month not in here]


def _with_standing(
    connection: psycopg.Connection, rows: Iterable[tuple[date, int]]
) -> dict[Month, int | str]:
    more = standing(connection)
    months = {Month(first_day): delivery_id for first_day, delivery_id in rows}
    return {month: f"{i}, {more[month]}" if month in more else i for month, i in months.items()}

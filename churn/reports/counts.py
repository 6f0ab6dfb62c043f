"""What Postgres has of a month: deliveries, and the rows of every table and view."""

from collections.abc import Sequence
from typing import Any

from psycopg import sql

from churn.contract.features import VIEWS
from churn.contract.tables import TABLES
from churn.database import connect
from churn.database.online_tables import USERS
from churn.months import Month


def deliveries(month: Month) -> list[Sequence[Any]]:
    """Return file, rows, known_at and sha256 of each accepted version; one may not have been loaded."""
    with connect() as connection:
        rows = connection.execute(
            "SELECT file, rows, known_at, sha256, unloadable FROM raw.deliveries WHERE month = %s"
            " ORDER BY file, known_at, delivery_id",
            [month.first_day],
        ).fetchall()
    return [
        (
            f"{file}.csv{' (not loaded)' if unloadable else ''}",
            f"{n:,}",
            f"{known:%Y-%m-%d}",
            f"`{sha[:16]}`",
        )
        for file, n, known, sha, unloadable in rows
    ]


def row_counts(month: Month) -> list[Sequence[Any]]:
    """Return the rows of each snapshot, and of each view that are online with this month."""
    counts: list[Sequence[Any]] = []
    with connect() as connection:
        for table in TABLES:
            name = f"{table.snapshot}_current"
            query = sql.SQL("SELECT count(*) FROM {} WHERE as_of = %s").format(sql.Identifier(name))
            row = connection.execute(query, [month.as_of]).fetchone()
            counts.append((name, f"{row[0]:,}" if row else 0))
        for view in VIEWS:
            query = sql.SQL("SELECT count(*) FROM {} WHERE as_of = %s AND {}").format(
                USERS, sql.Identifier(view.name)
            )
            row = connection.execute(query, [month.as_of]).fetchone()
            counts.append((f"{view.name} online with this month", f"{row[0]:,}" if row else 0))
    return counts


def score_counts(month: Month) -> Sequence[Any] | None:
    """Return users scored, on the action list, left alone, and the expected profit of the list."""
    with connect() as connection:
        row = connection.execute(
            "SELECT count(*), count(a.user_id),"
            " count(*) FILTER (WHERE a.treatment_group = 'control'),"
            " coalesce(sum(s.expected_profit) FILTER (WHERE a.treatment_group = 'treated'), 0)"
            " FROM churn_scores AS s LEFT JOIN action_list AS a USING (as_of, user_id)"
            " WHERE as_of = %s",
            [month.as_of],
        ).fetchone()
    return row if row and row[0] else None

"""Rows of the views of retention, as somebody who reads them sees them."""

from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from churn.database import connect
from churn.database.retention import SCHEMA
from churn.months import Month


def rows(view: str, month: Month | None = None) -> list[dict[str, Any]]:
    """Return the rows of a view in the order of their keys; those of one month where one is given."""
    query = sql.SQL(
        "SELECT * FROM {} WHERE %(month)s::date IS NULL OR month = %(month)s ORDER BY 1, 2, 3"
    )
    with connect() as connection, connection.cursor(row_factory=dict_row) as cursor:
        first_day = month.first_day if month else None
        return cursor.execute(
            query.format(sql.Identifier(SCHEMA, view)), {"month": first_day}
        ).fetchall()


def row(view: str, month: Month) -> dict[str, Any]:
    """Return a month's only row of a view."""
    [only] = rows(view, month)
    return only

"""What is online, seen from one month: who is behind, in whom views are missing, who is newer."""

import datetime as dt
from dataclasses import dataclass

from psycopg import sql

from churn.contract.features import VIEWS
from churn.contract.tables import USERS
from churn.database import connect
from churn.database.online_tables import PRESENT
from churn.months import Month


@dataclass(frozen=True)
class OnlineState:
    """What is online, seen from one month; `behind` and `mixed` must be 0 once it is published."""

    behind: int  # users of the month who are online with an older month, or not at all
    mixed: int  # views that a user of the month has online and not in the snapshots, or the reverse
    users_newer: int  # users online with a newer month
    newest: dt.datetime | None  # newest published as_of, None before the first publication


def online_state(month: Month, table: str = PRESENT) -> OnlineState:
    """Count what is online, in one statement over one state of the database.

    Args:
        month: whose users are looked for.
        table: what readers are given; the next one, to look at a publication before it is switched in.
    """
    users = sql.Identifier("online", table)
    mixed = sql.SQL(" + ").join(
        sql.SQL(
            "(SELECT count(*) FROM {users} AS u LEFT JOIN"
            " (SELECT user_id FROM {current} WHERE as_of = %(as_of)s) AS c USING (user_id)"
            " WHERE u.as_of = %(as_of)s AND u.{view} <> (c.user_id IS NOT NULL))"
        ).format(
            users=users,
            current=sql.Identifier(f"{view.table.snapshot}_current"),
            view=sql.Identifier(view.name),
        )
        for view in VIEWS
    )
    query = sql.SQL(
        "SELECT (SELECT count(*) FROM {members} AS c"
        "  LEFT JOIN {users} AS u USING (user_id) WHERE c.as_of = %(as_of)s"
        "  AND (u.user_id IS NULL OR u.as_of < %(as_of)s)),"
        " {mixed}, (SELECT count(*) FROM {users} WHERE as_of > %(as_of)s),"
        " (SELECT max(as_of) FROM online.publications)"
    ).format(users=users, mixed=mixed, members=sql.Identifier(f"{USERS.snapshot}_current"))
    with connect() as connection:
        row = connection.execute(query, {"as_of": month.as_of}).fetchone()
    assert row is not None  # noqa: S101  (scalar sub-selects always make a row)
    return OnlineState(*row)

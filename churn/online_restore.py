"""Users whom a correction withdraws from a month: those of an earlier published month get that month back."""

import datetime as dt

import psycopg
from psycopg import sql

from churn.contract.features import VIEWS
from churn.contract.tables import PROFILE_TABLES
from churn.database.online_tables import COLUMNS

# Per user by the snapshots' key: these are few, and the history is long.
_VERSIONS = (
    "SELECT w.user_id, s.as_of, s.known_at FROM withdrawn AS w CROSS JOIN LATERAL ("
    " SELECT DISTINCT ON (as_of) as_of, known_at, is_withdrawn FROM {snapshot}"
    " WHERE user_id = w.user_id AND as_of < {before}"
    " AND as_of IN (SELECT as_of FROM online.publications)"
    " ORDER BY as_of DESC, known_at DESC) AS s WHERE NOT s.is_withdrawn"
)
_NEWEST = (
    "LEFT JOIN LATERAL (SELECT * FROM {snapshot} AS s WHERE s.user_id = r.user_id"
    " AND s.as_of = r.as_of ORDER BY s.known_at DESC LIMIT 1) AS {alias} ON NOT {alias}.is_withdrawn"
)


def restore_withdrawn(
    connection: psycopg.Connection, table: sql.Identifier, before: dt.datetime
) -> None:
    """Insert the last published version before `before` of each user of the temporary table `withdrawn`.

    Args:
        connection: the publishing transaction.
        table: wide rows, as churn.database.online_tables makes them.
        before: the as_of that the users were withdrawn from.
    """
    versions = sql.SQL(" UNION ALL ").join(
        sql.SQL(_VERSIONS).format(
            snapshot=sql.Identifier(table.snapshot), before=sql.Literal(before)
        )
        for table in PROFILE_TABLES
    )
    joins = sql.SQL(" ").join(
        sql.SQL(_NEWEST).format(
            snapshot=sql.Identifier(table.snapshot), alias=sql.Identifier(table.name)
        )
        for table in PROFILE_TABLES
    )
    connection.execute(
        sql.SQL(
            "INSERT INTO {table} ({names}) SELECT {values} FROM ("
            " SELECT DISTINCT ON (user_id) user_id, as_of, max(known_at) AS known_at"
            " FROM ({versions}) AS v GROUP BY user_id, as_of ORDER BY user_id, as_of DESC"
            ") AS r {joins}"
        ).format(
            table=table,
            names=sql.SQL(", ").join(map(sql.Identifier, COLUMNS)),
            values=sql.SQL(", ").join(_value(name) for name in COLUMNS),
            versions=versions,
            joins=joins,
        )
    )


def _value(column: str) -> sql.Composable:
    for view in VIEWS:
        if column == view.name:
            return sql.SQL("{}.user_id IS NOT NULL").format(sql.Identifier(view.table.name))
        if any(column == feature.name for feature in view.features):
            return sql.Identifier(view.table.name, column)
    return sql.Identifier("r", column)

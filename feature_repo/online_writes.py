"""Writing one view's columns of the wide row, as `feast materialize` asks for it."""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from churn.contract.features import VIEWS, View
from churn.database import lock
from churn.database.online_tables import LOCK, USERS

# A row is of one version, so a newer month begins a new row, in which only this view is there until the
# others follow. Within a month a view may come in an older version than another: corrections are by file.
_GUARD = "o.as_of < s.as_of OR (o.as_of = s.as_of AND (NOT o.{view} OR o.known_at <= s.known_at))"


def write_rows(connection: psycopg.Connection, view: View, rows: Sequence[Sequence[Any]]) -> None:
    """Write rows of (user_id, as_of, known_at, features) where the user's row is not newer.

    One transaction; it waits for a publication that is under way.
    """
    names = [feature.name for feature in view.features]
    with connection.transaction():
        lock(connection, LOCK)
        connection.execute(
            sql.SQL(
                "CREATE TEMP TABLE staged ON COMMIT DROP AS"
                " SELECT user_id, as_of, known_at, {} FROM {} WITH NO DATA"
            ).format(_identifiers(names), USERS)
        )
        with connection.cursor() as cursor, cursor.copy("COPY staged FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        connection.execute(_upsert(view, names))


def clear_views(connection: psycopg.Connection, views: Sequence[View]) -> None:
    """Take the views out of every row, and rows without any view out of the table."""
    with connection.transaction():
        lock(connection, LOCK)
        for view in views:
            cleared = [sql.SQL("{} = false").format(sql.Identifier(view.name))]
            cleared += [
                sql.SQL("{} = NULL").format(sql.Identifier(feature.name))
                for feature in view.features
            ]
            connection.execute(
                sql.SQL("UPDATE {} SET {} WHERE {}").format(
                    USERS, sql.SQL(", ").join(cleared), sql.Identifier(view.name)
                )
            )
        present = sql.SQL(" OR ").join(sql.Identifier(view.name) for view in VIEWS)
        connection.execute(sql.SQL("DELETE FROM {} WHERE NOT ({})").format(USERS, present))


def _upsert(view: View, names: list[str]) -> sql.Composed:
    """Return the statement that merges `staged`, of each user the newest row."""
    others = [v for v in VIEWS if v is not view]
    emptied = [
        sql.SQL("{0} = o.as_of = s.as_of AND o.{0}").format(sql.Identifier(v.name)) for v in others
    ]
    emptied += [
        sql.SQL("{0} = CASE WHEN o.as_of = s.as_of THEN o.{0} END").format(sql.Identifier(f.name))
        for v in others
        for f in v.features
    ]
    written = [sql.SQL("{0} = s.{0}").format(sql.Identifier(name)) for name in names]
    return sql.SQL(
        "MERGE INTO {users} AS o USING (SELECT DISTINCT ON (user_id) * FROM staged"
        "  ORDER BY user_id, as_of DESC, known_at DESC) AS s ON o.user_id = s.user_id"
        " WHEN MATCHED AND ({guard}) THEN UPDATE SET {view} = true, as_of = s.as_of, known_at ="
        "  CASE WHEN o.as_of = s.as_of THEN greatest(o.known_at, s.known_at) ELSE s.known_at END,"
        "  {updates}"
        " WHEN NOT MATCHED THEN INSERT (user_id, as_of, known_at, {view}, {names})"
        "  VALUES (s.user_id, s.as_of, s.known_at, true, {values})"
    ).format(
        users=USERS,
        view=sql.Identifier(view.name),
        guard=sql.SQL(_GUARD).format(view=sql.Identifier(view.name)),
        updates=sql.SQL(", ").join([*written, *emptied]),
        names=_identifiers(names),
        values=sql.SQL(", ").join(sql.Identifier("s", name) for name in names),
    )


def _identifiers(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))

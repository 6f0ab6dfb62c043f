"""Publishing a month online: all views in one transaction, and never backwards in time.

Each user has one published version (as_of, known_at); only a version that is not older replaces it, in
every view at once. Readers see the state before or after a publication, and never wait for it.
"""

import datetime as dt
import hashlib
from dataclasses import dataclass

import psycopg
from psycopg import sql

from churn.contract.features import VIEWS, View
from churn.contract.tables import PROFILE_TABLES
from churn.database import connect, lock
from churn.errors import ChurnError
from churn.lake import view_version
from churn.months import Month

_LOCK = "churn.online"


@dataclass(frozen=True)
class Publication:
    """What publishing a month did."""

    known_at: dt.datetime  # newest version among the month's tables
    users: int  # users of the month
    published: int  # users whose online rows this publication wrote
    kept: int  # users who already had a newer month or version online
    withdrawn: int  # users taken back because a correction no longer names them
    fingerprint: str  # of the versions behind the publication


def publish(month: Month) -> Publication:
    """Publish every feature view of a month in one transaction.

    Raises:
        ChurnError: a view's file in the lake is older than its snapshot, or missing.
    """
    with connect() as connection:
        lock(connection, _LOCK)  # one publication at a time; readers are not held up
        versions = _versions(connection, month)
        _require_views(month, versions)
        known_at = max(versions.values())
        values = {"as_of": month.as_of, "known_at": known_at}
        users = _stage_users(connection, values)
        published = _count(connection, "publishable")
        withdrawn = _withdraw(connection, values)
        for view in VIEWS:
            _replace_rows(connection, view, "publishable", month.as_of)
        connection.execute(
            "INSERT INTO online.users SELECT * FROM publishable ON CONFLICT (user_id)"
            " DO UPDATE SET as_of = excluded.as_of, known_at = excluded.known_at"
        )
        fingerprint = _fingerprint(versions)
        connection.execute(
            "INSERT INTO online.publications VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (as_of, known_at) DO UPDATE"
            " SET users = excluded.users, fingerprint = excluded.fingerprint",
            [month.as_of, known_at, users, fingerprint],
        )
    return Publication(known_at, users, published, users - published, withdrawn, fingerprint)


def newest_publication(connection: psycopg.Connection) -> dt.datetime | None:
    """Return the as_of of the newest published month, or None before the first."""
    row = connection.execute("SELECT max(as_of) FROM online.publications").fetchone()
    return row[0] if row else None


@dataclass(frozen=True)
class OnlineState:
    """What is online, seen from one month; `behind` and `mixed` must be 0 once it is published."""

    behind: int  # users of the month who are online with an older month, or not at all
    mixed: int  # view rows whose version is not their user's
    users_newer: int  # users online with a newer month
    newest: dt.datetime  # newest published as_of


def online_state(month: Month) -> OnlineState:
    """Count what is online, in one statement over one state of the database."""
    mixed = sql.SQL(" + ").join(
        sql.SQL(
            "(SELECT count(*) FROM online.{} AS v LEFT JOIN online.users AS u USING (user_id)"
            " WHERE (v.as_of, v.known_at) IS DISTINCT FROM (u.as_of, u.known_at))"
        ).format(sql.Identifier(view.name))
        for view in VIEWS
    )
    query = sql.SQL(
        "SELECT (SELECT count(*) FROM users_snapshots_current AS c"
        "  LEFT JOIN online.users AS u USING (user_id) WHERE c.as_of = %(as_of)s"
        "  AND (u.user_id IS NULL OR u.as_of < %(as_of)s)),"
        " {}, (SELECT count(*) FROM online.users WHERE as_of > %(as_of)s),"
        " (SELECT max(as_of) FROM online.publications)"
    ).format(mixed)
    with connect() as connection:
        row = connection.execute(query, {"as_of": month.as_of}).fetchone()
    assert row is not None  # noqa: S101  (scalar sub-selects always make a row)
    return OnlineState(*row)


def _versions(connection: psycopg.Connection, month: Month) -> dict[str, dt.datetime]:
    versions = {}
    for table in PROFILE_TABLES:
        query = sql.SQL("SELECT max(known_at) FROM {} WHERE as_of = %s")
        row = connection.execute(
            query.format(sql.Identifier(table.snapshot)), [month.as_of]
        ).fetchone()
        if row is None or row[0] is None:
            raise ChurnError(
                f"{table.snapshot} holds no rows of this month",
                where=f"online_features {month}",
                remedy=f"materialize {table.snapshot} for {month.partition_key} first",
            )
        versions[table.name] = row[0]
    return versions


def _require_views(month: Month, versions: dict[str, dt.datetime]) -> None:
    for view in VIEWS:
        found = view_version(month, view)
        if found != versions[view.table.name]:
            state = "is missing" if found is None else f"is of {found.isoformat()}"
            raise ChurnError(
                f"the lake's {view.name} {state}, its snapshot of"
                f" {versions[view.table.name].isoformat()}",
                where=f"online_features {month}",
                remedy=f"materialize {view.name} for {month.partition_key} first",
            )


def _stage_users(connection: psycopg.Connection, values: dict[str, dt.datetime]) -> int:
    """Stage the month's users, and those of them whose online version is not newer; count the first."""
    rows = sql.SQL(" UNION ").join(
        sql.SQL("SELECT user_id FROM {} WHERE as_of = {}").format(
            sql.Identifier(f"{table.snapshot}_current"), sql.Literal(values["as_of"])
        )
        for table in PROFILE_TABLES
    )
    connection.execute(sql.SQL("CREATE TEMP TABLE month_users ON COMMIT DROP AS {}").format(rows))
    connection.execute(
        sql.SQL(
            "CREATE TEMP TABLE publishable ON COMMIT DROP AS"
            " SELECT user_id, {as_of}::timestamptz AS as_of, {known_at}::timestamptz AS known_at"
            " FROM month_users LEFT JOIN online.users AS o USING (user_id)"
            " WHERE o.user_id IS NULL OR (o.as_of, o.known_at) <= ({as_of}, {known_at})"
        ).format(as_of=sql.Literal(values["as_of"]), known_at=sql.Literal(values["known_at"]))
    )
    connection.execute("CREATE INDEX ON publishable (user_id)")
    connection.execute("ANALYZE publishable")
    return _count(connection, "month_users")


def _withdraw(connection: psycopg.Connection, values: dict[str, dt.datetime]) -> int:
    """Take back users online for this month whom its newest version no longer names.

    Those who were there in an earlier month get their last version back; the others go.
    """
    connection.execute(
        "CREATE TEMP TABLE withdrawn ON COMMIT DROP AS SELECT user_id FROM online.users AS o"
        " WHERE as_of = %(as_of)s AND known_at <= %(known_at)s"
        " AND NOT EXISTS (SELECT 1 FROM month_users AS m WHERE m.user_id = o.user_id)",
        values,
    )
    count = _count(connection, "withdrawn")
    if count == 0:
        return 0
    for name in ("users", *(view.name for view in VIEWS)):
        connection.execute(
            sql.SQL(
                "DELETE FROM online.{} WHERE user_id IN (SELECT user_id FROM withdrawn)"
            ).format(sql.Identifier(name))
        )
    _restore_earlier(connection, values["as_of"])
    return count


def _restore_earlier(connection: psycopg.Connection, before: dt.datetime) -> None:
    rows = sql.SQL(" UNION ALL ").join(
        sql.SQL(
            "SELECT user_id, as_of, known_at FROM {} JOIN withdrawn USING (user_id)"
            " WHERE as_of < {} AND as_of IN (SELECT as_of FROM online.publications)"
        ).format(sql.Identifier(f"{table.snapshot}_current"), sql.Literal(before))
        for table in PROFILE_TABLES
    )
    connection.execute(
        sql.SQL(
            "CREATE TEMP TABLE restored ON COMMIT DROP AS SELECT DISTINCT ON (user_id)"
            " user_id, as_of, max(known_at) AS known_at FROM ({}) AS earlier"
            " GROUP BY user_id, as_of ORDER BY user_id, as_of DESC"
        ).format(rows)
    )
    for view in VIEWS:
        _replace_rows(connection, view, "restored")
    connection.execute("INSERT INTO online.users SELECT * FROM restored")


def _replace_rows(
    connection: psycopg.Connection, view: View, staged: str, as_of: dt.datetime | None = None
) -> None:
    """Give every staged user the view's row of the staged as_of, or none where the month has none.

    Args:
        connection: the publishing transaction.
        view: the view to write.
        staged: the temporary table of (user_id, as_of, known_at).
        as_of: the one as_of of all staged users, if they share it: only that month is then read.
    """
    columns = [sql.Identifier(feature.name) for feature in view.features]
    names = {
        "online": sql.Identifier("online", view.name),
        "current": sql.Identifier(f"{view.table.snapshot}_current"),
        "staged": sql.Identifier(staged),
        "columns": sql.SQL(", ").join(columns),
        "one_month": sql.SQL("true" if as_of is None else "c.as_of = {}").format(
            sql.Literal(as_of)
        ),
        "updates": sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(column) for column in columns
        ),
    }
    connection.execute(
        sql.SQL(
            "INSERT INTO {online} (user_id, as_of, known_at, {columns})"
            " SELECT s.user_id, s.as_of, s.known_at, {columns}"
            " FROM {current} AS c JOIN {staged} AS s ON s.user_id = c.user_id AND s.as_of = c.as_of"
            " WHERE {one_month}"
            " ON CONFLICT (user_id) DO UPDATE"
            " SET as_of = excluded.as_of, known_at = excluded.known_at, {updates}"
        ).format(**names)
    )
    connection.execute(
        sql.SQL(
            "DELETE FROM {online} AS o USING {staged} AS s"
            " WHERE o.user_id = s.user_id AND (o.as_of, o.known_at) <> (s.as_of, s.known_at)"
        ).format(**names)
    )


def _count(connection: psycopg.Connection, table: str) -> int:
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
    row = connection.execute(query).fetchone()
    assert row is not None  # noqa: S101  (an aggregate always returns a row)
    return int(row[0])


def _fingerprint(versions: dict[str, dt.datetime]) -> str:
    lines = "\n".join(f"{name} {known_at.isoformat()}" for name, known_at in versions.items())
    return hashlib.sha256(lines.encode()).hexdigest()

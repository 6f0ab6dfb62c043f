"""A customer deleted from Postgres: rows of every table with a user_id, and the id in texts that may name it.

Tables are taken from the catalogue, so that a new one is not forgotten. Of a text only the id is replaced:
that somebody looked at a customer, and who, stays on record.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass

import psycopg
from psycopg import sql

from churn.database import connect
from churn.errors import ChurnError

ERASED = "[erased]"
# A shorter id is part of other words and figures, which are not to be changed.
SEARCHED_FROM = 4
_SERVICE_SCHEMAS = ("pg_catalog", "information_schema", "pg_toast")
_TABLES = """
SELECT n.nspname, c.relname, EXISTS (SELECT FROM pg_attribute AS a
    WHERE a.attrelid = c.oid AND a.attname = 'user_id' AND NOT a.attisdropped),
    EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND t.tgname = 'append_only')
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname <> ALL(%s)
ORDER BY 1, 2"""


@dataclass(frozen=True)
class _Text:
    """A column in which an id may stand among other words."""

    schema: str
    table: str
    column: str
    is_json: bool = False


_TEXTS = (
    _Text("raw", "deliveries", "unloadable"),
    _Text("raw", "judgements", "findings", is_json=True),
    _Text("console", "drop_outcomes", "report"),
    _Text("online", "months_behind", "sentence"),
    _Text("console", "acts", "detail", is_json=True),
)
# Of Dagster, whose tables hold JSON as text.
_DAGSTER_TEXTS = (
    _Text("public", "event_logs", "event", is_json=True),
    _Text("public", "asset_check_executions", "evaluation_event", is_json=True),
    _Text("public", "job_ticks", "tick_body", is_json=True),
    _Text("public", "runs", "run_body", is_json=True),
)


def erase(connection: psycopg.Connection, user_id: str) -> Counter[str]:
    """Delete the customer's rows, and replace the id in texts, in the caller's transaction."""
    counts: Counter[str] = Counter()
    tables = connection.execute(_TABLES, [list(_SERVICE_SCHEMAS)]).fetchall()
    # These refuse every change; this one lasts until the transaction ends, in which others wait.
    guarded = [
        sql.Identifier(schema, table)
        for schema, table, has_user, is_append_only in tables
        if is_append_only and (has_user or (schema, table) == ("console", "acts"))
    ]
    for name in guarded:
        connection.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER append_only").format(name))
    for schema, table, has_user, _ in tables:
        if has_user:
            statement = sql.SQL("DELETE FROM {} WHERE user_id = %s").format(
                sql.Identifier(schema, table)
            )
            counts[_named(schema, table)] += connection.execute(statement, [user_id]).rowcount
    counts["console.acts"] += connection.execute(
        "UPDATE console.acts SET subject = %s WHERE act = 'customer seen' AND subject = %s",
        [ERASED, user_id],
    ).rowcount
    for text in _TEXTS:
        counts[_named(text.schema, text.table)] += _replace(connection, text, user_id)
    for name in guarded:
        connection.execute(sql.SQL("ALTER TABLE {} ENABLE TRIGGER append_only").format(name))
    return +counts


def erase_of_dagster(user_id: str, *, dry_run: bool) -> Counter[str]:
    """Replace the id in what Dagster keeps of checks and runs."""
    counts: Counter[str] = Counter()
    if _has_dagster():
        with connect("dagster") as connection:
            for text in _DAGSTER_TEXTS:
                if _exists(connection, text):
                    counts[f"dagster {text.table}"] += _replace(connection, text, user_id)
            if dry_run:
                connection.rollback()
    return +counts


def require_no_runs() -> None:
    """Refuse to go on while Dagster works on months: a run would write what it has read of the customer.

    Raises:
        ChurnError: it does.
    """
    if not _has_dagster():
        return
    with connect("dagster") as connection:
        if connection.execute("SELECT to_regclass('runs')").fetchone() == (None,):
            return
        row = connection.execute(
            "SELECT count(*) FROM runs WHERE status IN ('QUEUED', 'NOT_STARTED', 'STARTING', 'STARTED',"
            " 'CANCELING')"
        ).fetchone()
    if row and row[0]:
        raise ChurnError(
            f"runs are at work on months, or wait to be: {row[0]}",
            remedy="try again when they have ended; the Dagster UI shows them",
        )


def left(user_id: str) -> Counter[str]:
    """Return, by table, how many rows of any text still name the customer."""
    counts: Counter[str] = Counter()
    if len(user_id) < SEARCHED_FROM:
        return counts
    with connect() as connection:
        for schema, table, *_ in connection.execute(_TABLES, [list(_SERVICE_SCHEMAS)]).fetchall():
            statement = sql.SQL("SELECT count(*) FROM {} AS t WHERE t::text ~ %s").format(
                sql.Identifier(schema, table)
            )
            row = connection.execute(statement, [word(user_id)]).fetchone()
            counts[_named(schema, table)] += row[0] if row else 0
    return +counts


def word(user_id: str) -> str:
    """Return the regular expression of an id as a word of its own, for Postgres and for Python."""
    return rf"(?<![\w-]){re.escape(user_id)}(?![\w-])"


def _replace(connection: psycopg.Connection, text: _Text, user_id: str) -> int:
    """Replace the id in a column; return how many rows that changed."""
    written = json.dumps(user_id, ensure_ascii=text.schema == "public")[1:-1]
    names = {
        "table": sql.Identifier(text.schema, text.table),
        "column": sql.Identifier(text.column),
        "type": sql.SQL("jsonb" if text.is_json and text.schema != "public" else "text"),
    }
    statement = sql.SQL(
        "UPDATE {table} SET {column} = regexp_replace({column}::text, %(word)s, %(erased)s, 'g')::{type}"
        " WHERE {column}::text ~ %(word)s"
    ).format(**names)
    pattern = word(written if text.is_json else user_id)
    return connection.execute(statement, {"word": pattern, "erased": ERASED}).rowcount


def _exists(connection: psycopg.Connection, text: _Text) -> bool:
    row = connection.execute(
        "SELECT 1 FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = %s AND column_name = %s",
        [text.schema, text.table, text.column],
    ).fetchone()
    return row is not None


def _has_dagster() -> bool:
    with connect() as connection:
        row = connection.execute("SELECT 1 FROM pg_database WHERE datname = 'dagster'").fetchone()
        return row is not None


def _named(schema: str, table: str) -> str:
    return table if schema == "public" else f"{schema}.{table}"

"""A customer deleted from Postgres: rows of every table with a user_id, and the id in texts that may name it.

Tables are taken from the catalogue, so that a new one is not forgotten. Of a text only the id is replaced:
that somebody looked at a customer, and who, stays on record.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

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
)
# This one is append-only, and changed with those that are.
_ACTS_TEXT = _Text("console", "acts", "detail", is_json=True)
# Of Dagster, whose tables hold JSON as text.
_DAGSTER_TEXTS = (
    _Text("public", "event_logs", "event", is_json=True),
    _Text("public", "asset_check_executions", "evaluation_event", is_json=True),
    _Text("public", "job_ticks", "tick_body", is_json=True),
    _Text("public", "runs", "run_body", is_json=True),
)


# What the console writes, in the order in which it does, so that neither waits for the other in a circle.
_CONSOLE_TABLES = (
    ("public", "treatments"),
    ("public", "treatment_reports"),
    ("public", "treatment_months"),
    ("console", "acts"),
)


def erase(connection: psycopg.Connection, user_id: str, *, dry_run: bool = False) -> Counter[str]:
    """Delete the customer's rows, and replace the id in texts, in the caller's transaction.

    What the console writes comes last, and only from there on does it wait. A dry run locks nothing.
    """
    counts: Counter[str] = Counter()
    for schema, table, has_user, is_append_only in _tables(connection):
        if has_user and not is_append_only and (schema, table) not in _CONSOLE_TABLES:
            counts[_named(schema, table)] += _delete(connection, schema, table, user_id, dry_run)
    for text in _TEXTS:
        counts[_named(text.schema, text.table)] += _replace(connection, text, user_id, dry_run)
    return +(counts + erase_of_console(connection, user_id, dry_run=dry_run))


def erase_of_console(
    connection: psycopg.Connection, user_id: str, *, dry_run: bool = False
) -> Counter[str]:
    """Do it in the tables that the console writes and in those that are append-only."""
    counts: Counter[str] = Counter()
    last = [
        (schema, table, has_user, is_append_only)
        for schema, table, has_user, is_append_only in _tables(connection)
        if (schema, table) in _CONSOLE_TABLES or (has_user and is_append_only)
    ]
    # These refuse every change; this one lasts until the transaction ends.
    guarded = [
        sql.Identifier(schema, table)
        for schema, table, has_user, is_append_only in last
        if is_append_only and (has_user or (schema, table) == ("console", "acts"))
    ]
    if not dry_run:
        names = sql.SQL(", ").join(sql.Identifier(*each) for each in _CONSOLE_TABLES)
        connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(names))
        for name in guarded:
            connection.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER append_only").format(name))
    for schema, table, has_user, _ in last:
        if has_user:
            counts[_named(schema, table)] += _delete(connection, schema, table, user_id, dry_run)
    counts["console.acts"] += _erase_looks(connection, user_id, dry_run)
    counts["console.acts"] += _replace(connection, _ACTS_TEXT, user_id, dry_run)
    if not dry_run:
        for name in guarded:
            connection.execute(sql.SQL("ALTER TABLE {} ENABLE TRIGGER append_only").format(name))
    return +counts


def _tables(connection: psycopg.Connection) -> list[tuple[str, str, bool, bool]]:
    return connection.execute(_TABLES, [list(_SERVICE_SCHEMAS)]).fetchall()


def _delete(
    connection: psycopg.Connection, schema: str, table: str, user_id: str, dry_run: bool
) -> int:
    """Delete the customer's rows of a table, or count them."""
    name = sql.Identifier(schema, table)
    if not dry_run:
        statement = sql.SQL("DELETE FROM {} WHERE user_id = %s").format(name)
        return connection.execute(statement, [user_id]).rowcount
    statement = sql.SQL("SELECT count(*) FROM {} WHERE user_id = %s").format(name)
    row = connection.execute(statement, [user_id]).fetchone()
    return int(row[0]) if row else 0


def _erase_looks(connection: psycopg.Connection, user_id: str, dry_run: bool) -> int:
    """Take the customer out of the acts that say who looked at them, or count those."""
    looks = sql.SQL("console.acts WHERE act = 'customer seen' AND subject = %s")
    if dry_run:
        statement = sql.SQL("SELECT act_id FROM {}").format(looks)
        return connection.execute(statement, [user_id]).rowcount
    return connection.execute(
        "UPDATE console.acts SET subject = %s WHERE act = 'customer seen' AND subject = %s",
        [ERASED, user_id],
    ).rowcount


def erase_of_dagster(user_id: str, *, dry_run: bool) -> Counter[str]:
    """Replace the id in what Dagster keeps of checks and runs."""
    counts: Counter[str] = Counter()
    if len(user_id) >= SEARCHED_FROM and _has_dagster():
        with connect("dagster") as connection:
            for text in _DAGSTER_TEXTS:
                if _exists(connection, text):
                    counts[f"dagster {text.table}"] += _replace(connection, text, user_id, dry_run)
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
        for schema, table, *_ in _tables(connection):
            statement = sql.SQL("SELECT count(*) FROM {} AS t WHERE t::text ~ %s").format(
                sql.Identifier(schema, table)
            )
            row = connection.execute(statement, [word(user_id)]).fetchone()
            counts[_named(schema, table)] += row[0] if row else 0
    return +counts


def word(user_id: str) -> str:
    """Return the regular expression of an id as a word of its own, for Postgres and for Python."""
    return rf"(?<![\w.-]){re.escape(user_id)}(?![\w-])"


def _replace(connection: psycopg.Connection, text: _Text, user_id: str, dry_run: bool) -> int:
    """Replace the id in a column; return how many rows that changes.

    Of JSON only strings and names are changed, since a number that reads like the id is another thing.
    """
    names = {
        "table": sql.Identifier(text.schema, text.table),
        "column": sql.Identifier(text.column),
        "type": sql.SQL("jsonb" if text.is_json and text.schema != "public" else "text"),
    }
    # Dagster writes other letters than ASCII as escapes.
    written = {json.dumps(user_id, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False)}
    conditions = sql.SQL(" OR ").join(
        [sql.SQL("strpos({column}::text, %s) > 0").format(**names)] * len(written)
    )
    query = sql.SQL("SELECT ctid, {column}::text FROM {table} WHERE {conditions}").format(
        conditions=conditions, **names
    )
    if not dry_run:
        # Until the end of the transaction, so that each row stays where it is.
        query += sql.SQL(" FOR UPDATE")
    update = sql.SQL("UPDATE {table} SET {column} = %s::{type} WHERE ctid = %s").format(**names)
    pattern, count = re.compile(word(user_id)), 0
    for place, before in connection.execute(query, sorted(written)).fetchall():
        after = (
            _json_without(before, pattern, text) if text.is_json else pattern.sub(ERASED, before)
        )
        if after != before:
            count += 1
            if not dry_run:
                connection.execute(update, [after, place])
    return count


def _json_without(before: str, pattern: re.Pattern[str], text: _Text) -> str:
    """Return JSON without the id; what is none, or does not have it, stays as it is written."""
    try:
        value = json.loads(before)
    except ValueError:
        return pattern.sub(ERASED, before)
    after = _without(value, pattern)
    if after == value:
        return before
    return json.dumps(after, ensure_ascii=text.schema == "public")


def _without(value: Any, pattern: re.Pattern[str]) -> Any:
    if isinstance(value, dict):
        return {pattern.sub(ERASED, key): _without(each, pattern) for key, each in value.items()}
    if isinstance(value, list):
        return [_without(each, pattern) for each in value]
    if not isinstance(value, str):
        return value
    if value[:1] in ("{", "["):
        # Dagster keeps JSON in strings, too.
        try:
            inner = json.loads(value)
        except ValueError:
            return pattern.sub(ERASED, value)
        after = _without(inner, pattern)
        return value if after == inner else json.dumps(after)
    return pattern.sub(ERASED, value)


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

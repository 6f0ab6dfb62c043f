"""A training set recomputed from Postgres for a sample of users, by SQL that knows nothing of Feast.

It shares no query, cut-off or join with `churn.training`, so that an error in one of them shows.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import sql

from churn.contract.in_force import LABELS, USERS, VIEWS
from churn.contract.structure import View
from churn.database import connect
from churn.months import Month
from churn.verification.differences import Differences, compare

SAMPLE = 200
_LABEL = "churn_label"
_SIDES = ("in Postgres", "in the training set")


def replay(month: Month, rows: pa.Table, sample: int = SAMPLE) -> Differences:
    """Recompute `sample` rows of a month's training set, and the number of rows that it must have.

    A set that is older than a feature is compared on the columns that it has.

    Args:
        month: the label period.
        rows: the training set: user_id, the features of every view, churn_label.
        sample: how many users to compare; a hash chooses the same ones each time.
    """
    parts = [view.part(_compared(view, rows)) for view in VIEWS]
    views = [part for part in parts if part.features]
    with connect() as connection:
        labelled = _labelled(connection, month)
        users = _choose(connection, labelled, sample)
        expected: dict[str, dict[str, Any]] = {user: {_LABEL: labelled[user]} for user in users}
        for view in views:
            for user, values in _values(connection, month, view, users).items():
                expected[user].update(values)
    actual = _rows_of(rows, users)
    columns = [*(name for view in views for name in view.feature_names), _LABEL]
    differences = compare(expected, actual, columns, _SIDES)
    if rows.num_rows != len(labelled):
        differences.add(f"{len(labelled)} rows {_SIDES[0]}, {rows.num_rows} {_SIDES[1]}")
    return differences


def _compared(view: View, rows: pa.Table) -> set[str]:
    """Return the features of a view to compare: those of version 1, and whichever later ones the set has."""
    return {f.name for f in view.features if f.since == 1 or f.name in rows.column_names}


# This takes one sort, whatever the planner assumes: a month that has just arrived has no statistics yet.
_AT = sql.SQL(
    "FROM (SELECT DISTINCT ON (user_id) * FROM {snapshot} WHERE as_of = {as_of}"
    " AND known_at <= {known_by} ORDER BY user_id, known_at DESC) AS s WHERE NOT s.is_withdrawn"
)


def _at(snapshot: str, month: Month, known_by: dt.datetime) -> sql.Composed:
    """Return the FROM clause of a snapshot as it was known at an instant."""
    return _AT.format(
        snapshot=sql.Identifier(snapshot),
        as_of=sql.Literal(month.as_of),
        known_by=sql.Literal(known_by),
    )


def _labelled(connection: psycopg.Connection, month: Month) -> dict[str, bool]:
    """Return the label, as known at maturity, of every user who was known when the month closed."""
    query = sql.SQL(
        "SELECT s.user_id, s.churn_label {} AND s.user_id IN (SELECT s.user_id {})"
    ).format(_at(LABELS.snapshot, month, month.next.as_of), _at(USERS.snapshot, month, month.as_of))
    return dict(connection.execute(query).fetchall())


def _choose(
    connection: psycopg.Connection, labelled: dict[str, bool], sample: int
) -> Sequence[str]:
    query = "SELECT u FROM unnest(%s::text[]) AS u ORDER BY md5(u) LIMIT %s"
    return [row[0] for row in connection.execute(query, [list(labelled), sample]).fetchall()]


def _values(
    connection: psycopg.Connection, month: Month, view: View, users: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return each user's values in a view as known at the month's end; None where there is no row."""
    names = [feature.name for feature in view.features]
    query = sql.SQL("SELECT s.user_id, {} {} AND s.user_id = ANY({})").format(
        sql.SQL(", ").join(sql.Identifier("s", name) for name in names),
        _at(view.table.snapshot, month, month.as_of),
        sql.Literal(list(users)),
    )
    by_user: dict[str, dict[str, Any]] = {user: dict.fromkeys(names) for user in users}
    floats = {feature.name for feature in view.features if feature.dtype == "Float32"}
    for user, *values in connection.execute(query).fetchall():
        by_user[user] = {
            name: float(np.float32(value)) if name in floats and value is not None else value
            for name, value in zip(names, values, strict=True)
        }
    return by_user


def _rows_of(rows: pa.Table, users: Sequence[str]) -> dict[str, dict[str, Any]]:
    import pyarrow.compute as pc

    chosen = rows.filter(pc.is_in(rows["user_id"], pa.array(users, pa.string())))
    return {row["user_id"]: row for row in chosen.to_pylist()}

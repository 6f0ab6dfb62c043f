"""The spine of a training set: the users who were known when the month closed, with their matured labels."""

import datetime as dt
from dataclasses import dataclass

import psycopg
import pyarrow as pa
from psycopg import sql

from churn.contract.in_force import CONTRACT, LABELS, PROFILE_TABLES, USERS
from churn.database import connect
from churn.database.copying import copy_out
from churn.errors import ChurnError
from churn.months import Month


@dataclass(frozen=True)
class CutOffs:
    """The instants up to which features and labels may have become known, both inclusive."""

    features: dt.datetime
    labels: dt.datetime

    @classmethod
    def of(cls, month: Month, as_known: dt.datetime | None = None) -> "CutOffs":
        """Return a month's cut-offs: as_of for features, matures_at for labels, or `as_known` for both."""
        return cls(as_known or month.as_of, as_known or month.matures_at)


@dataclass(frozen=True)
class Spine:
    """The rows of a training set before its features: user_id and churn_label, sorted by user_id.

    `unknown_users` counts the labelled users who were not among the users known at the features' cut-off.
    """

    rows: pa.Table
    unknown_users: int


def read_spine(month: Month, cut_offs: CutOffs) -> Spine:
    """Read the labels in force at their cut-off, for the users known at the features' cut-off.

    Raises:
        ChurnError: the labels have not matured or arrived, or the features became known too late.
    """
    with connect() as connection:
        _require(connection, month, cut_offs)
        query = sql.SQL(
            "SELECT l.user_id, l.churn_label, u.user_id IS NOT NULL AS is_known"
            " FROM ({labels}) AS l LEFT JOIN ({users}) AS u USING (user_id)"
            ' ORDER BY l.user_id COLLATE "C"'
        ).format(
            labels=_in_force(LABELS.snapshot, month, cut_offs.labels),
            users=_in_force(USERS.snapshot, month, cut_offs.features),
        )
        schema = pa.schema(
            [("user_id", pa.string()), ("churn_label", pa.bool_()), ("is_known", pa.bool_())]
        )
        labelled = copy_out(connection, query, schema)
    rows = labelled.filter(labelled["is_known"]).drop_columns("is_known")
    return Spine(rows, labelled.num_rows - rows.num_rows)


def _in_force(snapshot: str, month: Month, known_by: dt.datetime) -> sql.Composed:
    return sql.SQL(
        "SELECT * FROM (SELECT DISTINCT ON (user_id) * FROM {} WHERE as_of = {} AND known_at <= {}"
        " ORDER BY user_id, known_at DESC) AS newest WHERE NOT is_withdrawn"
    ).format(sql.Identifier(snapshot), sql.Literal(month.as_of), sql.Literal(known_by))


def _require(connection: psycopg.Connection, month: Month, cut_offs: CutOffs) -> None:
    first = _first_known(connection, LABELS.snapshot, month)
    where = f"training set {month}"
    if first is None:
        drop = f"{LABELS.shown_file} of {month}"
        if CONTRACT.label.kind != "file":
            drop = f"the drop of {month.next}, from which they are derived"
        raise ChurnError(
            f"the labels of {month} have not arrived; they mature on {month.matures_at:%Y-%m-%d}",
            where=where,
            remedy=f"deliver {drop}, then materialize {LABELS.snapshot}",
        )
    _require_known(where, month, "labels", first, cut_offs.labels)
    for table in PROFILE_TABLES:
        first = _first_known(connection, table.snapshot, month)
        if first is None and table.optional:
            continue
        if first is None:
            raise ChurnError(
                f"{table.snapshot} holds no rows of {month}",
                where=where,
                remedy=f"materialize {table.snapshot} for {month.partition_key} first",
            )
        _require_known(where, month, table.name, first, cut_offs.features)


def _first_known(connection: psycopg.Connection, snapshot: str, month: Month) -> dt.datetime | None:
    query = sql.SQL("SELECT min(known_at) FROM {} WHERE as_of = %s").format(
        sql.Identifier(snapshot)
    )
    row = connection.execute(query, [month.as_of]).fetchone()
    return row[0] if row else None


def _require_known(
    where: str, month: Month, name: str, known_at: dt.datetime, cut_off: dt.datetime
) -> None:
    if known_at > cut_off:
        raise ChurnError(
            f"{name} of {month} became known on {known_at:%Y-%m-%d}, after the cut-off"
            f" {cut_off:%Y-%m-%d}: nobody could have trained on it",
            where=where,
            remedy=f"train with `churn train --month {month} --as-known {known_at:%Y-%m-%d}`,"
            " which builds a set of its own",
        )

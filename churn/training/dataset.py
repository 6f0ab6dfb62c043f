"""A training set: the spine joined to its features through Feast, sorted, fingerprinted, on disk."""

import datetime as dt
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from churn.contract.features import DEFAULT_SERVICE, VIEWS, View
from churn.database import connect
from churn.errors import ChurnError
from churn.fingerprint import fingerprint
from churn.lake import ARROW_TYPES, TIMESTAMP, lake_file
from churn.months import Month
from churn.settings import get_settings
from churn.training.spine import CutOffs, Spine, read_spine

_FEATURES = (
    DEFAULT_SERVICE.features
)  # the baseline's are among them: one set serves every feature service


@dataclass(frozen=True)
class TrainingSet:
    """One training set: user_id, as_of, the features of every service, churn_label."""

    month: Month
    path: Path
    rows: pa.Table
    fingerprint: str
    unknown_users: int

    @property
    def blank(self) -> list[str]:
        """The features without a single value, as they were delivered: nothing is learnt from them."""
        return _blank(self.rows)


def schema() -> pa.Schema:
    """Return the columns of a training set."""
    return pa.schema(
        [
            pa.field("user_id", pa.string(), nullable=False),
            pa.field("as_of", TIMESTAMP, nullable=False),
            *(pa.field(f.name, ARROW_TYPES[f.dtype]) for f in _FEATURES),
            pa.field("churn_label", pa.bool_(), nullable=False),
        ]
    )


def training_set_path(month: Month, as_known: dt.datetime | None = None) -> Path:
    """Return where the training set of a month is kept; one built as known later lies beside it."""
    suffix = f"_as_known_{as_known:%Y-%m-%dT%H%M%S}" if as_known else ""
    return get_settings().training_sets / f"{month}{suffix}.parquet"


def build_training_set(
    month: Month,
    as_known: dt.datetime | None = None,
    judge: Callable[[TrainingSet], None] | None = None,
) -> TrainingSet:
    """Join the labels of a month to its features as they were known, and keep the result.

    Args:
        month: the label period.
        as_known: build it as known at this instant instead of at the contract's cut-offs.
        judge: looks at the set before it is written; what it raises leaves an earlier one as it was.

    Raises:
        ChurnError: labels or features are not there yet, or the join is not sane.
    """
    cut_offs = CutOffs.of(month, as_known)
    spine = read_spine(month, cut_offs)
    joined = _features(month, spine, cut_offs.features)
    rows = _assemble(month, spine, joined)
    _refuse_losses(month, rows, cut_offs.features)
    path = training_set_path(month, as_known)
    content = fingerprint(rows, key=["user_id"])
    training_set = TrainingSet(month, path, rows, content, spine.unknown_users)
    if judge is not None:
        judge(training_set)
    _write(rows, path)
    return training_set


def read_training_set(month: Month, as_known: dt.datetime | None = None) -> TrainingSet:
    """Read a training set that was built before."""
    path = training_set_path(month, as_known)
    if not path.exists():
        raise ChurnError(
            "there is no training set yet",
            where=str(month),
            remedy=f"materialize training_dataset for {month.partition_key}",
        )
    rows = pq.read_table(path)
    return TrainingSet(month, path, rows, fingerprint(rows, key=["user_id"]), 0)


def _features(month: Month, spine: Spine, known_by: dt.datetime) -> pa.Table:
    """Ask Feast for the features of the spine's users in this month, as known by `known_by`."""
    from feature_repo.offline_store import KNOWN_BY
    from feature_repo.store import open_store

    users = spine.rows["user_id"]
    entities = pa.table(
        {
            "user_id": users,
            "event_timestamp": pa.repeat(pa.scalar(month.as_of, TIMESTAMP), len(users)),
            KNOWN_BY: pa.repeat(pa.scalar(known_by, TIMESTAMP), len(users)),
        }
    )
    store = open_store()
    return store.get_historical_features(
        entity_df=entities,
        features=store.get_feature_service(DEFAULT_SERVICE.name),
        filter_by_created_timestamp=True,
    ).to_arrow()


def _assemble(month: Month, spine: Spine, joined: pa.Table) -> pa.Table:
    """Bring the joined rows into the spine's order, by key: Feast promises no order."""
    labels = spine.rows
    in_order = joined["user_id"].equals(labels["user_id"])
    ordered = joined if in_order else joined.sort_by("user_id")
    if not ordered["user_id"].equals(labels["user_id"]):
        raise ChurnError(
            f"the join returned {ordered.num_rows:,} rows for {labels.num_rows:,} labels, or others",
            where=f"training set {month}",
            remedy="check the lake's files of this month for duplicate rows",
        )
    as_of = pa.repeat(pa.scalar(month.as_of, TIMESTAMP), labels.num_rows)
    columns = [labels["user_id"], as_of]
    columns += [ordered[f.name].cast(ARROW_TYPES[f.dtype]) for f in _FEATURES]
    rows = pa.table([*columns, labels["churn_label"]], schema=schema())
    if rows.num_rows == 0:
        raise ChurnError(
            "no user who was known at the month's end has a label",
            where=f"training set {month}",
            remedy="see that labels.csv and users.csv are of one month and name the same users",
        )
    return rows.combine_chunks()


def _refuse_losses(month: Month, rows: pa.Table, known_by: dt.datetime) -> None:
    """Raise a ChurnError where a column has no value although the snapshot, as known by then, has some.

    A column that was delivered blank throughout is no loss: a company may simply not have it.
    """
    blank = set(_blank(rows))
    users = rows["user_id"].to_pylist() if blank else []
    with connect() as connection:
        for view in VIEWS:
            names = [feature.name for feature in view.features if feature.name in blank]
            at = [month.as_of, known_by, users]
            lost = [name for name in names if _has_values(connection, view, name, at)]
            if lost:
                raise ChurnError(
                    f"every value of {', '.join(lost)} is null, but {view.table.snapshot} has values:"
                    " they were lost on the way",
                    where=f"training set {month}, {lake_file(view, month)}",
                    remedy=f"materialize {view.name} for {month.partition_key} again, then"
                    " training_dataset",
                )


def _has_values(connection: psycopg.Connection, view: View, name: str, at: list[object]) -> bool:
    query = sql.SQL(
        "SELECT EXISTS (SELECT FROM (SELECT DISTINCT ON (user_id) is_withdrawn, {column} AS value"
        "  FROM {snapshot} WHERE as_of = %s AND known_at <= %s AND user_id = ANY(%s)"
        "  ORDER BY user_id, known_at DESC) AS s"
        " WHERE NOT is_withdrawn AND value IS NOT NULL)"
    ).format(column=sql.Identifier(name), snapshot=sql.Identifier(view.table.snapshot))
    row = connection.execute(query, at).fetchone()
    return bool(row and row[0])


def _blank(rows: pa.Table) -> list[str]:
    return [f.name for f in _FEATURES if rows[f.name].null_count == rows.num_rows]


def _write(rows: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    pq.write_table(rows, half, compression="zstd")
    half.replace(path)

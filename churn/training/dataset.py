"""A training set: the spine joined to its features through Feast, sorted and fingerprinted, with its lineage.

Who is in it, and with which label, is decided by the spine (`spine.py`). The lineage lists the deliveries
that were in force at the cut-offs.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from churn.contract.in_force import CONTRACT, LABELS, SERVICES, USERS, VIEWS
from churn.contract.structure import Feature, View
from churn.database import connect
from churn.errors import ChurnError
from churn.files import replacing
from churn.fingerprint import fingerprint
from churn.lake.files import ARROW_TYPES, TIMESTAMP, lake_file
from churn.months import Month
from churn.settings import get_settings
from churn.training.spine import CutOffs, Spine, read_spine

# One set serves every feature service: it has the features of all of them.
_SERVED = {name for service in SERVICES for name in service.feature_names}
_FEATURES = tuple(f for view in VIEWS for f in view.features if f.name in _SERVED)
# The key in the file's metadata for the fingerprint of the contract that the set was made under.
_CONTRACT_KEY = b"churn.contract"


@dataclass(frozen=True)
class TrainingSet:
    """One training set: user_id, as_of, the features of every service, churn_label.

    A feature that came with a later version of the services is a column only where the month has values for
    it. A set that exists keeps the columns that it was made with, however the contract has grown since.

    Args:
        fingerprint: a hash of the rows.
        unknown_users: how many labelled users were not known at the features' cut-off.
        contract: the fingerprint of the contract that the set was made under; empty for sets from before
            contracts were recorded.
    """

    month: Month
    path: Path
    rows: pa.Table
    fingerprint: str
    unknown_users: int
    contract: str = ""

    @property
    def features(self) -> list[str]:
        """The features that are columns of the set."""
        return [f.name for f in _FEATURES if f.name in self.rows.column_names]

    @property
    def blank(self) -> list[str]:
        """The features without a single value, from which nothing can be learnt."""
        return _blank(self.rows)


def schema(features: Sequence[Feature] = _FEATURES) -> pa.Schema:
    """Return the columns of a training set with these features."""
    return pa.schema(
        [
            pa.field("user_id", pa.string(), nullable=False),
            pa.field("as_of", TIMESTAMP, nullable=False),
            *(pa.field(f.name, ARROW_TYPES[f.dtype]) for f in features),
            pa.field("churn_label", pa.bool_(), nullable=False),
        ]
    )


def training_set_path(month: Month, as_known: dt.datetime | None = None) -> Path:
    """Return the path of a month's training set; one built as known at another time lies beside it."""
    suffix = f"_as_known_{as_known:%Y-%m-%dT%H%M%S}" if as_known else ""
    return get_settings().training_sets / f"{month}{suffix}.parquet"


def build_training_set(
    month: Month,
    as_known: dt.datetime | None = None,
    judge: Callable[[TrainingSet], None] | None = None,
) -> TrainingSet:
    """Join the labels of a month to its features as they were known, and keep the result.

    Args:
        month: the month of the features; its labels say who left in the month after.
        as_known: build the set as known at this instant, not at the month's own cut-offs.
        judge: called with the set before it is written; where it raises, an earlier set stays.

    Raises:
        ChurnError: labels or features are not there yet, or the join gave other rows than it should.
    """
    cut_offs = CutOffs.of(month, as_known)
    spine = read_spine(month, cut_offs)
    joined = _features(month, spine, cut_offs.features)
    path = training_set_path(month, as_known)
    existing = _existing_rows(path)
    rows = _assemble(month, spine, joined, existing)
    _refuse_losses(month, rows, cut_offs.features, existing)
    content = fingerprint(rows, key=["user_id"])
    is_new = existing is None or not rows.equals(existing)
    contract = CONTRACT.fingerprint if is_new else _contract_of(existing)
    training_set = TrainingSet(month, path, rows, content, spine.unknown_users, contract)
    if judge is not None:
        judge(training_set)
    if is_new:
        _write(rows, path)
    return training_set


def with_every_feature(rows: pa.Table) -> pa.Table:
    """Return the rows of a set with null columns for features that are newer than it.

    So a release of any version can score them.
    """
    for feature in _FEATURES:
        if feature.since > 1 and feature.name not in rows.column_names:
            nulls = pa.nulls(rows.num_rows, ARROW_TYPES[feature.dtype])
            rows = rows.append_column(feature.name, nulls)
    return rows


def read_training_set(month: Month, as_known: dt.datetime | None = None) -> TrainingSet:
    """Read a training set that was built before.

    Raises:
        ChurnError: there is none of this month.
    """
    path = training_set_path(month, as_known)
    if not path.exists():
        raise ChurnError(
            "there is no training set yet",
            where=str(month),
            remedy=f"materialize training_dataset for {month.partition_key}",
        )
    rows = pq.read_table(path)
    content = fingerprint(rows, key=["user_id"])
    return TrainingSet(month, path, rows, content, 0, _contract_of(rows))


def _features(month: Month, spine: Spine, known_by: dt.datetime) -> pa.Table:
    """Ask Feast for the features of the spine's users in this month, as they were known by `known_by`."""
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
    return (
        open_store()
        .get_historical_features(
            entity_df=entities,
            features=[
                f"{view.name}:{name}"
                for view in VIEWS
                for name in view.feature_names
                if name in _SERVED
            ],
            filter_by_created_timestamp=True,
        )
        .to_arrow()
    )


def _existing_rows(path: Path) -> pa.Table | None:
    """Return the rows of the set that was built before; None where there is none that can be read."""
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException):
        # A missing or broken file is built again.
        return None


def _contract_of(rows: pa.Table) -> str:
    return str((rows.schema.metadata or {}).get(_CONTRACT_KEY, b"").decode())


def _kept(joined: pa.Table, existing: pa.Table | None) -> list[Feature]:
    """Return the features that become columns: those of the existing set, else those with a value.

    Features of the first version are always columns, with or without a value.
    """
    if existing is not None:
        return [f for f in _FEATURES if f.since == 1 or f.name in existing.column_names]
    rows = joined.num_rows
    return [f for f in _FEATURES if f.since == 1 or joined[f.name].null_count < rows]


def _schema(features: Sequence[Feature], existing: pa.Table | None) -> pa.Schema:
    """Return the schema of the set; existing columns keep their type, even if the contract's is wider now."""
    wanted = schema(features)
    if existing is None:
        return wanted
    types = {field.name: field.type for field in existing.schema}
    return pa.schema([field.with_type(types.get(field.name, field.type)) for field in wanted])


def _assemble(month: Month, spine: Spine, joined: pa.Table, existing: pa.Table | None) -> pa.Table:
    """Bring the joined rows into the spine's order, by user_id: Feast promises no order."""
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
    wanted = _schema(_kept(ordered, existing), existing)
    columns += [ordered[name].cast(wanted.field(name).type) for name in wanted.names[2:-1]]
    rows = pa.table([*columns, labels["churn_label"]], schema=wanted)
    if rows.num_rows == 0:
        raise ChurnError(
            "no user who was known at the month's end has a label",
            where=f"training set {month}",
            remedy=f"see that {LABELS.shown_file} and {USERS.shown_file} are of one month and name the"
            " same users",
        )
    return rows.combine_chunks()


def _refuse_losses(
    month: Month, rows: pa.Table, known_by: dt.datetime, existing: pa.Table | None
) -> None:
    """Raise a ChurnError where a column has no value although the snapshot, as known by then, has some.

    A column that was delivered blank throughout is no loss: a company may simply not have it. Nor is a column
    that is newer than the existing set, or than the month's file in the lake.
    """
    blank, later = set(_blank(rows)), {f.name for f in _FEATURES if f.since > 1}
    if existing is None:
        blank |= {f.name for f in _FEATURES} - set(rows.column_names)
    users = rows["user_id"].to_pylist() if blank else []
    with connect() as connection:
        for view in VIEWS if blank else ():
            stored = _columns_in_lake(view, month)
            names = [
                name
                for name in view.feature_names
                if name in blank and (name not in later or name in stored)
            ]
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


def _columns_in_lake(view: View, month: Month) -> list[str]:
    path = lake_file(view, month)
    return list(pq.read_schema(path).names) if path.exists() else []


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
    columns = [f.name for f in _FEATURES if f.name in rows.column_names]
    return [name for name in columns if rows[name].null_count == rows.num_rows]


def _write(rows: pa.Table, path: Path) -> None:
    stamped = rows.replace_schema_metadata({_CONTRACT_KEY: CONTRACT.fingerprint.encode()})
    with replacing(path) as new:
        pq.write_table(stamped, new, compression="zstd")


def lineage(training_set: TrainingSet, as_known: dt.datetime | None = None) -> dict[str, Any]:
    """Return what a training set was made from, down to the sha256 of each file behind it."""
    cut_offs = CutOffs.of(training_set.month, as_known)
    return {
        "month": str(training_set.month),
        "as_of": training_set.month.as_of.isoformat(),
        "features_known_at": cut_offs.features.isoformat(),
        "labels_known_at": cut_offs.labels.isoformat(),
        "training_set": {
            "fingerprint": training_set.fingerprint,
            "rows": training_set.rows.num_rows,
            "file": training_set.path.name,
            "features": training_set.features,
            "contract": training_set.contract,
        },
        "deliveries": _in_force(training_set.month, cut_offs),
    }


def _in_force(month: Month, cut_offs: CutOffs) -> list[dict[str, Any]]:
    with connect() as connection:
        rows = connection.execute(
            "SELECT DISTINCT ON (file) file, delivery_id, sha256, fingerprint, rows, known_at"
            " FROM raw.deliveries WHERE month = %(month)s AND unloadable IS NULL AND known_at <="
            "  CASE WHEN file = %(labels)s THEN %(label_cut)s ELSE %(feature_cut)s END"
            " ORDER BY file, known_at DESC",
            {
                "month": month.first_day,
                "labels": LABELS.name,
                "label_cut": cut_offs.labels,
                "feature_cut": cut_offs.features,
            },
        ).fetchall()
    names = ("file", "delivery_id", "sha256", "fingerprint", "rows", "known_at")
    return [dict(zip(names, (*row[:-1], row[-1].isoformat()), strict=True)) for row in rows]

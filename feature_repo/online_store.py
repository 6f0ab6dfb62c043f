"""Feast's online store on our tables: one wide, typed row per user and view, guarded against older rows."""

import datetime as dt
import threading
from collections.abc import Callable, Sequence
from typing import Any

from feast import Entity, FeatureView, RepoConfig
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel
from psycopg import sql
from psycopg_pool import ConnectionPool

from churn.settings import get_settings

WriteRow = tuple[EntityKey, dict[str, Value], dt.datetime, dt.datetime | None]
_Request = tuple[tuple[str, tuple[str, ...]], ...]
ReadRow = tuple[dt.datetime | None, dict[str, Value] | None]

_VALUE_FIELDS = {
    "ValueType.INT64": "int64_val",
    "ValueType.FLOAT": "float_val",
    "ValueType.BOOL": "bool_val",
    "ValueType.STRING": "string_val",
}


class WideRowOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Nothing to set: Postgres is the one of churn.settings, the tables those of its schema."""

    type: str = "feature_repo.online_store.WideRowOnlineStore"


class WideRowOnlineStore(OnlineStore):  # type: ignore[misc]
    """Reads and writes `online.<view>`; all views of one request are read in a single statement.

    A single statement sees a single state of the database, so one answer never mixes two publications.
    """

    def __init__(self) -> None:
        self._pool: ConnectionPool | None = None
        self._opening = threading.Lock()
        self._statements: dict[_Request, tuple[sql.Composed, list[list[str]]]] = {}

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[ReadRow]:
        """Return the as_of and the features of each user, (None, None) where the view has no row."""
        names = requested_features or [field.name for field in table.features]
        return self._read([(table, names)], [_user_id(key) for key in entity_keys])[0]

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[WriteRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows as `feast materialize` does; a row older than the stored one is passed over."""
        names = [field.name for field in table.features]
        rows = [
            [_user_id(key), as_of, known_at or as_of, *(_python(values.get(n)) for n in names)]
            for key, values, as_of, known_at in data
        ]
        updates = sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(n))
            for n in ["as_of", "known_at", *names]
        )
        statement = sql.SQL(
            "INSERT INTO {table} AS o (user_id, as_of, known_at, {columns}) VALUES ({marks})"
            " ON CONFLICT (user_id) DO UPDATE SET {updates}"
            " WHERE (o.as_of, o.known_at) <= (excluded.as_of, excluded.known_at)"
        ).format(
            table=sql.Identifier("online", table.name),
            columns=sql.SQL(", ").join(map(sql.Identifier, names)),
            marks=sql.SQL(", ").join([sql.Placeholder()] * (len(names) + 3)),
            updates=updates,
        )
        with self._connections().connection() as connection, connection.cursor() as cursor:
            cursor.executemany(statement, rows)
        if progress:
            progress(len(data))

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Do nothing: the tables are made by churn.database.schema, from the same contract."""

    def teardown(
        self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]
    ) -> None:
        """Empty the views' tables; the history in the snapshots stays."""
        with self._connections().connection() as connection:
            for table in tables:
                connection.execute(
                    sql.SQL("TRUNCATE {}").format(sql.Identifier("online", table.name))
                )

    async def close(self) -> None:
        """Close the connections; Feast's own close awaits this."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _read_features_per_fv(
        self,
        config: RepoConfig,
        grouped_refs: list[tuple[FeatureView, list[str]]],
        join_key_values: dict[str, Any],
        entity_name_to_join_key_map: dict[str, str],
        online_features_response: Any,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        """Feast's hook for stores that read many views at once."""
        from feast import utils

        values, positions, length = utils._get_unique_entities(
            grouped_refs[0][0], join_key_values, entity_name_to_join_key_map
        )
        users = [_user_id(key) for key in utils._get_entity_key_protos(values)]
        for (view, names), rows in zip(grouped_refs, self._read(grouped_refs, users), strict=True):
            utils._populate_response_from_feature_data(
                names,
                rows,
                positions,
                online_features_response,
                full_feature_names,
                view,
                length,
                include_feature_view_version_metadata,
            )

    def _read(
        self, views: list[tuple[FeatureView, list[str]]], users: list[str]
    ) -> list[list[ReadRow]]:
        statement, kinds_of_views = self._statement(views)
        with self._connections().connection() as connection:
            found = {row[0]: row for row in connection.execute(statement, [users])}
        read: list[list[ReadRow]] = []
        start = 1
        for (_, names), kinds in zip(views, kinds_of_views, strict=True):
            rows = [found.get(user) for user in users]
            read.append([_row(row, start, names, kinds) for row in rows])
            start += 1 + len(names)
        return read

    def _statement(
        self, views: list[tuple[FeatureView, list[str]]]
    ) -> tuple[sql.Composed, list[list[str]]]:
        """Return the statement that reads these views, and the value fields of their features."""
        key = tuple((view.name, tuple(names)) for view, names in views)
        if key not in self._statements:
            kinds = []
            for view, names in views:
                fields = {
                    f.name: _VALUE_FIELDS[str(f.dtype.to_value_type())] for f in view.features
                }
                kinds.append([fields[name] for name in names])
            self._statements[key] = (_select(views), kinds)
        return self._statements[key]

    def _connections(self) -> ConnectionPool:
        with self._opening:
            if self._pool is None:
                self._pool = ConnectionPool(
                    get_settings().dsn(),
                    min_size=1,
                    max_size=8,
                    open=True,
                    check=ConnectionPool.check_connection,
                    timeout=2,  # a request would rather be told than wait
                    reconnect_timeout=2,
                    kwargs={"autocommit": True, "connect_timeout": 2},
                )
            return self._pool


def _select(views: list[tuple[FeatureView, list[str]]]) -> sql.Composed:
    columns, joins = [], []
    for number, (view, names) in enumerate(views):
        alias = sql.Identifier(f"v{number}")
        columns += [sql.SQL("{}.{}").format(alias, sql.Identifier(n)) for n in ["as_of", *names]]
        joins.append(
            sql.SQL("LEFT JOIN {} AS {} ON {}.user_id = u.user_id").format(
                sql.Identifier("online", view.name), alias, alias
            )
        )
    return sql.SQL("SELECT u.user_id, {} FROM unnest(%s::text[]) AS u (user_id) {}").format(
        sql.SQL(", ").join(columns), sql.SQL(" ").join(joins)
    )


def _row(row: Any, start: int, names: list[str], kinds: list[str]) -> ReadRow:
    if row is None or row[start] is None:
        return None, None
    values = {}
    for offset, (name, kind) in enumerate(zip(names, kinds, strict=True), start + 1):
        found = row[offset]
        values[name] = Value() if found is None else Value(**{kind: found})
    return row[start], values


def _user_id(key: EntityKey) -> str:
    return str(key.entity_values[0].string_val)


def _python(value: Value | None) -> Any:
    kind = value.WhichOneof("val") if value is not None else None
    return getattr(value, kind) if kind else None

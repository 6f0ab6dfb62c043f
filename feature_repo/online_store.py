"""Feast's online store on our table, or on its copy in Redis: one wide, typed row per user.

`feast materialize` writes through it, one view's columns at a time. A publication does not:
`churn.online.publish` switches whole tables. Feast's interface:
https://docs.feast.dev/how-to-guides/customizing-feast/adding-support-for-a-new-online-store
"""

import asyncio
import datetime as dt
import threading
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from feast import Entity, FeatureView, RepoConfig
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel
from psycopg import sql
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from churn.contract.in_force import VIEW_BY_NAME, VIEWS
from churn.contract.structure import View
from churn.database import lock
from churn.database.online_tables import LOCK, PRESENT, USERS
from churn.errors import ChurnError
from churn.online.read import POOL, OnlineRow, read_pooled_async, read_rows
from churn.online.redis_copy import forget_copy
from churn.online.redis_read import AsyncRedisReader, RedisReader
from churn.settings import get_settings

# A row has one version, so a newer month begins a new row, which has only this view until the others follow.
# Within a month, a view may be of an older version than another, since corrections come by file.
_GUARD = "o.as_of < s.as_of OR (o.as_of = s.as_of AND (NOT o.{view} OR o.known_at <= s.known_at))"


def write_rows(connection: psycopg.Connection, view: View, rows: Sequence[Sequence[Any]]) -> None:
    """Write rows of (user_id, as_of, known_at, features) where the user's row is not newer.

    It is one transaction, which waits for a publication that is under way.
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
    """Clear the views in every row, and delete rows that have no view left."""
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
    """Return the statement that merges the newest row of each user in `staged`."""
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


WriteRow = tuple[EntityKey, dict[str, Value], dt.datetime, dt.datetime | None]
ReadRow = tuple[dt.datetime | None, dict[str, Value] | None]
Refs = list[tuple[FeatureView, list[str]]]


class WideRowOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """There is nothing to configure: Postgres is that of churn.settings, and the table that of its schema.

    Another table is read only to check a publication before it is switched in.
    """

    type: str = "feature_repo.online_store.WideRowOnlineStore"
    table: str = PRESENT


class WideRowOnlineStore(OnlineStore):  # type: ignore[misc]
    """Reads and writes `online.users`; all views of one request are read in a single statement.

    A single statement sees a single state of the database, and a row has one version, so no answer mixes two
    publications, whichever views are requested.
    """

    def __init__(self) -> None:
        self._pool: ConnectionPool | None = None
        self._async_pool: AsyncConnectionPool | None = None
        self._copy: RedisReader | None = None
        self._async_copy: AsyncRedisReader | None = None
        self._opening = threading.Lock()

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        """Both reads and writes have an async form."""
        return SupportedAsyncMethods(read=True, write=True)

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[ReadRow]:
        """Return the as_of and the features of each user, (None, None) where the view has no row."""
        names = requested_features or [field.name for field in table.features]
        return _of_view(table, names, self._read(config, [table], _user_ids(entity_keys)))

    async def online_read_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[ReadRow]:
        """Do what `online_read` does without blocking."""
        names = requested_features or [field.name for field in table.features]
        return _of_view(table, names, await self._read_async([table], _user_ids(entity_keys)))

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[WriteRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows of one view, as `feast materialize` does, where the stored row is not newer.

        Raises:
            ChurnError: readers are given a copy in Redis, which only whole publications reach.
        """
        if _is_copied():
            raise ChurnError(
                "single views are not written where readers are given a copy in Redis",
                where="CHURN_ONLINE=redis",
                remedy="materialize the asset online_features, which publishes all views at once",
            )
        view = VIEW_BY_NAME[table.name]
        names = [feature.name for feature in view.features]
        rows = [
            [_user_id(key), as_of, known_at or as_of, *(_python(values.get(n)) for n in names)]
            for key, values, as_of, known_at in data
        ]
        with self._connections().connection() as connection:
            write_rows(connection, view, rows)
        if progress:
            progress(len(data))

    async def online_write_batch_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[WriteRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Do what `online_write_batch` does in a thread."""
        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Clear the views that no longer exist; `churn.database` creates the table."""
        if tables_to_delete:
            self.teardown(config, tables_to_delete, entities_to_delete)

    def teardown(
        self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]
    ) -> None:
        """Clear the views' columns; the history in the snapshots stays."""
        views = [VIEW_BY_NAME[table.name] for table in tables if table.name in VIEW_BY_NAME]
        with self._connections().connection() as connection:
            clear_views(connection, views)
        if _is_copied():
            forget_copy()

    async def close(self) -> None:
        """Close the connections; Feast's own close awaits this."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        if self._async_pool is not None:
            await self._async_pool.close()
            self._async_pool = None
        if self._copy is not None:
            self._copy.close()
            self._copy = None
        if self._async_copy is not None:
            await self._async_copy.aclose()
            self._async_copy = None

    def _read_features_per_fv(
        self,
        config: RepoConfig,
        grouped_refs: Refs,
        join_key_values: dict[str, Any],
        entity_name_to_join_key_map: dict[str, str],
        *into: Any,
    ) -> None:
        """Read many views at once; this is Feast's hook for stores that can."""
        users, positions, length = _asked(
            grouped_refs, join_key_values, entity_name_to_join_key_map
        )
        rows = self._read(config, [view for view, _ in grouped_refs], users)
        _answer(grouped_refs, rows, positions, length, *into)

    async def _read_features_per_fv_async(
        self,
        config: RepoConfig,
        grouped_refs: Refs,
        join_key_values: dict[str, Any],
        entity_name_to_join_key_map: dict[str, str],
        *into: Any,
    ) -> None:
        """Do the same without blocking."""
        users, positions, length = _asked(
            grouped_refs, join_key_values, entity_name_to_join_key_map
        )
        rows = await self._read_async([view for view, _ in grouped_refs], users)
        _answer(grouped_refs, rows, positions, length, *into)

    def _read(
        self, config: RepoConfig, tables: Sequence[FeatureView], users: list[str]
    ) -> list[OnlineRow]:
        views = [VIEW_BY_NAME[table.name] for table in tables]
        table = config.online_store.table
        if table == PRESENT and _is_copied():
            return self._redis().read(users, views)[1]
        pool = self._connections()
        try:
            with pool.connection() as connection:
                return read_rows(connection, users, views, table)[1]
        except psycopg.OperationalError:
            # If Postgres has come back, this replaces the connections that the pool still holds.
            pool.check()
            with pool.connection() as connection:
                return read_rows(connection, users, views, table)[1]

    async def _read_async(self, tables: Sequence[FeatureView], users: list[str]) -> list[OnlineRow]:
        views = [VIEW_BY_NAME[table.name] for table in tables]
        if _is_copied():
            copy = await self._redis_async()
            return (await copy.read(users, views))[1]
        pool = await self._async_connections()
        return (await read_pooled_async(pool, users, views))[1]

    def _connections(self) -> ConnectionPool:
        with self._opening:
            if self._pool is None:
                self._pool = ConnectionPool(get_settings().dsn(), open=True, **POOL)
            return self._pool

    def _redis(self) -> RedisReader:
        with self._opening:
            if self._copy is None:
                self._copy = RedisReader()
            return self._copy

    async def _redis_async(self) -> AsyncRedisReader:
        if self._async_copy is None:
            opened = await AsyncRedisReader.open()
            # Another read may have opened one meanwhile.
            if self._async_copy is not None:
                await opened.aclose()
                return self._async_copy
            self._async_copy = opened
        return self._async_copy

    async def _async_connections(self) -> AsyncConnectionPool:
        if self._async_pool is None:
            self._async_pool = AsyncConnectionPool(get_settings().dsn(), open=False, **POOL)
            await self._async_pool.open()
        return self._async_pool


def _is_copied() -> bool:
    """Return whether readers are given a copy in Redis."""
    return get_settings().online == "redis"


def _asked(
    grouped_refs: Refs, join_key_values: dict[str, Any], join_keys: dict[str, str]
) -> tuple[list[str], Any, int]:
    """Return the distinct users, the positions of each in the answer, and the answer's length."""
    from feast import utils

    values, positions, length = utils._get_unique_entities(
        grouped_refs[0][0], join_key_values, join_keys
    )
    return _user_ids(utils._get_entity_key_protos(values)), positions, length


def _answer(
    grouped_refs: Refs,
    rows: list[OnlineRow],
    positions: Any,
    length: int,
    response: Any,
    full_names: bool,
    version_metadata: bool,
) -> None:
    """Fill Feast's response, view by view."""
    from feast import utils

    for view, names in grouped_refs:
        utils._populate_response_from_feature_data(
            names, _of_view(view, names, rows), positions, response, full_names, view, length,
            version_metadata,
        )  # fmt: skip


def _of_view(table: FeatureView, names: list[str], rows: list[OnlineRow]) -> list[ReadRow]:
    fields = {f.name: f.type.proto_field for f in VIEW_BY_NAME[table.name].features}
    return [
        (None, None)
        if table.name in row.missing_views
        else (row.as_of, {name: _value(fields[name], row.values[name]) for name in names})
        for row in rows
    ]


def _value(field: str, stored: Any) -> Value:
    return Value() if stored is None else Value(**{field: stored})


def _user_ids(keys: Sequence[EntityKey]) -> list[str]:
    return [_user_id(key) for key in keys]


def _user_id(key: EntityKey) -> str:
    return str(key.entity_values[0].string_val)


def _python(value: Value | None) -> Any:
    kind = value.WhichOneof("val") if value is not None else None
    return getattr(value, kind) if kind else None

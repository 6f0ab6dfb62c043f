"""The ways of joining entity rows to features as they were known: from a Parquet file to an Arrow table."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from churn.contract.in_force import BASELINE
from churn.contract.structure import View
from churn.database import connect
from churn.database.copying import copy_in
from churn.lake.files import ARROW_TYPES, TIMESTAMP, lake_folder
from churn.settings import get_settings

# The worker's newest result, which is kept to be compared.
_last: list[pa.Table] = []
_SQL_TYPES = {
    "Int64": "bigint",
    "Float64": "double precision",
    "Float32": "real",
    "Bool": "boolean",
    "String": "text",
}


def through_our_store(entities: Path) -> int:
    """Ask Feast with the store of feature_store.yaml; return the number of rows."""
    from feature_repo.store import open_store

    return _ask(open_store(), pq.read_table(entities))


def through_feast_duckdb(entities: Path) -> int:
    from feature_repo.store import open_store

    return _ask(open_store(offline_store={"type": "duckdb"}), _pandas(entities))


def through_feast_postgres(entities: Path) -> int:
    """Ask Feast's Postgres store, from the tables that `load_tables` filled."""
    from feast import FeatureStore, RepoConfig

    return _ask(
        FeatureStore(config=RepoConfig(**_postgres_config(entities.parent))), _pandas(entities)
    )


def by_asof(entities: Path) -> int:
    import duckdb

    views = " ".join(_asof_join(view) for view in BASELINE.views)
    # The newest row known by then may belong to an earlier month, and then is no answer for this one.
    features = ", ".join(
        f"CASE WHEN {view.name}.as_of = l.event_timestamp THEN {view.name}.{feature.name} END"
        f" AS {feature.name}"
        for view in BASELINE.views
        for feature in view.features
    )
    with duckdb.connect() as connection:
        query = f"SELECT l.*, {features} FROM '{entities}' AS l {views}"  # noqa: S608
        return _keep(connection.sql(query).to_arrow_table())


def load_tables(folder: Path) -> None:
    """Put the lake into one table per view, with an index on user and time, and register the views."""
    from feast import FeatureStore, RepoConfig
    from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import (
        PostgreSQLSource,
    )

    from feature_repo.streamflow import feast_objects

    objects = feast_objects(get_settings().lake)
    with connect() as connection:
        for view in BASELINE.views:
            _load(connection, view)
            objects[view.name].batch_source = PostgreSQLSource(
                name=f"{view.name}_table",
                table=view.name,
                timestamp_field="as_of",
                created_timestamp_column="known_at",
            )
    names = {view.name for view in BASELINE.views}
    store = FeatureStore(config=RepoConfig(**_postgres_config(folder)))
    store.apply([objects["user"], *(objects[name] for name in names), objects[BASELINE.name]])


def content() -> tuple[int, int]:
    """Return the number of rows of the newest result, and a hash that does not depend on their order."""
    import duckdb

    types = {"user_id": pa.string(), "event_timestamp": TIMESTAMP, "churn_label": pa.bool_()}
    types |= {f.name: ARROW_TYPES[f.dtype] for f in BASELINE.features}
    joined = _last[0]
    rows = pa.table({name: joined[name].cast(kind) for name, kind in types.items()})
    # In pandas, null floats are NaN.
    known = ", ".join(
        f"nullif({name}, 'NaN')" if pa.types.is_floating(kind) else name
        for name, kind in types.items()
    )
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        query = f"SELECT count(*), sum(hash({known})::hugeint) FROM rows"  # noqa: S608
        count, total = connection.sql(query).fetchall()[0]
    return int(count), int(total)


def _ask(store: Any, entities: Any) -> int:
    _last.clear()
    job = store.get_historical_features(
        entity_df=entities,
        features=store.get_feature_service(BASELINE.name),
        filter_by_created_timestamp=True,
    )
    return _keep(job.to_arrow())


def _keep(joined: pa.Table) -> int:
    _last[:] = [joined]
    return int(joined.num_rows)


def _pandas(entities: Path) -> Any:
    import pandas as pd

    return pd.read_parquet(entities)


def _asof_join(view: View) -> str:
    files = lake_folder(view, get_settings().lake) / "*" / "*.parquet"
    return (
        f"ASOF LEFT JOIN read_parquet('{files}') AS {view.name}"
        f" ON {view.name}.user_id = l.user_id AND l.event_timestamp >= {view.name}.known_at"
    )


def _load(connection: Any, view: View) -> None:
    columns = ", ".join(f"{f.name} {_SQL_TYPES[f.dtype]}" for f in view.features)
    table = sql.Identifier(view.name)
    connection.execute(
        f"CREATE TABLE {view.name} (user_id text, as_of timestamptz, known_at timestamptz, {columns})"
    )
    for file in sorted(lake_folder(view, get_settings().lake).glob("*/*.parquet")):
        copy_in(connection, table, pq.ParquetFile(file).read().drop_columns("is_withdrawn"))
    connection.execute(f"CREATE INDEX ON {view.name} (user_id, as_of)")
    connection.execute(f"ANALYZE {view.name}")


def _postgres_config(folder: Path) -> dict[str, Any]:
    settings = get_settings()
    return {
        "project": "streamflow",
        "provider": "local",
        "registry": {"registry_type": "file", "path": str(folder / "postgres_registry.db")},
        "online_store": None,
        "entity_key_serialization_version": 3,
        "offline_store": {
            "type": "postgres",
            "host": settings.postgres_host,
            "port": settings.postgres_port,
            "database": settings.postgres_db,
            "user": settings.postgres_user,
            "password": settings.postgres_password.get_secret_value(),
            "sslmode": "disable",
        },
    }

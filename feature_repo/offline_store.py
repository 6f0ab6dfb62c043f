"""Feast's offline store on the lake: joins month by month, and leaves the rest to Feast's duckdb store.

The join itself is `churn.lake.point_in_time`. Feast's interface:
https://docs.feast.dev/how-to-guides/customizing-feast/adding-a-new-offline-store
"""

import datetime as dt
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureView, FileSource, OnDemandFeatureView, RepoConfig
from feast.infra.offline_stores import offline_utils
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel
from feast.saved_dataset import SavedDatasetStorage
from feast.types import from_feast_to_pyarrow_type

from churn.contract.in_force import VIEW_BY_NAME
from churn.lake.point_in_time import ViewRequest, join

if TYPE_CHECKING:
    import pandas as pd

# The column with the entity rows' own cut-off for known_at, if they have one.
KNOWN_BY = "known_by"


class MonthLakeOfflineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """There is nothing to configure, since the sources say where the lake is.

    The staging locations are there because Feast's duckdb store reads them.
    """

    type: str = "feature_repo.offline_store.MonthLakeOfflineStore"
    staging_location: str | None = None
    staging_location_endpoint_override: str | None = None


class MonthLakeOfflineStore(OfflineStore):  # type: ignore[misc]
    """Gives the answers of Feast's duckdb store, from files that `churn.lake.files` has written.

    Entity rows may be a pandas frame, an Arrow table, or SQL that DuckDB runs. With
    `filter_by_created_timestamp`, a version counts if it was known by the row's event time or, where the
    entity rows have a column `known_by`, by that time: a row then asks for a month as it became known later.
    """

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: "pd.DataFrame | pa.Table | str",
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
    ) -> RetrievalJob:
        """Return the job that joins the views to the entity rows, whose order is kept within a month."""
        entities = _table(entity_df)
        at = offline_utils.infer_event_timestamp_from_entity_df(
            {field.name: field.type.to_pandas_dtype() for field in entities.schema}
        )
        known_by = KNOWN_BY if KNOWN_BY in entities.column_names else at
        views = [_wanted(view, feature_refs, config, full_feature_names) for view in feature_views]
        return _Job(
            functools.partial(
                join, entities, views, at, known_by if filter_by_created_timestamp else None
            ),
            OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
            full_feature_names,
            config,
            RetrievalMetadata(
                features=feature_refs,
                keys=[name for name in entities.column_names if name != at],
                **_range(entities[at]),
            ),
        )

    @staticmethod
    def pull_latest_from_table_or_query(**kwargs: Any) -> RetrievalJob:
        """Return what `feast materialize` publishes: the newest row of each user in a period."""
        from feast.infra.offline_stores.ibis import pull_latest_from_table_or_query_ibis

        return pull_latest_from_table_or_query_ibis(**kwargs, **_read_and_write(kwargs["config"]))

    @staticmethod
    def pull_all_from_table_or_query(**kwargs: Any) -> RetrievalJob:
        """Return every row of a period, of the lake or of a saved dataset."""
        from feast.infra.offline_stores.ibis import pull_all_from_table_or_query_ibis

        return pull_all_from_table_or_query_ibis(**kwargs, **_read_and_write(kwargs["config"]))


class _Job(RetrievalJob):  # type: ignore[misc]
    def __init__(
        self,
        join: "functools.partial[pa.Table]",
        on_demand_feature_views: list[OnDemandFeatureView],
        full_feature_names: bool,
        config: RepoConfig,
        metadata: RetrievalMetadata,
    ) -> None:
        super().__init__()
        self._join = join
        self._on_demand_feature_views = on_demand_feature_views
        self._full_feature_names = full_feature_names
        self._config = config
        self._metadata = metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._join()

    def _to_df_internal(self, timeout: int | None = None) -> "pd.DataFrame":
        frame: pd.DataFrame = self._join().to_pandas()
        return frame

    @property
    def full_feature_names(self) -> bool:
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand_feature_views

    @property
    def metadata(self) -> RetrievalMetadata:
        return self._metadata

    def persist(
        self,
        storage: SavedDatasetStorage,
        allow_overwrite: bool = False,
        timeout: int | None = None,
    ) -> None:
        """Write the result to a file, as a saved dataset of Feast."""
        import ibis
        from feast.infra.offline_stores.duckdb import _write_data_source

        _write_data_source(
            ibis.memtable(self.to_arrow()),
            storage.to_data_source(),
            str(self._config.repo_path),
            mode="overwrite",
            allow_overwrite=allow_overwrite,
        )


def _table(entities: "pd.DataFrame | pa.Table | str") -> pa.Table:
    if isinstance(entities, pa.Table):
        return entities
    if isinstance(entities, str):
        import duckdb

        with duckdb.connect() as connection:
            return connection.sql(entities).to_arrow_table()
    import pandas as pd

    if "event_timestamp" in entities and entities["event_timestamp"].dtype == object:
        entities = entities.assign(
            event_timestamp=pd.to_datetime(entities["event_timestamp"], utc=True)
        )
    return pa.Table.from_pandas(entities, preserve_index=False)


def _wanted(
    view: FeatureView, feature_refs: list[str], config: RepoConfig, full_feature_names: bool
) -> ViewRequest:
    source = view.batch_source
    if not isinstance(source, FileSource) or (
        source.timestamp_field,
        source.created_timestamp_column,
    ) != (
        "as_of",
        "known_at",
    ):
        raise ValueError(f"{view.name} is no view of the lake: {source}")
    prefix = f"{view.projection.name_to_use()}:"
    names = [ref.removeprefix(prefix) for ref in feature_refs if ref.startswith(prefix)]
    shown = f"{view.projection.name_alias or view.name}__" if full_feature_names else ""
    [key] = [column.name for column in view.entity_columns]
    types = {field.name: from_feast_to_pyarrow_type(field.dtype) for field in view.features}
    return ViewRequest(
        folder=Path(config.repo_path or ".", source.path),
        columns={name: shown + name for name in names},
        schema=pa.schema([(name, types[name]) for name in names]),
        user=view.projection.join_key_map.get(key, key),
        life_us=view.ttl // dt.timedelta(microseconds=1) if view.ttl else None,
        may_be_empty=VIEW_BY_NAME[view.name].may_be_absent,
    )


def _range(times: pa.ChunkedArray) -> dict[str, dt.datetime | None]:
    bounds = pc.min_max(times).as_py()
    return {f"{which}_event_timestamp": bounds[which] for which in ("min", "max")}


def _read_and_write(config: RepoConfig) -> dict[str, Any]:
    """Return Feast's duckdb reader and writer, with a reader for files that are not alike.

    Feast's own takes the columns and types of a folder's first file for all of them: a later column would be
    missing, and fractions would be rounded if the first file holds whole numbers.
    """
    import ibis
    from feast.infra.offline_stores.duckdb import _write_data_source

    return {
        "data_source_reader": lambda source, _: ibis.read_parquet(source.path, union_by_name=True),
        "data_source_writer": _write_data_source,
        "staging_location": config.offline_store.staging_location,
        "staging_location_endpoint_override": (
            config.offline_store.staging_location_endpoint_override
        ),
    }

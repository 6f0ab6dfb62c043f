"""The objects of the Feast project: its entity, and sources, views and services derived from the contract.

Every field of a view is a feature of the contract; nothing is declared here in addition. How rows are stored
is decided in `offline_store.py` and `online_store.py`. Feast's concepts:
https://docs.feast.dev/getting-started/concepts
"""

import datetime as dt
from pathlib import Path
from typing import Any

import feast.types
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_format import ParquetFormat

from churn.contract.in_force import SERVICE_VERSIONS, SERVICES, VIEWS
from churn.contract.structure import Service, View
from churn.lake.files import lake_folder

user = Entity(
    name="user",
    join_keys=["user_id"],
    value_type=ValueType.STRING,
    description="A subscriber, by the id that the monthly drops use.",
)


def lake_source(view: View, lake: Path) -> FileSource:
    """Return the source of a view: every version of every month, one file per as_of."""
    return FileSource(
        name=f"{view.name}_lake",
        path=str(lake_folder(view, lake)),
        # Without it, the duckdb store cannot read a folder.
        file_format=ParquetFormat(),
        timestamp_field="as_of",
        created_timestamp_column="known_at",
        description=f"{view.table.snapshot}, every version, one file per as_of.",
    )


# A row belongs to one month end. An entity row that asks for the next one must never be answered with last
# month's values, so a row is visible for less than the shortest month.
TTL = dt.timedelta(days=27)


def feature_views(lake: Path) -> dict[str, FeatureView]:
    """Return the feature views by name, reading from `lake`."""
    return {view.name: _feature_view(view, lake) for view in VIEWS}


def _feature_view(view: View, lake: Path) -> FeatureView:
    return FeatureView(
        name=view.name,
        entities=[user],
        ttl=TTL,
        schema=[
            Field(
                name=feature.name,
                dtype=getattr(feast.types, feature.dtype),
                description=feature.description,
            )
            for feature in view.features
        ],
        source=lake_source(view, lake),
        online=True,
        description=f"Columns of {view.table.snapshot}, as of each month end.",
        owner="team:churn",
        tags={"table": view.table.snapshot},
    )


def feature_services(views: dict[str, FeatureView]) -> dict[str, FeatureService]:
    """Return the feature services by name, over `views`.

    Each version has its versioned name, for as long as a release may rest on it; the plain name is that of
    the newest version.
    """
    named = {service.versioned_name: service for service in SERVICE_VERSIONS}
    named |= {service.name: service for service in SERVICES}
    return {name: _feature_service(name, service, views) for name, service in named.items()}


def _feature_service(name: str, service: Service, views: dict[str, FeatureView]) -> FeatureService:
    return FeatureService(
        name=name,
        features=[views[view.name][list(view.feature_names)] for view in service.views],
        description=service.description,
        owner="team:churn",
    )


def feast_objects(lake: Path) -> dict[str, Any]:
    """Build every object of the project, by name: entity, sources, views, services.

    Args:
        lake: the folder of the offline store.
    """
    views = feature_views(lake)
    return {
        "user": user,
        **{view.batch_source.name: view.batch_source for view in views.values()},
        **views,
        **feature_services(views),
    }

"""The feature views, field by field from the contract."""

import datetime as dt
from pathlib import Path

import feast.types
from feast import FeatureView, Field

from churn.contract.features import VIEWS, View

from .entities import user
from .sources import lake_source

# A row is of one month end. An entity row that asks for this as_of must never be answered with last
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

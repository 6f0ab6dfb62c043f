"""The objects of the Feast project `streamflow`, one module per kind."""

import datetime as dt
from pathlib import Path
from typing import Any

from .entities import user
from .services import feature_services
from .views import TTL, feature_views


def feast_objects(lake: Path, ttl: dt.timedelta | None = TTL) -> dict[str, Any]:
    """Build every object of the project, by name: entity, sources, views, services.

    Args:
        lake: the folder of the offline store.
        ttl: for how long a row answers; None for a lake that holds a single month.
    """
    views = feature_views(lake, ttl)
    return {
        "user": user,
        **{view.batch_source.name: view.batch_source for view in views.values()},
        **views,
        **feature_services(views),
    }

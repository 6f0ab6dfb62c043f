"""The objects of the Feast project `streamflow`, one module per kind."""

from pathlib import Path
from typing import Any

from .entities import user
from .services import feature_services
from .views import feature_views


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

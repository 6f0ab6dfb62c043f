"""Opening the Feast store from Python, and registering the repository's objects."""

import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from churn.settings import get_settings

if TYPE_CHECKING:
    from feast import FeatureStore


def open_store(**overrides: Any) -> "FeatureStore":
    """Open the Feast store of feature_store.yaml, with the settings of this process.

    Args:
        overrides: top-level entries that replace those of the file, for instance another registry.
    """
    from feast import FeatureStore, RepoConfig

    repo = repository()
    text = (repo / "feature_store.yaml").read_text(encoding="utf-8")
    filled = string.Template(text).substitute(FEAST_REGISTRY_URL=registry_url())
    return FeatureStore(config=RepoConfig(repo_path=repo, **(yaml.safe_load(filled) | overrides)))


def repository() -> Path:
    """Return the folder of feature_store.yaml: FEAST_REPO, or this one."""
    return get_settings().feast_repo or Path(__file__).parent


def registry_url() -> str:
    """Return the address of Feast's SQL registry, the schema `feast` of our database."""
    settings = get_settings()
    return settings.sqlalchemy_url(settings.postgres_db, schema="feast")


def apply_features() -> None:
    """Register the repository's objects, as `feast apply` does."""
    from feature_repo.streamflow import feast_objects

    objects = feast_objects(get_settings().lake)
    open_store().apply(list(objects.values()), partial=False)

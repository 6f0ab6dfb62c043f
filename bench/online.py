"""The state in which publishing and online reads are measured: two months in the lake; Feast's own store."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from bench.core import TO_TRAINING_SET
from bench.worker import Say
from bench.world import Sizes, World
from churn.contract.in_force import BASELINE
from churn.months import Month
from churn.online.publish import publish
from churn.population.drops import write_drops
from churn.settings import Settings, get_settings

OLD, NEW = Month.parse("2024-01"), Month.parse("2024-02")
STAGES_BEFORE = ("deliver", "raw tables", "snapshots", "feature views")
FULL_USERS = 1_000_000
FEAST = "Feast's Postgres store"


@contextmanager
def filled(world: World, sizes: Sizes, say: Say) -> Iterator[Settings]:
    """Open the state of both sections: two months in snapshots and lake, which are made on first use."""
    users = FULL_USERS if sizes.full else sizes.users
    with world.state("online", features=True) as settings:
        marker = settings.home / "filled"
        if not marker.exists():
            say(f"making {users:,} users and two months")
            drops = write_drops(
                world.folder("online"),
                first=OLD,
                users=users,
                months=2,
                seed=sizes.seed,
                label_last_month=True,
            )
            for month, drop in zip((OLD, NEW), drops, strict=True):
                for stage in STAGES_BEFORE:
                    TO_TRAINING_SET[stage](month, drop)
            marker.touch()
        yield settings


def back_to_the_old_month() -> None:
    """Put only the first month online, and checkpoint, so that no run pays for the one before."""
    with psycopg.connect(get_settings().dsn(), autocommit=True) as connection:
        connection.execute("TRUNCATE online.users, online.publications")
        publish(OLD)
        connection.execute("CHECKPOINT")


def open_feasts_own() -> Any:
    """Open the same features in Feast's own Postgres store, in a separate schema."""
    from feature_repo.store import open_store
    from feature_repo.streamflow import feast_objects

    settings = get_settings()
    store = open_store(
        registry={"registry_type": "file", "path": str(settings.home / "peer.db"), "cache_ttl_seconds": 0},
        online_store={
            "type": "postgres",
            "host": settings.postgres_host,
            "port": settings.postgres_port,
            "user": settings.postgres_user,
            "password": settings.postgres_password.get_secret_value(),
            "database": settings.postgres_db,
            "db_schema": "feast_online",
            "sslmode": settings.postgres_sslmode,
        },
    )  # fmt: skip
    if not Path(settings.home / "peer.db").exists():
        with psycopg.connect(settings.dsn(), autocommit=True) as connection:
            connection.execute("CREATE SCHEMA IF NOT EXISTS feast_online")
        store.apply(list(feast_objects(settings.lake).values()), partial=False)
    return store


def materialize_feasts_own() -> None:
    """Put the baseline's features of the second month into Feast's own store, as `feast materialize` does."""
    hour = dt.timedelta(hours=1)
    views = [view.name for view in BASELINE.views]
    open_feasts_own().materialize(NEW.as_of - hour, NEW.as_of + hour, feature_views=views)

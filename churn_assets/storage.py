"""Dagster's storage in Postgres: connections that last as long as the process."""

import functools
from typing import Any

import dagster as dg


@functools.lru_cache(maxsize=1)  # a second call would throw the pool of the first one away
def keep_connections(instance: dg.DagsterInstance) -> None:
    """Let a process that runs months keep its connections, as Dagster's webserver keeps its own.

    dagster-postgres otherwise opens one per statement: 676 for one month_close, most of its time.
    """
    instance.optimize_for_webserver(statement_timeout=0, pool_recycle=3600, max_overflow=20)
    log: Any = instance.event_log_storage
    # Asked before every event, of tables that no run changes.
    log.has_table = functools.cache(log.has_table)
    log.has_asset_key_col = functools.cache(log.has_asset_key_col)

"""What Dagster's database says: runs by job, and the heartbeats of its daemons.

Dagster's tables are asked, and not Dagster, which takes seconds and a hundred megabytes to load. A test
holds what is read here against what Dagster's own interface says, so that an upgrade that moves a column is
noticed.
"""

from collections.abc import Iterator

import psycopg
from prometheus_client.metrics_core import Metric

from churn.exporter import families as f

_OUTCOMES = {"SUCCESS": "success", "FAILURE": "failure", "CANCELED": "canceled"}


def of_dagster(connection: psycopg.Connection) -> Iterator[Metric]:
    """Yield every metric that Dagster's database knows.

    Args:
        connection: on that database, one transaction that sees one moment.
    """
    rows = connection.execute(
        "SELECT pipeline_name, status, count(*), max(end_time),"
        " count(end_time - start_time), coalesce(sum(end_time - start_time), 0)"
        " FROM runs GROUP BY pipeline_name, status ORDER BY pipeline_name, status"
    ).fetchall()
    ended = [(job, _OUTCOMES[status], *rest) for job, status, *rest in rows if status in _OUTCOMES]
    yield f.RUNS.by_label(((job, outcome), runs) for job, outcome, runs, *_ in ended)
    yield f.RUN_ENDED_AT.by_label(((job, outcome), at) for job, outcome, _, at, *_ in ended)
    yield f.RUN_SECONDS.summed(
        ((job, outcome), timed, seconds) for job, outcome, _, _, timed, seconds in ended
    )
    under_way: dict[str, int] = {job: 0 for job, *_ in rows}
    for job, status, runs, *_ in rows:
        under_way[job] += runs if status not in _OUTCOMES else 0
    yield f.UNDER_WAY.by_label(((job,), runs) for job, runs in under_way.items())
    beats = connection.execute(
        # Dagster writes UTC into a column without a time zone.
        "SELECT daemon_type, max(timestamp) AT TIME ZONE 'UTC' FROM daemon_heartbeats"
        " GROUP BY daemon_type ORDER BY daemon_type"
    ).fetchall()
    yield f.HEARTBEAT.by_label(((daemon.lower(),), at) for daemon, at in beats)

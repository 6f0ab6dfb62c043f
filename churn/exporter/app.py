"""The exporter: `/metrics` in Prometheus's text format, behind the guard of our other ports.

However often it is asked, Postgres is read once in some seconds. Where it cannot be read, the answer is
`churn_pipeline_up 0` and no other figure: what was true a minute ago is not shown as true.
"""

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import psycopg
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from churn.database import process_name
from churn.exporter import families as f
from churn.exporter.dagster import of_dagster
from churn.exporter.pipeline import of_pipeline
from churn.http_guard import Guard, host_names
from churn.settings import get_settings

FRESH_SECONDS = 10.0  # less than the time between two scrapes, so that each brings its own figures
# Prometheus waits ten seconds for an answer, which has to come, above all where there is no data.
_CONNECT_SECONDS, _STATEMENT_MILLISECONDS = 3, 5_000
_logger = logging.getLogger(__name__)


class _Collected(Collector):
    """Metrics that are there already, as a registry wants them."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        """Return them."""
        return self._metrics


def exposition(now: dt.datetime | None = None) -> bytes:
    """Read Postgres, and return what is told of the pipeline in Prometheus's text format.

    Args:
        now: decides which months are over; the time of day where not given.
    """
    begun = time.perf_counter()
    now = now or dt.datetime.now(dt.UTC)
    try:
        metrics = _read(now)
    except psycopg.Error as error:
        _logger.warning("no figures: %s", str(error).strip())
        metrics = [f.UP.of(0)]
    except Exception:
        # A record that cannot be read is no figure either: whoever watches sees that there are none.
        _logger.exception("no figures")
        metrics = [f.UP.of(0)]
    else:
        seconds = time.perf_counter() - begun
        metrics += [f.UP.of(1), f.READ_AT.of(now), f.READ_SECONDS.of(seconds)]
    registry = CollectorRegistry()
    registry.register(_Collected(metrics))
    return generate_latest(registry)


def _read(now: dt.datetime) -> list[Metric]:
    settings = get_settings()
    with _snapshot() as connection:
        metrics = list(of_pipeline(connection, settings, now))
    with _snapshot("dagster") as connection:
        return [*metrics, *of_dagster(connection)]


@contextmanager
def _snapshot(database: str | None = None) -> Iterator[psycopg.Connection]:
    """Open a connection whose one transaction reads, and sees one moment."""
    with psycopg.connect(
        get_settings().dsn(database),
        connect_timeout=_CONNECT_SECONDS,
        application_name=process_name(),
        options=f"-c statement_timeout={_STATEMENT_MILLISECONDS} -c TimeZone=UTC",
    ) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        yield connection


class Cache:
    """The last exposition, read anew when it is older than some seconds; one reads, the others wait.

    Args:
        read: gives the exposition; it may block.
        fresh_seconds: how long one is given again.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        read: Callable[[], bytes] = exposition,
        fresh_seconds: float = FRESH_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read, self._fresh_seconds, self._clock = read, fresh_seconds, clock
        self._text, self._read_at = b"", float("-inf")
        self._reading = asyncio.Lock()

    async def get(self) -> bytes:
        """Return an exposition that is fresh."""
        async with self._reading:
            if self._clock() - self._read_at >= self._fresh_seconds:
                self._text = await asyncio.to_thread(self._read)
                self._read_at = self._clock()
            return self._text


def create_app(cache: Cache | None = None) -> Starlette:
    """Return a new application.

    Args:
        cache: what it answers from; tests put their own there.
    """
    cache = cache or Cache()

    async def metrics(request: Request) -> Response:
        return Response(await cache.get(), media_type=CONTENT_TYPE_LATEST)

    async def healthy(request: Request) -> Response:
        return PlainTextResponse("healthy")

    guard = Middleware(
        Guard,
        names=lambda: host_names(get_settings().metrics_host_names),
        setting="METRICS_HOST_NAMES",
        max_body_bytes=0,
    )
    routes = [Route("/metrics", metrics), Route("/healthy", healthy)]
    return Starlette(routes=routes, middleware=[guard])


app = create_app()

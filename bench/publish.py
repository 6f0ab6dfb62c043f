"""Publishing a month online, compared with Feast's materialize and a bare COPY of the same rows and key."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from bench.online import (
    FEAST,
    NEW,
    OLD,
    back_to_the_old_month,
    filled,
    materialize_feasts_own,
)
from bench.rows import Row, Spread, at_least, at_most
from bench.worker import Say, Timed, Worker, take_turns
from bench.world import Sizes, World
from churn.contract.in_force import DEFAULT_SERVICE
from churn.database.online_tables import COLUMNS, users_columns
from churn.settings import get_settings

COPY = "bare COPY and its key"
_COPIED = sql.Identifier("online", "copied")
_COLUMNS = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))


def measure(world: World, sizes: Sizes, say: Say) -> list[Row]:
    with (
        filled(world, sizes, say) as settings,
        Worker() as ours,
        Worker() as copy,
        Worker() as feast,
    ):
        rows_file = settings.home / "rows.copy"
        ours.run(back_to_the_old_month)
        users = ours.run(publish_new)
        copy.run(save_rows, rows_file)

        def publication() -> Timed:
            ours.run(back_to_the_old_month)
            return ours.time(publish_new)

        def bare_copy() -> Timed:
            copy.run(drop_copy)
            return copy.time(copy_rows, rows_file)

        runs_by_way = take_turns({"ours": publication, COPY: bare_copy}, sizes, say)
        if ours.run(contents, "users") != copy.run(contents, "copied"):
            raise AssertionError("the publication and the bare COPY left different rows")
        say(f"{FEAST}, once")
        peer = feast.time(materialize_feasts_own)
        say("publishing while others read")
        seen = _read_meanwhile(ours, settings.home / "reading")
        peaks = {"ours": ours.peak_mb(), FEAST: feast.peak_mb()}
    seconds = {
        name: Spread.of([timed.seconds for timed in runs]) for name, runs in runs_by_way.items()
    }
    feasts = Spread.of([peer.seconds])
    return [
        Row(
            "publish a month online",
            f"{users:,} users x {len(DEFAULT_SERVICE.features)} features",
            seconds["ours"],
            "s",
            beside={COPY: seconds[COPY], FEAST: feasts},
            more={
                "reads_meanwhile": Spread.of([seen.reads]),
                "failed_reads": Spread.of([seen.failed]),
                "reads_back_in_time": Spread.of([seen.backward]),
                "slowest_read_ms": Spread.of([seen.slowest_ms]),
            },
            peak_mb=peaks,
            goals=[
                at_most("ratio to bare COPY", seconds["ours"].median / seconds[COPY].median, 2),
                at_least("times Feast's", feasts.median / seconds["ours"].median, 50),
                at_most("failed reads", seen.failed, 0),
                at_most("reads back in time", seen.backward, 0),
            ],
            limit={COPY: seconds[COPY].median},
            note="durable; the same users are online with the month before; Feast writes 14 of the"
            " features, once; rows compared with the COPY's afterwards",
        )
    ]


def publish_new() -> int:
    from churn.online.publish import publish

    return publish(NEW).users


def save_rows(path: Path) -> None:
    """Save the online rows as the bytes that a bare COPY sends."""
    statement = sql.SQL("COPY (SELECT {} FROM online.users) TO STDOUT (FORMAT binary)").format(
        _COLUMNS
    )
    with (
        psycopg.connect(get_settings().dsn()) as connection,
        connection.cursor().copy(statement) as copy,
        path.open("wb") as file,
    ):
        for block in copy:
            file.write(block)


def drop_copy() -> None:
    with psycopg.connect(get_settings().dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(_COPIED))
        connection.execute("CHECKPOINT")


def copy_rows(path: Path) -> None:
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(_COPIED, _COLUMNS)
    with psycopg.connect(get_settings().dsn()) as connection, path.open("rb") as file:
        connection.execute(sql.SQL("CREATE TABLE {} ({})").format(_COPIED, users_columns()))
        with connection.cursor().copy(statement) as copy:
            while block := file.read(1 << 20):
                copy.write(block)
        connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (user_id)").format(_COPIED))


def contents(table: str) -> tuple[int, int]:
    """Return the number of rows of a table, and a hash of them that does not depend on their order."""
    query = sql.SQL("SELECT count(*), sum(hashtextextended(ROW({})::text, 0)) FROM {}")
    with psycopg.connect(get_settings().dsn()) as connection:
        row = connection.execute(query.format(_COLUMNS, sql.Identifier("online", table))).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


@dataclass
class Seen:
    """What a reader saw while months were published.

    `backward` counts reads that returned an older month or publication than an earlier read.
    """

    reads: int = 0
    failed: int = 0
    backward: int = 0
    slowest_ms: float = 0.0


def _read_meanwhile(publisher: Worker, folder: Path) -> Seen:
    """Publish the new month over the old one repeatedly, while another process reads."""
    folder.mkdir(exist_ok=True)
    publisher.run(back_to_the_old_month)
    with Worker() as reader, _reading(reader, folder) as results:
        for _ in range(3):
            publisher.run(publish_new)
        publisher.run(publish_old)
    [seen] = results
    return seen


@contextmanager
def _reading(reader: Worker, folder: Path) -> Iterator[list[Seen]]:
    """Let `reader` read until the block ends; then the list has what it saw."""
    began, stop = folder / "began", folder / "stop"
    for file in (began, stop):
        file.unlink(missing_ok=True)
    results: list[Seen] = []
    thread = threading.Thread(target=lambda: results.append(reader.run(read_until, began, stop)))
    thread.start()
    while not began.exists() and thread.is_alive():
        thread.join(0.01)
    try:
        yield results
    finally:
        stop.touch()
        thread.join()


def publish_old() -> int:
    from churn.online.publish import publish

    return publish(OLD).users


def read_until(began: Path, stop: Path) -> Seen:
    """Read users in turn until `stop` exists: each must be there, in no older version than before."""
    import time

    from churn.online.read import CONNECTION, read_rows

    seen = Seen()
    with psycopg.connect(get_settings().dsn(), **CONNECTION) as connection:
        users = [
            row[0]
            for row in connection.execute("SELECT user_id FROM online.users ORDER BY 1 LIMIT 500")
        ]
        last = dict.fromkeys(users, (OLD.as_of, OLD.as_of))
        newest = OLD.as_of
        while not stop.exists():
            for user in users:
                started = time.perf_counter()
                try:
                    published, [row] = read_rows(connection, [user], DEFAULT_SERVICE.views)
                except psycopg.Error:
                    seen.failed += 1
                    continue
                seen.slowest_ms = max(seen.slowest_ms, (time.perf_counter() - started) * 1e3)
                seen.reads += 1
                if published is None or row.as_of is None or row.known_at is None:
                    seen.failed += 1
                    continue
                version = (row.as_of, row.known_at)
                seen.backward += version < last[user] or published < newest
                last[user], newest = version, published
            began.touch()
    return seen

"""Ingest of a month into the raw tables, validated, compared with a bare COPY of the same files into them."""

import shutil
from pathlib import Path

import psycopg
from psycopg import sql

from bench.graph import arrival
from bench.rows import Row, Spread, at_least, at_most
from bench.worker import Say, Timed, Worker, take_turns
from bench.world import Sizes, World
from churn.contract.in_force import TABLES
from churn.contract.structure import Table
from churn.database import connect
from churn.database.partitions import SCHEMA as PARTITIONS
from churn.database.partitions import new_partition, raw_partition
from churn.months import Month
from churn.population.drops import write_drops
from churn.settings import get_settings

MONTH = Month.parse("2024-01")
COPY = "bare COPY"
KEYS_LAST = "bare COPY, keys built last"
FULL_USERS = 1_000_000
# These users have ten million rows, which may take this much memory.
MANY_USERS, MANY_MB = 1_700_000, 1_500


def measure(world: World, sizes: Sizes, say: Say) -> list[Row]:
    rows = [_beside_copy(world, sizes, say)]
    return [*rows, _memory(world, sizes, say)] if sizes.full else rows


def _memory(world: World, sizes: Sizes, say: Say) -> Row:
    drop = _drop(world, MANY_USERS, sizes.seed, say)
    with world.state("ingest_many"), Worker() as ours:
        say("ingest, once")
        rows = ours.run(deliver_and_load, drop)
        peak = ours.peak_mb()
    return Row(
        "ingest of ten million rows, memory",
        f"{rows:,} rows, 6 files",
        Spread.of([peak]),
        "MB",
        goals=[at_most("peak memory", peak, MANY_MB, " MB")],
        note="once; Postgres is not in it",
    )


def _drop(world: World, users: int, seed: int, say: Say) -> Path:
    say(f"making {users:,} users")
    [drop] = write_drops(
        world.folder(f"ingest_{users}"), first=MONTH, users=users, months=1, seed=seed,
        label_last_month=True,
    )  # fmt: skip
    return drop


def _beside_copy(world: World, sizes: Sizes, say: Say) -> Row:
    drop = _drop(world, FULL_USERS if sizes.full else sizes.users, sizes.seed, say)
    with (
        world.state("ingest"),
        Worker() as ours,
        world.state("copy"),
        Worker() as copy,
        world.state("copy_keys_last"),
        Worker() as keys_last,
    ):

        def ingest() -> Timed:
            ours.run(empty)
            return ours.time(deliver_and_load, drop)

        def bare_copy() -> Timed:
            copy.run(empty)
            return copy.time(copy_files, drop, copy.run(announce, partitions=True))

        def copy_then_keys() -> Timed:
            keys_last.run(empty)
            ids = keys_last.run(announce, partitions=False)
            return keys_last.time(copy_files_keys_last, drop, ids)

        ways = {"ingest": ingest, COPY: bare_copy, KEYS_LAST: copy_then_keys}
        runs_by_way = take_turns(ways, sizes, say)
        if not ours.run(contents) == copy.run(contents) == keys_last.run(contents):
            raise AssertionError("ingest and the bare COPY left different rows")
        peaks = {"ours": ours.peak_mb()}
    speed = {
        name: Spread.of([timed.value / timed.seconds for timed in runs])
        for name, runs in runs_by_way.items()
    }
    rows = runs_by_way["ingest"][0].value
    return Row(
        "ingest of a month",
        f"{rows:,} rows, 6 files",
        speed["ingest"],
        "rows/s",
        beside={COPY: speed[COPY], KEYS_LAST: speed[KEYS_LAST]},
        peak_mb=peaks,
        goals=[at_least("ratio to COPY", speed["ingest"].median / speed[COPY].median, 0.5)],
        note="six CSV files to raw tables: parsed, validated, kept, fingerprinted, loaded;"
        " rows compared afterwards",
    )


def deliver_and_load(drop: Path) -> int:
    from churn.deliveries import deliver
    from churn.warehouse.raw import load_raw

    deliver(drop, settings=get_settings(), now=arrival(MONTH), month=MONTH)
    return sum(load_raw(MONTH, table).by_user.rows.num_rows for table in TABLES)


def copy_files(drop: Path, delivery_ids: dict[str, int]) -> int:
    """COPY the files into the raw tables as they are, with their keys."""
    rows = 0
    with connect() as connection:
        for table in TABLES:
            rows += _copy(connection, drop, table, sql.Identifier("raw", table.name), delivery_ids)
    return rows


def copy_files_keys_last(drop: Path, delivery_ids: dict[str, int]) -> int:
    """COPY the files into tables without keys, which then get their keys and join the raw tables."""
    rows = 0
    with connect() as connection:
        for table in TABLES:
            delivery_id = delivery_ids[table.name]
            partition = raw_partition(table, delivery_id)
            parent = sql.Identifier("raw", table.name)
            with new_partition(connection, partition, parent, delivery_id):
                rows += _copy(connection, drop, table, partition, delivery_ids)
    return rows


def _copy(
    connection: psycopg.Connection,
    drop: Path,
    table: Table,
    target: sql.Identifier,
    delivery_ids: dict[str, int],
) -> int:
    # The files do not carry this column of the table.
    default = sql.SQL("ALTER TABLE {} ALTER delivery_id SET DEFAULT {}")
    connection.execute(default.format(target, delivery_ids[table.name]))
    with (drop / table.file).open("rb") as file, connection.cursor() as cursor:
        header = file.readline().decode().strip().split(",")
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(
            target, sql.SQL(", ").join(map(sql.Identifier, header))
        )
        with cursor.copy(statement) as copy:
            while block := file.read(1 << 20):
                copy.write(block)
        return cursor.rowcount


def empty() -> None:
    """Remove everything that was delivered, and checkpoint, so that no run pays for the one before."""
    with psycopg.connect(get_settings().dsn(), autocommit=True) as connection:
        connection.execute("TRUNCATE raw.deliveries CASCADE")
        partitions = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s", [PARTITIONS]
        )
        for (name,) in partitions.fetchall():
            connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(PARTITIONS, name)))
        connection.execute("CHECKPOINT")
    shutil.rmtree(get_settings().deliveries, ignore_errors=True)


def announce(*, partitions: bool) -> dict[str, int]:
    """Write the delivery rows that the raw tables refer to and, if asked, create their empty partitions."""
    ids: dict[str, int] = {}
    with connect() as connection:
        for table in TABLES:
            row = connection.execute(
                "INSERT INTO raw.deliveries"
                " (month, file, sha256, fingerprint, rows, accepted_at, known_at, stored_path)"
                " VALUES (%s, %s, repeat('0', 64), '', 1, %s, %s, '') RETURNING delivery_id",
                [MONTH.first_day, table.name, arrival(MONTH), MONTH.as_of],
            ).fetchone()
            assert row is not None
            ids[table.name] = row[0]
            if partitions:
                parent = sql.Identifier("raw", table.name)
                with new_partition(connection, raw_partition(table, row[0]), parent, row[0]):
                    pass
    return ids


def contents() -> dict[str, tuple[int, int]]:
    """Return the number of rows of each raw table, and a hash of them that does not depend on their order."""
    by_table: dict[str, tuple[int, int]] = {}
    with connect() as connection:
        for table in TABLES:
            query = sql.SQL(
                "SELECT count(*), sum(hashtextextended(ROW({})::text, 0)) FROM {}"
            ).format(
                sql.SQL(", ").join(sql.Identifier(c.name) for c in table.columns),
                sql.Identifier("raw", table.name),
            )
            row = connection.execute(query).fetchone()
            assert row is not None
            by_table[table.name] = (int(row[0]), int(row[1]))
    return by_table

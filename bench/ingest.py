"""Ingest of a month, validated, into the raw tables, beside a bare COPY of the same files into them."""

import shutil
from pathlib import Path

from psycopg import sql

from bench.graph import arrival
from bench.rows import Row, Spread
from bench.worker import Say, Timed, Worker, take_turns
from bench.world import Sizes, World
from churn.contract.tables import TABLES
from churn.database import connect
from churn.months import Month
from churn.population.drops import write_drops
from churn.settings import get_settings

MONTH = Month.parse("2024-01")
COPY = "bare COPY"


def measure(world: World, sizes: Sizes, say: Say) -> list[Row]:
    say(f"making {sizes.users:,} users")
    out = world.folder("ingest")
    [drop] = write_drops(
        out, first=MONTH, users=sizes.users, months=1, seed=sizes.seed, label_last_month=True
    )
    with world.state("ingest"), Worker() as ours, world.state("copy"), Worker() as copy:

        def ingest() -> Timed:
            ours.run(empty)
            return ours.time(deliver_and_load, drop)

        def bare_copy() -> Timed:
            copy.run(empty)
            delivery_ids = copy.run(announce)
            return copy.time(copy_files, drop, delivery_ids)

        found = take_turns({"ingest": ingest, COPY: bare_copy}, sizes, say)
        if ours.run(contents) != copy.run(contents):
            raise AssertionError("ingest and the bare COPY left different rows")
        peaks = {"ours": ours.peak_mb()}
    speed = {
        name: Spread.of([timed.value / timed.seconds for timed in runs])
        for name, runs in found.items()
    }
    rows = found["ingest"][0].value
    return [
        Row(
            "ingest of a month",
            f"{rows:,} rows, 6 files",
            speed["ingest"],
            "rows/s",
            beside={COPY: speed[COPY]},
            peak_mb=peaks,
            note="six CSV files to raw tables: parsed, validated, kept, fingerprinted, loaded;"
            " rows compared afterwards",
        )
    ]


def deliver_and_load(drop: Path) -> int:
    from churn.deliveries import deliver
    from churn.raw import load_raw

    deliver(drop, settings=get_settings(), now=arrival(MONTH), month=MONTH)
    return sum(load_raw(MONTH, table).rows.num_rows for table in TABLES)


def copy_files(drop: Path, delivery_ids: dict[str, int]) -> int:
    rows = 0
    with connect() as connection, connection.cursor() as cursor:
        for table in TABLES:
            raw = sql.Identifier("raw", table.name)
            # The files do not carry this column of the table.
            cursor.execute(
                sql.SQL("ALTER TABLE {} ALTER delivery_id SET DEFAULT {}").format(
                    raw, delivery_ids[table.name]
                )
            )
            with (drop / table.file).open("rb") as file:
                header = file.readline().decode().strip().split(",")
                statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(
                    raw, sql.SQL(", ").join(map(sql.Identifier, header))
                )
                with cursor.copy(statement) as copy:
                    while block := file.read(1 << 20):
                        copy.write(block)
            rows += cursor.rowcount
    return rows


def empty() -> None:
    """Forget everything that was delivered, and write it off, so that no run pays for the one before."""
    import psycopg

    with psycopg.connect(get_settings().dsn(), autocommit=True) as connection:
        connection.execute("TRUNCATE raw.deliveries CASCADE")
        connection.execute("CHECKPOINT")
    shutil.rmtree(get_settings().deliveries, ignore_errors=True)


def announce() -> dict[str, int]:
    """Write the delivery rows that the raw tables refer to."""
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
    return ids


def contents() -> dict[str, tuple[int, int]]:
    """Return for each raw table how many rows it has, and a hash of them in which order plays no part."""
    found: dict[str, tuple[int, int]] = {}
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
            found[table.name] = (int(row[0]), int(row[1]))
    return found

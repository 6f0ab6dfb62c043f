"""Deliveries that are killed, that fail half-way, and that come at once; real Postgres, real processes."""

import datetime as dt
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from churn.contract.in_force import BY_NAME, TABLES
from churn.database import connect, lock
from churn.deliveries import accept, accepted, deliver, read_accepted
from churn.settings import Settings
from tests.kit.kept_deliveries import ledger, stored
from tests.kit.small_drop import CORRECTED, JANUARY, NOW, write_drop

HOUR = dt.timedelta(hours=1)
KILLED = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
from churn.deliveries import accept, store

def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[1] == "between copy and rename":
    os.fsync = kill
else:
    recorded = []
    record = accept.record
    def record_two(*arguments):
        recorded.append(1)
        return record(*arguments) if len(recorded) < 3 else kill()
    accept.record = record_two
accept.deliver(Path(sys.argv[2]), now=datetime.fromisoformat(sys.argv[3]))
"""


@pytest.mark.parametrize("moment", ["between copy and rename", "between copy and commit"])
def test_a_killed_delivery_leaves_nothing_half_done(
    settings: Settings, tmp_path: Path, moment: str
):
    drop = write_drop(tmp_path / "month_000")
    command = [sys.executable, "-c", KILLED, moment, str(drop), NOW.isoformat()]
    assert subprocess.run(command, env=dict(os.environ), check=False).returncode == -9
    assert ledger() == []
    assert all(accepted(JANUARY, table) == [] for table in TABLES)
    outcome = deliver(drop, settings=settings, now=NOW + HOUR)
    assert {file.state for file in outcome.files} == {"accepted"}
    assert stored(settings) == sorted(file.delivery.stored_path for file in outcome.files)
    assert all(read_accepted(file.delivery).num_rows == 3 for file in outcome.files)


def test_a_failure_at_the_last_file_leaves_no_row(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    record = accept.record

    def fail_at_labels(connection, row):
        if row["file"] == "labels":
            raise OSError("no space left on device")
        return record(connection, row)

    with monkeypatch.context() as patch:
        patch.setattr(accept, "record", fail_at_labels)
        with pytest.raises(OSError, match="no space"):
            deliver(write_drop(tmp_path / "month_000"), settings=settings, now=NOW)
    assert ledger() == []
    assert deliver(tmp_path / "month_000", settings=settings, now=NOW).is_changed
    assert len(ledger()) == len(TABLES)


def test_deliveries_at_once_are_serial(settings: Settings, tmp_path: Path):
    drop = write_drop(tmp_path / "month_000")
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda _: deliver(drop, settings=settings, now=NOW), range(4)))
    assert sorted(outcome.is_changed for outcome in outcomes) == [False, False, False, True]
    assert len(ledger()) == len(TABLES)


def test_a_delivery_waits_for_the_one_before_it(settings: Settings, tmp_path: Path):
    """The second one judges by what the first one committed, not by what it saw when it began."""
    drop = write_drop(tmp_path / "month_000")
    corrected = write_drop(tmp_path / "corrected" / "month_000", CORRECTED)
    deliver(drop, settings=settings, now=NOW)
    with ThreadPoolExecutor(1) as pool:
        with connect() as before:
            lock(before, "churn.deliveries")
            second = pool.submit(deliver, corrected, settings=settings, now=NOW + 2 * HOUR)
            _wait_for_a_waiter(settings)
            assert not second.done()
            before.execute(
                "INSERT INTO raw.deliveries (month, file, sha256, fingerprint, rows, accepted_at,"
                " known_at, stored_path) SELECT month, file, sha256, repeat('0', 64), rows,"
                " accepted_at, %s, stored_path FROM raw.deliveries WHERE file = 'payments_agg_90d'",
                [NOW + HOUR],
            )
        outcome = second.result(timeout=300)
    assert outcome.is_changed
    versions = accepted(JANUARY, BY_NAME["payments_agg_90d"])
    assert [version.known_at for version in versions] == [JANUARY.as_of, NOW + HOUR, NOW + 2 * HOUR]


def _wait_for_a_waiter(settings: Settings) -> None:
    deadline = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=300)
    query = (
        "SELECT count(*) FROM pg_locks JOIN pg_database AS d ON d.oid = database"
        " WHERE locktype = 'advisory' AND NOT granted AND datname = %s"
    )
    with psycopg.connect(settings.dsn(), autocommit=True) as connection:
        while dt.datetime.now(dt.UTC) < deadline:
            row = connection.execute(query, [settings.postgres_db]).fetchone()
            if row and row[0]:
                return
    raise AssertionError("the second delivery never waited")

"""Raw tables: what becomes of a version that cannot be loaded, and of the one that corrects it."""

import datetime as dt
import hashlib
from pathlib import Path

import psycopg
import pytest

from churn.contract.in_force import USERS
from churn.database import connect
from churn.deliveries import RefusedDrop, accepted, deliver, in_force
from churn.promotion.arrivals import read_arrivals
from churn.settings import Settings
from churn.warehouse.raw import load_raw
from churn.warehouse.snapshots import build_snapshot
from tests.kit.small_drop import FEBRUARY, FILES, JANUARY, NOW, write_drop
from tests.kit.streamflow import PAYMENTS

HOUR = dt.timedelta(hours=1)
WITHOUT_LABELS = ("labels.csv",)


@pytest.fixture
def drop(settings: Settings, tmp_path: Path) -> Path:
    folder = write_drop(tmp_path / "month_000", without=WITHOUT_LABELS)
    deliver(folder, now=NOW)
    return folder


def stored(settings: Settings, number: int = -1, table=USERS) -> Path:
    return settings.deliveries / accepted(JANUARY, table)[number].stored_path


def overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(content)


def plant_long_id(settings: Settings) -> None:
    """Put an id that no index of Postgres takes past the door, into the file that was accepted."""
    user = "".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(64))  # hardly compressible
    content = FILES["users.csv"].replace("b,", f"{user},", 1).encode()
    overwrite(stored(settings), content)
    with connect() as connection:
        connection.execute(
            "UPDATE raw.deliveries SET sha256 = %s WHERE file = 'users'",
            [hashlib.sha256(content).hexdigest()],
        )


def correct(tmp_path: Path, now: dt.datetime = NOW + HOUR, **more) -> None:
    fixed = write_drop(tmp_path / "fixed", {"users.csv": ("c,2023", "c,2022")}, WITHOUT_LABELS)
    deliver(fixed, now=now, month=JANUARY, **more)


def users_in_raw() -> list[tuple[int, int]]:
    with connect() as connection:
        query = "SELECT delivery_id, count(*) FROM raw.users GROUP BY 1 ORDER BY 1"
        return connection.execute(query).fetchall()


def test_a_version_that_no_index_takes_is_healed_by_the_next_one(
    settings: Settings, drop: Path, tmp_path: Path
) -> None:
    plant_long_id(settings)
    with pytest.raises((psycopg.errors.ProgramLimitExceeded, RefusedDrop)):
        load_raw(JANUARY, USERS)
    (first,) = accepted(JANUARY, USERS)
    assert first.unloadable
    assert ("users" in {a.file for a in read_arrivals_now()}) is False
    correct(tmp_path)
    first, second = accepted(JANUARY, USERS)
    # Nobody has known anything of the first one, so the second is on time, as the first would have been.
    assert second.known_at == first.known_at == JANUARY.as_of
    loaded = load_raw(JANUARY, USERS)
    assert (loaded.newest, loaded.loaded) == (second, 1)
    assert [version.delivery_id for version in loaded.passed_over] == [first.delivery_id]
    assert users_in_raw() == [(second.delivery_id, 3)]
    assert build_snapshot(JANUARY, USERS).versions == (JANUARY.as_of,)
    assert in_force(JANUARY, USERS, at=JANUARY.as_of) == second
    again = load_raw(JANUARY, USERS)
    assert (again.loaded, again.passed_over) == (0, loaded.passed_over)


def read_arrivals_now():
    with connect() as connection:
        return read_arrivals(connection)


@pytest.mark.parametrize("damage", [b"user_id\n", None], ids=["altered", "lost"])
def test_a_stored_file_that_is_damaged_does_not_stop_its_correction(
    settings: Settings, drop: Path, tmp_path: Path, damage: bytes | None
) -> None:
    if damage is None:
        stored(settings).unlink()
    else:
        overwrite(stored(settings), damage)
    correct(tmp_path)  # before anybody tried to load the first one: a correction like any other
    loaded = load_raw(JANUARY, USERS)
    first, second = accepted(JANUARY, USERS)
    assert second.known_at == NOW + HOUR
    assert users_in_raw() == [(second.delivery_id, 3)]
    assert loaded.passed_over == (first,)
    assert "stored file" in (first.unloadable or "")
    # What comes back from a backup is loaded after all, with its own known_at.
    overwrite_or_write(stored(settings, 0), FILES["users.csv"].encode())
    assert load_raw(JANUARY, USERS).passed_over == ()
    assert [count for _, count in users_in_raw()] == [3, 3]
    assert [v.unloadable for v in accepted(JANUARY, USERS)] == [None, None]


def overwrite_or_write(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def test_the_same_drop_again_heals_a_damaged_version_that_could_not_be_loaded(
    settings: Settings, drop: Path
) -> None:
    overwrite(stored(settings), b"user_id\n")
    with pytest.raises(RefusedDrop):
        load_raw(JANUARY, USERS)
    outcome = deliver(drop, now=NOW + HOUR)
    # A new delivery, so that the sensor asks for the month once more.
    assert [f.delivery.file for f in outcome.files if f.state == "corrected"] == ["users"]
    assert load_raw(JANUARY, USERS).newest.known_at == JANUARY.as_of
    assert not deliver(drop, now=NOW + 2 * HOUR).is_changed


def test_a_version_healed_after_the_next_month_has_begun_is_late(
    settings: Settings, drop: Path, tmp_path: Path
) -> None:
    overwrite(stored(settings), b"user_id\n")
    with pytest.raises(RefusedDrop):
        load_raw(JANUARY, USERS)
    deliver(write_drop(tmp_path / "month_001", without=WITHOUT_LABELS), now=NOW)
    correct(tmp_path)
    assert accepted(JANUARY, USERS)[-1].known_at == NOW + HOUR
    arrivals = {(a.month, a.file): a.known_at for a in read_arrivals_now()}
    assert arrivals[JANUARY, "users"] == NOW + HOUR
    assert arrivals[JANUARY, "payments_agg_90d"] == JANUARY.as_of
    assert (FEBRUARY, "users") in arrivals


def test_a_passing_fault_marks_nothing(
    settings: Settings, drop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object, **__: object) -> None:
        raise psycopg.errors.DiskFull("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("churn.warehouse.raw.copy_batches_in", no_room)
        with pytest.raises(psycopg.errors.DiskFull):
            load_raw(JANUARY, PAYMENTS)
    assert [v.unloadable for v in accepted(JANUARY, PAYMENTS)] == [None]
    load_raw(JANUARY, USERS)
    assert load_raw(JANUARY, PAYMENTS).loaded == 1

import datetime as dt
import gzip
import hashlib
from pathlib import Path
from typing import IO, Any

import pytest

from churn.contract.in_force import BY_NAME, LABELS, PROFILE_TABLES, TABLES, USERS
from churn.database import connect
from churn.database.init import create_schema
from churn.deliveries import (
    Refusal,
    RefusedDrop,
    accept,
    accepted,
    deliver,
    in_force,
    read_accepted,
)
from churn.errors import ChurnError
from churn.months import Month
from churn.settings import Settings
from tests.kit.kept_deliveries import ledger, stored
from tests.kit.small_drop import CORRECTED, FEBRUARY, FILES, JANUARY, NOW, shuffled, write_drop

HOUR = dt.timedelta(hours=1)


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    return write_drop(tmp_path / "month_000")


def test_a_drop_is_kept_unchanged_and_recorded(settings: Settings, drop: Path):
    outcome = deliver(drop, settings=settings, now=NOW)
    assert outcome.month == JANUARY
    assert outcome.is_changed
    assert [(f.delivery.file, f.state) for f in outcome.files] == [
        (t.name, "accepted") for t in TABLES
    ]
    for table in TABLES:
        (delivery,) = accepted(JANUARY, table)
        original = (drop / table.file).read_bytes()
        assert delivery.sha256 == hashlib.sha256(original).hexdigest()
        assert (settings.deliveries / delivery.stored_path).read_bytes() == original
        assert delivery.stored_path == f"2024-01/{table.name}/{delivery.sha256}.csv"
        assert (delivery.rows, delivery.accepted_at) == (3, NOW)
        assert delivery.known_at == (JANUARY.matures_at if table == LABELS else JANUARY.as_of)
        assert read_accepted(delivery).num_rows == 3
        assert in_force(JANUARY, table) == delivery
    assert len(stored(settings)) == len(TABLES)


def test_the_same_drop_twice_changes_nothing(settings: Settings, drop: Path):
    deliver(drop, settings=settings, now=NOW)
    rows, files = ledger(), stored(settings)
    again = deliver(drop, settings=settings, now=NOW + HOUR)
    assert not again.is_changed
    assert {file.state for file in again.files} == {"unchanged"}
    assert (ledger(), stored(settings)) == (rows, files)


def test_a_shuffled_copy_is_no_delivery(settings: Settings, drop: Path, tmp_path: Path):
    deliver(drop, settings=settings, now=NOW)
    rows, files = ledger(), stored(settings)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, text in FILES.items():
        assert shuffled(text) != text
        (copy / name).write_text(shuffled(text), newline="")
    assert not deliver(copy, settings=settings, now=NOW + HOUR, month=JANUARY).is_changed
    assert (ledger(), stored(settings)) == (rows, files)


def test_a_correction_adds_a_version_of_what_changed(
    settings: Settings, drop: Path, tmp_path: Path
):
    deliver(drop, settings=settings, now=NOW)
    corrected = write_drop(tmp_path / "corrected" / "month_000", CORRECTED)
    outcome = deliver(corrected, settings=settings, now=NOW + HOUR)
    assert {f.delivery.file for f in outcome.files if f.state == "corrected"} == {
        "payments_agg_90d"
    }
    table = BY_NAME["payments_agg_90d"]
    first, second = accepted(JANUARY, table)
    assert (first.known_at, second.known_at) == (JANUARY.as_of, NOW + HOUR)
    assert in_force(JANUARY, table) == second
    assert in_force(JANUARY, table, at=NOW) == first
    assert in_force(JANUARY, table, at=JANUARY.as_of - HOUR) is None
    assert read_accepted(first)["failed_payments_90d"].to_pylist() == [1, 0, 0]
    assert read_accepted(second)["failed_payments_90d"].to_pylist() == [1, 3, 0]
    assert len(ledger()) == len(TABLES) + 1


def test_back_to_the_first_content_is_a_third_version(
    settings: Settings, drop: Path, tmp_path: Path
):
    corrected = write_drop(tmp_path / "corrected" / "month_000", CORRECTED)
    for hours, folder in enumerate((drop, corrected, drop)):
        assert deliver(folder, settings=settings, now=NOW + hours * HOUR).is_changed
    versions = accepted(JANUARY, BY_NAME["payments_agg_90d"])
    assert [v.known_at for v in versions] == [JANUARY.as_of, NOW + HOUR, NOW + 2 * HOUR]
    assert versions[0].sha256 == versions[2].sha256 != versions[1].sha256
    assert len(stored(settings)) == len(TABLES) + 1


def test_a_correction_known_earlier_than_what_is_there(
    settings: Settings, drop: Path, tmp_path: Path
):
    deliver(drop, settings=settings, now=NOW)
    corrected = write_drop(tmp_path / "corrected" / "month_000", CORRECTED)
    rows, files = ledger(), stored(settings)
    with pytest.raises(ChurnError, match=r"payments_agg_90d.csv 2024-01: a correction known at"):
        deliver(corrected, settings=settings, now=NOW, known_at=JANUARY.as_of)
    assert (ledger(), stored(settings)) == (rows, files)
    when = dt.datetime(2024, 2, 5, tzinfo=dt.UTC)
    outcome = deliver(corrected, settings=settings, now=NOW, known_at=when)
    assert [f.delivery.known_at for f in outcome.files if f.state == "corrected"] == [when]


def test_late_on_time_and_history(settings: Settings, drop: Path, tmp_path: Path):
    february = write_drop(tmp_path / "month_001", without=("labels.csv",))
    deliver(february, settings=settings, now=NOW)
    late = deliver(drop, settings=settings, now=NOW + HOUR)
    # The profile files come after February's; no labels of February are here, so these are on time.
    assert {f.delivery.known_at for f in late.files[:-1]} == {NOW + HOUR}
    assert late.files[-1].delivery.known_at == JANUARY.matures_at
    march = write_drop(tmp_path / "month_002")
    deliver(write_drop(tmp_path / "month_003"), settings=settings, now=NOW)
    history = deliver(march, settings=settings, now=NOW, history=True)
    assert {f.delivery.known_at for f in history.files[:-1]} == {JANUARY.shift(2).as_of}


def test_labels_come_alone_later(settings: Settings, tmp_path: Path):
    deliver(write_drop(tmp_path / "month_000", without=("labels.csv",)), settings=settings, now=NOW)
    assert accepted(JANUARY, LABELS) == []
    profile = tuple(table.file for table in PROFILE_TABLES)
    labels = write_drop(tmp_path / "later" / "month_000", without=profile)
    outcome = deliver(labels, settings=settings, now=NOW + HOUR)
    assert [(f.delivery.file, f.delivery.known_at) for f in outcome.files] == [
        ("labels", FEBRUARY.as_of)
    ]


def test_labels_alone_need_users_known(settings: Settings, drop: Path, tmp_path: Path):
    profile = tuple(table.file for table in PROFILE_TABLES)
    labels = write_drop(tmp_path / "later" / "month_000", {"labels.csv": ("c,", "z,")}, profile)
    with pytest.raises(RefusedDrop, match=r"no users.csv of 2024-01 has been accepted"):
        deliver(labels, settings=settings, now=NOW)
    deliver(drop, settings=settings, now=NOW)
    with pytest.raises(RefusedDrop) as refused:
        deliver(labels, settings=settings, now=NOW + HOUR)
    (problem,) = refused.value.problems
    assert (problem.file, problem.row, problem.value) == ("labels.csv", 4, "z")


def test_labels_may_name_users_of_any_accepted_version(
    settings: Settings, drop: Path, tmp_path: Path
):
    deliver(drop, settings=settings, now=NOW)
    without_c = tmp_path / "without_c" / "month_000"
    without_c.mkdir(parents=True)
    for name, text in FILES.items():
        lines = [line for line in text.splitlines(keepends=True) if not line.startswith("c,")]
        (without_c / name).write_text("".join(lines))
    (without_c / "labels.csv").unlink()
    deliver(without_c, settings=settings, now=NOW + HOUR)
    profile = tuple(table.file for table in PROFILE_TABLES)
    labels = write_drop(
        tmp_path / "labels" / "month_000", {"labels.csv": ("c,False", "c,True")}, profile
    )
    assert deliver(labels, settings=settings, now=NOW + 2 * HOUR).is_changed


def test_a_refused_drop_is_refused_as_a_whole_with_all_that_is_wrong(
    settings: Settings, tmp_path: Path
):
    changes = {
        "users.csv": ("Male,True", "Male,yes"),
        "usage_agg_30d.csv": ("c,0,", "z,0,"),
        "labels.csv": ("b,True", "b,"),
    }
    spoiled = write_drop(tmp_path / "month_000", changes, without=("support_agg_90d.csv",))
    with pytest.raises(RefusedDrop) as refused:
        deliver(spoiled, settings=settings, now=NOW)
    problems = {(p.file, p.row, p.column, p.value) for p in refused.value.problems}
    assert problems == {
        ("support_agg_90d.csv", None, "", ""),
        ("users.csv", 3, "user_is_senior", "yes"),
        ("usage_agg_30d.csv", 4, "user_id", "z"),
        ("labels.csv", 3, "churn_label", ""),
    }
    assert (ledger(), stored(settings)) == ([], [])


def test_a_file_that_is_a_folder(settings: Settings, drop: Path):
    (drop / "users.csv").unlink()
    (drop / "users.csv").mkdir()
    with pytest.raises(RefusedDrop, match=r"users.csv: the file is missing"):
        deliver(drop, settings=settings, now=NOW)


def test_a_file_that_the_disk_refuses(
    settings: Settings, drop: Path, monkeypatch: pytest.MonkeyPatch
):
    open_path = Path.open

    def refuse_users(path: Path, *how: Any) -> IO[Any]:
        if path.name == "users.csv":
            raise PermissionError(13, "Permission denied")
        return open_path(path, *how)

    monkeypatch.setattr(Path, "open", refuse_users)
    with pytest.raises(RefusedDrop, match=r"users.csv: the file cannot be read: Permission denied"):
        deliver(drop, settings=settings, now=NOW)


def test_a_file_that_changes_while_it_is_delivered(
    settings: Settings, drop: Path, monkeypatch: pytest.MonkeyPatch
):
    keep = accept.keep

    def keep_late(source: Path, path: Path, sha256: str) -> None:
        if source.name == "labels.csv":
            source.write_text(source.read_text() + "d,True\n")
        keep(source, path, sha256)

    monkeypatch.setattr(accept, "keep", keep_late)
    with pytest.raises(
        ChurnError, match=r"labels.csv: the file changed while it was being delivered"
    ):
        deliver(drop, settings=settings, now=NOW)
    assert ledger() == []
    assert not any("labels" in name for name in stored(settings))


def test_a_store_without_room_refuses_the_drop_for_now(
    settings: Settings, drop: Path, monkeypatch: pytest.MonkeyPatch
):
    def no_room(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("churn.files.os.fsync", no_room)
        with pytest.raises(Refusal, match="cannot be written: No space left on device") as refused:
            deliver(drop, settings=settings, now=NOW)
    assert refused.value.depends_on == {"access"}
    assert ledger() == []
    assert deliver(drop, settings=settings, now=NOW).is_changed


def test_an_empty_users_file_does_not_blame_the_other_files(settings: Settings, drop: Path):
    (drop / "users.csv").write_bytes(b"")
    with pytest.raises(RefusedDrop) as refused:
        deliver(drop, settings=settings, now=NOW)
    assert [(p.file, p.what) for p in refused.value.problems] == [
        ("users.csv", "the file is empty")
    ]


def test_a_folder_without_a_drop(settings: Settings, tmp_path: Path):
    with pytest.raises(ChurnError, match="no file of a drop is here"):
        deliver(tmp_path, settings=settings, now=NOW, month=JANUARY)


def test_other_files_are_told_of_and_not_read(settings: Settings, drop: Path):
    (drop / "Labels_new.csv").write_text("?")
    (drop / "README.txt").write_text("?")
    odd = deliver(drop, settings=settings, now=NOW).oddities
    assert [o.file for o in odd if o.what == "not a file of a drop: not read"] == ["Labels_new.csv"]


@pytest.mark.parametrize(
    ("change", "problem"), [("altered", "was altered"), ("gone", "is missing"), ("broken", "UTF-8")]
)
def test_a_file_altered_in_the_store(settings: Settings, drop: Path, change: str, problem: str):
    deliver(drop, settings=settings, now=NOW)
    (delivery,) = accepted(JANUARY, USERS)
    path = settings.deliveries / delivery.stored_path
    original = path.read_bytes()
    path.unlink()
    if change != "gone":
        path.write_bytes(original.replace(b"Male", b"Male " if change == "altered" else b"\xff"))
    with pytest.raises(RefusedDrop, match=problem) as refused:
        read_accepted(delivery)
    assert "deliver the original file again" in refused.value.remedy
    assert not deliver(drop, settings=settings, now=NOW + HOUR).is_changed
    assert path.read_bytes() == original
    assert read_accepted(delivery).num_rows == 3


def test_months_outside_of_the_settings(settings: Settings, drop: Path):
    until = settings.model_copy(update={"last_month": JANUARY})
    for month in (JANUARY.shift(-1), FEBRUARY):
        with pytest.raises(ChurnError, match="outside of the months 2024-01 to 2024-01"):
            deliver(drop, settings=until, now=NOW, month=month)
    with pytest.raises(ChurnError, match="2027-03 has not begun"):
        deliver(drop, settings=settings, now=NOW, month=Month.parse("2027-03"))
    assert (ledger(), stored(settings)) == ([], [])


def test_another_first_month_under_existing_deliveries_is_refused(
    settings: Settings, drop: Path, tmp_path: Path
):
    """`month_000` would be another month from then on, and what is there another folder."""
    moved = settings.model_copy(update={"first_month": FEBRUARY})
    spoiled = write_drop(tmp_path / "spoiled" / "month_000", without=("users.csv",))
    with pytest.raises(RefusedDrop):
        deliver(spoiled, settings=settings, now=NOW)
    assert deliver(drop, settings=moved, now=NOW).month == FEBRUARY  # nothing was there yet
    before = ledger()
    with pytest.raises(ChurnError, match="month_000 of the deliveries here is 2024-02") as refused:
        deliver(drop, settings=settings, now=NOW)
    assert "CHURN_FIRST_MONTH=2024-02" in refused.value.remedy
    assert ledger() == before
    with connect() as connection, pytest.raises(ChurnError, match="CHURN_FIRST_MONTH is 2024-01"):
        create_schema(connection)


def test_a_delivery_without_time_zone_is_a_bug(settings: Settings, drop: Path):
    with pytest.raises(ValueError, match="time zone"):
        deliver(drop, settings=settings, now=NOW.replace(tzinfo=None))


def test_the_drop_from_outside(settings: Settings, real_drop: Path):
    outcome = deliver(real_drop, settings=settings, now=NOW)
    assert {file.delivery.rows for file in outcome.files} == {7043}
    assert {(f"{o.file} {o.column}", o.what): o.count for o in outcome.oddities} == {
        ("usage_agg_30d.csv avg_session_mins_7d", "one constant value (29.14104464084511)"): 7043,
        ("subscriptions.csv plan_stream_tv", "blank where net_service is No (unknown, not False)"): 1526,
        ("subscriptions.csv plan_stream_movies", "blank where net_service is No (unknown, not False)"): 1526,
        ("subscriptions.csv months_active", "0, and total_paid is 0 too"): 11,
        ("support_agg_90d.csv ticket_avg_resolution_hrs_90d", "filled for users without tickets"): 5203,
        ("users.csv signup_date", "contradicts months_active by more than a month"): 6785,
    }  # fmt: skip


def test_other_spellings_of_names_and_compressed_files_are_the_same_drop(
    settings: Settings, drop: Path, tmp_path: Path
):
    deliver(drop, settings=settings, now=NOW)
    other = write_drop(tmp_path / "other")
    (other / "users.csv").rename(other / "Users.CSV")
    packed = gzip.compress(FILES["subscriptions.csv"].encode())
    (other / "subscriptions.csv").unlink()
    (other / "subscriptions.csv.gz").write_bytes(packed)
    payments = "USER_ID,FAILED_PAYMENTS_90D\na,1.0\nb,0.0\nc,0.0\n"
    (other / "payments_agg_90d.csv").write_text(payments)
    outcome = deliver(other, settings=settings, now=NOW + HOUR, month=JANUARY)
    assert {file.state for file in outcome.files} == {"unchanged"}
    first = deliver(other, settings=settings, now=NOW, month=FEBRUARY)
    assert not any("not read" in oddity.what for oddity in first.oddities)
    (kept,) = accepted(FEBRUARY, BY_NAME["subscriptions"])
    assert kept.stored_path.endswith(f"{kept.sha256}.csv.gz")
    assert (settings.deliveries / kept.stored_path).read_bytes() == packed
    assert read_accepted(kept)["total_paid"].to_pylist() == [29.85, 1889.5, 140.0]


def test_two_files_of_one_name_are_none(settings: Settings, drop: Path):
    (drop / "USERS.csv").write_text(FILES["users.csv"])
    (drop / "labels.csv.gz").write_bytes(gzip.compress(FILES["labels.csv"].encode()))
    with pytest.raises(RefusedDrop) as refused:
        deliver(drop, settings=settings, now=NOW)
    assert [(p.file, p.what) for p in refused.value.problems] == [
        ("users.csv", "lies here more than once, as USERS.csv and users.csv"),
        ("labels.csv", "lies here more than once, as labels.csv and labels.csv.gz"),
    ]

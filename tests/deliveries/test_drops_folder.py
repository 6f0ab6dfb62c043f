"""The watched folder: what is asked again and when, and what lies there beside the drops."""

import datetime as dt
import json
import os
from pathlib import Path

import pytest

from churn.contract.in_force import LABELS, PROFILE_TABLES, TABLES, USERS
from churn.database import connect
from churn.deliveries import accept, accepted, deliver
from churn.deliveries.drops_folder import (
    Cursor,
    FolderScan,
    keep_standing,
    read_cursor,
    take_in,
)
from churn.errors import ChurnError
from churn.months import Month
from churn.settings import Settings
from tests.kit.small_drop import FEBRUARY, JANUARY, NOW, leave, put_drop, write_drop

DAY = dt.timedelta(days=1)
NOVEMBER = Month.parse("2026-11")  # month_034
PROFILE = tuple(table.file for table in PROFILE_TABLES)


@pytest.fixture
def folder(settings: Settings, tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


def look(folder: Path, cursor: Cursor | None = None, now: dt.datetime = NOW, **more) -> FolderScan:
    """Look as the sensor does: the cursor goes through JSON in between."""
    return take_in(folder, read_cursor(json.dumps(cursor or {})), now=now, **more)


def taken(looked: FolderScan) -> tuple[list[str], list[str]]:
    return looked.accepted, sorted(looked.refused)


def test_a_drop_a_day_early_is_taken_in_by_itself_once_its_month_has_closed(folder: Path) -> None:
    put_drop(folder / "month_034", without=("labels.csv",))
    early = look(folder, now=dt.datetime(2026, 11, 28, 1, tzinfo=dt.UTC))
    assert taken(early) == ([], ["month_034"])
    assert early.refused["month_034"].waits
    assert "it waits until 2026-12-01 00:00 UTC" in str(early.refused["month_034"].error)
    still = look(folder, early.cursor, now=dt.datetime(2026, 11, 30, 23, 59, tzinfo=dt.UTC))
    assert taken(still) == ([], [])  # told once, and not taken in before its time
    closed = look(folder, still.cursor, now=dt.datetime(2026, 12, 1, tzinfo=dt.UTC))
    assert taken(closed) == (["month_034"], [])
    assert [d.known_at for d in accepted(NOVEMBER, USERS)] == [NOVEMBER.as_of]


def test_what_waits_is_not_read_meanwhile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_drop(folder / "month_034", without=("labels.csv",))
    put_drop(folder / "month_000", {"users.csv": ("Male,True", "Male,yes")})
    when = dt.datetime(2026, 11, 28, 1, tzinfo=dt.UTC)
    first = look(folder, now=when)
    assert taken(first) == ([], ["month_000", "month_034"])
    monkeypatch.setattr(accept, "read_drop", pytest.fail)
    assert taken(look(folder, first.cursor, now=when + DAY)) == ([], [])


def test_labels_wait_until_they_mature(folder: Path) -> None:
    put_drop(folder / "month_034")
    december = dt.datetime(2026, 12, 2, tzinfo=dt.UTC)
    early = look(folder, now=december)
    remedy = early.refused["month_034"].error.remedy
    assert "from 2027-01-01 00:00 UTC on" in remedy
    assert "without labels.csv the folder is taken in at once" in remedy
    assert taken(look(folder, early.cursor, now=december + 30 * DAY)) == (["month_034"], [])


def test_labels_before_their_month_are_taken_in_after_it(folder: Path, tmp_path: Path) -> None:
    put_drop(folder / "month_000", without=PROFILE)
    first = look(folder)
    assert taken(first) == ([], ["month_000"])
    assert taken(look(folder, first.cursor)) == ([], [])
    deliver(write_drop(tmp_path / "month_000", without=("labels.csv",)), now=NOW)
    assert taken(look(folder, first.cursor)) == (["month_000"], [])
    assert len(accepted(JANUARY, LABELS)) == 1


def test_labels_of_strangers_are_asked_again_after_a_correction(
    folder: Path, tmp_path: Path
) -> None:
    deliver(write_drop(tmp_path / "month_000", without=("labels.csv",)), now=NOW)
    put_drop(folder / "month_000", {"labels.csv": ("c,", "d,")}, without=PROFILE)
    first = look(folder)
    assert taken(first) == ([], ["month_000"])
    with_d = write_drop(tmp_path / "fixed", {"users.csv": ("c,", "d,")}, ("labels.csv",))
    for file in PROFILE[1:]:
        (with_d / file).write_text((with_d / file).read_text().replace("c,", "d,"))
    deliver(with_d, now=NOW + DAY, month=JANUARY)
    assert taken(look(folder, first.cursor, now=NOW + DAY)) == (["month_000"], [])


def test_a_month_beyond_the_last_one_is_taken_in_when_that_is_raised(
    folder: Path, settings: Settings
) -> None:
    put_drop(folder / "month_001")
    short = settings.model_copy(update={"last_month": JANUARY})
    first = look(folder, settings=short)
    assert taken(first) == ([], ["month_001"])
    assert taken(look(folder, first.cursor, settings=short)) == ([], [])
    longer = settings.model_copy(update={"last_month": FEBRUARY})
    assert taken(look(folder, first.cursor, settings=longer)) == (["month_001"], [])


def test_a_file_made_readable_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users = put_drop(folder / "month_000") / "users.csv"
    users.chmod(0o200)
    if os.geteuid() == 0:  # whom no mode keeps out: the disk refuses in its place
        opened = Path.open

        def refuse(path: Path, *how, **more):
            if path.name == "users.csv" and not path.stat().st_mode & 0o400:
                raise PermissionError(13, "Permission denied")
            return opened(path, *how, **more)

        monkeypatch.setattr(Path, "open", refuse)
    first = look(folder)
    assert taken(first) == ([], ["month_000"])
    assert "users.csv: the file cannot be read: Permission denied" in str(
        first.refused["month_000"].error
    )
    assert taken(look(folder, first.cursor)) == ([], [])
    users.chmod(0o600)  # changes neither size nor time of the file
    assert taken(look(folder, first.cursor)) == (["month_000"], [])


@pytest.mark.parametrize("fault", [OSError(5, "Input/output error"), ValueError("embedded null")])
def test_a_fault_of_one_drop_costs_that_drop_and_is_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    for name in ("month_000", "month_001"):
        put_drop(folder / name)
    read = accept.read_drop

    def faulty(drop: Path, *how):
        if drop.name == "month_000":
            raise fault
        return read(drop, *how)

    monkeypatch.setattr(accept, "read_drop", faulty)
    first = look(folder)
    assert taken(first) == (["month_001"], ["month_000"])
    monkeypatch.setattr(accept, "read_drop", read)
    assert taken(look(folder, first.cursor)) == ([], [])
    assert taken(look(folder, first.cursor, now=NOW + DAY)) == (["month_000"], [])


def test_a_postgres_that_does_not_answer_is_no_drop_s_fault(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_drop(folder / "month_000")
    keep = accept.read_drop

    def cut(*_, **__):
        raise ChurnError("Postgres does not answer") from ConnectionResetError("reset by peer")

    monkeypatch.setattr(accept, "read_drop", cut)
    # The tick fails, and the next one asks again.
    with pytest.raises(ChurnError, match="does not answer"):
        look(folder)
    monkeypatch.setattr(accept, "read_drop", keep)
    assert taken(look(folder)) == (["month_000"], [])


def test_a_cursor_of_an_earlier_version(folder: Path) -> None:
    put_drop(folder / "month_000")
    put_drop(folder / "month_034", without=("labels.csv",))
    early = look(folder, now=dt.datetime(2026, 11, 28, tzinfo=dt.UTC))
    signatures = {
        name: entry if isinstance(entry, str) else entry["signature"]
        for name, entry in early.cursor.items()
    }  # that version noted taken and refused drops alike
    later = look(folder, signatures, now=dt.datetime(2026, 12, 2, tzinfo=dt.UTC))
    assert taken(later) == (["month_034"], [])
    assert later.cursor == signatures
    assert read_cursor("no JSON") == read_cursor("[]") == read_cursor(None) == {}


def test_what_lies_beside_a_sound_drop_is_named_once_and_stops_nothing(
    folder: Path, tmp_path: Path
) -> None:
    put_drop(folder / "month_000")
    for name in ("month_3", "Month_003", "month_003 (copy)", "month_0003", "2024-04", "month_٠٠٣"):
        put_drop(folder / name)
    (folder / "month_99999999999999999999").mkdir()
    (folder / "month_004.part").mkdir()
    (folder / "users.csv").write_text("user_id\n")  # once it made a drop of the whole folder
    (folder / "month_003.zip").write_bytes(b"PK")
    (folder / "month_005").write_text("no folder")
    (folder / ".DS_Store").write_bytes(b"\0")
    os.mkfifo(folder / "month_006")
    (folder / "month_007").symlink_to(tmp_path / "nowhere")
    (folder / "month_008").symlink_to("month_000")
    (folder / os.fsdecode(b"month_\xff")).mkdir()
    put_drop(tmp_path / "elsewhere")
    (folder / "month_001").symlink_to(tmp_path / "elsewhere")
    put_drop(folder / "month_999")
    first = look(folder)
    assert first.accepted == ["month_000", "month_001"]
    assert len(accepted(FEBRUARY, USERS)) == 1  # of the month that the link's own name says
    assert not accepted(JANUARY.shift(3), USERS)
    far = first.refused.pop("month_999")
    assert (far.waits, "2107-04 has not begun" in str(far.error)) == (False, True)
    assert first.refused == {}
    reasons = {stray.name.encode("utf-8", "replace").decode(): str(stray) for stray in first.strays}
    assert len(reasons) == 15
    for name in ("month_3", "Month_003", "month_003 (copy)", "month_0003"):
        assert "if it is the drop of 2024-04, name it month_003" in reasons[name]
    assert "unpack its CSV files into a folder month_003" in reasons["month_003.zip"]
    assert "put it into its month's folder" in reasons["users.csv"]
    assert "is a link to nothing" in reasons["month_007"]
    assert "is named as the drop of 2024-09, but is a link to month_000" in reasons["month_008"]
    assert "still being copied" in reasons["month_004.part"]
    for name in ("month_005", "month_006"):
        assert "is not a folder" in reasons[name]
    again = look(folder, first.cursor)
    assert (taken(again), again.strays) == (([], []), [])
    (folder / "month_3").rename(folder / "month_003")
    leave(folder / "month_003")
    assert look(folder, again.cursor).accepted == ["month_003"]


def test_a_drop_that_is_being_copied_waits_for_two_looks_that_agree(folder: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    drop = write_drop(folder / "month_000", without=("labels.csv", "support_agg_90d.csv"))
    first = look(folder, now=now)
    assert taken(first) == ([], [])
    write_drop(drop, without=("labels.csv",))  # one more file has come
    second = look(folder, first.cursor, now=now)
    assert taken(second) == ([], [])
    assert taken(look(folder, second.cursor, now=now)) == (["month_000"], [])


def test_a_file_that_has_no_final_name_yet_keeps_its_drop_out(folder: Path) -> None:
    drop = put_drop(folder / "month_000", without=("labels.csv",))
    for name in ("labels.csv.part", ".labels.csv.Xy12Zz"):
        (drop / name).write_text("user_id,churn_label\na,")
        leave(drop)
        first = look(folder)
        assert taken(first) == ([], ["month_000"])
        assert f"still being copied, as the name says: {name}" in str(
            first.refused["month_000"].error
        )
        assert not accepted(JANUARY, USERS)
        (drop / name).unlink()
    put_drop(drop)
    assert taken(look(folder, first.cursor)) == (["month_000"], [])
    assert all(accepted(JANUARY, table) for table in TABLES)


def test_a_folder_that_cannot_be_listed_is_named_and_forgets_nothing(
    folder: Path, tmp_path: Path
) -> None:
    put_drop(folder / "month_000")
    first = look(folder)
    folder.rename(tmp_path / "away")
    folder.write_text("a file in its place")
    stray = look(folder, first.cursor)
    assert "cannot be listed: Not a directory" in str(stray.strays[0])
    assert not look(folder, stray.cursor).strays
    folder.unlink()
    (tmp_path / "away").rename(folder)
    assert taken(look(folder, stray.cursor)) == ([], [])
    assert taken(look(tmp_path / "not there yet")) == ([], [])


def test_what_is_not_taken_in_is_kept_until_it_is(folder: Path) -> None:
    """For those who watch: which months, whether it only waits, and since when; never what is in it."""
    early, broken = folder / "month_034", folder / "month_001"
    put_drop(early, without=("labels.csv",))
    put_drop(broken, {"subscriptions.csv": ("29.85,29.85", "-1,29.85")})
    begun = dt.datetime(2026, 11, 28, 1, tzinfo=dt.UTC)

    def kept() -> list[tuple]:
        with connect() as connection:
            query = (
                "SELECT name, month, waits, since FROM monitoring.drops_not_taken ORDER BY month"
            )
            return connection.execute(query).fetchall()

    seen = look(folder, now=begun)
    keep_standing(seen, begun)
    expected = [
        ("month_001", FEBRUARY.first_day, False, begun),
        ("month_034", NOVEMBER.first_day, True, begun),
    ]
    assert kept() == expected
    seen = look(folder, seen.cursor, now=begun + DAY)
    assert not seen.refused  # told once
    keep_standing(seen, begun + DAY)
    assert kept() == expected
    put_drop(broken)
    seen = look(folder, seen.cursor, now=begun + 2 * DAY)
    assert seen.accepted == ["month_001"]
    keep_standing(seen, begun + 2 * DAY)
    assert kept() == expected[1:]
    unread = FolderScan(
        is_complete=False
    )  # a folder that cannot be listed says nothing of what is in it
    keep_standing(unread, begun + 2 * DAY)
    assert kept() == expected[1:]
    seen = look(folder, seen.cursor, now=begun + 5 * DAY)
    keep_standing(seen, begun + 5 * DAY)
    assert kept() == []

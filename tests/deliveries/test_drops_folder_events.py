"""A refused drop is told once for each drop as it lies there; of what is in it, nothing is told."""

import datetime as dt
import json
from pathlib import Path

import pytest

from churn.deliveries.drops_folder import Cursor, FolderScan, keep_standing, read_cursor, take_in
from tests.kit.events import told
from tests.kit.small_drop import put_drop

HOUR = dt.timedelta(hours=1)

pytestmark = pytest.mark.usefixtures("settings")


def look(folder: Path, cursor: Cursor, now: dt.datetime) -> FolderScan:
    scan = take_in(folder, read_cursor(json.dumps(cursor)), now=now)
    keep_standing(scan, now)
    return scan


def test_each_refused_drop_is_told_once_and_what_waits_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    put_drop(folder / "month_034", without=("labels.csv",))  # of a month that is not over
    broken = folder / "month_001"
    put_drop(broken, {"subscriptions.csv": ("29.85,29.85", "-1,29.85")})
    now = dt.datetime(2026, 11, 28, 1, tzinfo=dt.UTC)
    scan = look(folder, {}, now)
    [event] = told()
    assert (event.kind, event.data["month"], event.data["problems"]) == (
        "drop.refused",
        "2024-02",
        1,
    )
    look(folder, scan.cursor, now + HOUR)
    # A look that was ended before its cursor was kept is made again.
    look(folder, {}, now + HOUR)
    assert told() == [event]
    put_drop(broken, {"subscriptions.csv": ("29.85,29.85", "-20,29.85")})
    scan = look(folder, scan.cursor, now + 2 * HOUR)
    assert [each.data["month"] for each in told()] == ["2024-02", "2024-02"]
    put_drop(broken)
    assert look(folder, scan.cursor, now + 3 * HOUR).accepted == ["month_001"]
    assert len(told()) == 2

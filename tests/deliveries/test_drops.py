from pathlib import Path

import pytest

from churn.deliveries import find_drops
from churn.deliveries.drops import choose_month
from churn.errors import ChurnError
from churn.settings import Settings
from tests.kit.small_drop import FEBRUARY, JANUARY, write_drop

SETTINGS = Settings(CHURN_FIRST_MONTH="2024-01")  # type: ignore[call-arg]


def test_a_folder_of_drops_by_month(tmp_path: Path):
    for number in (2, 0, 10):
        write_drop(tmp_path / f"month_{number:03d}")
    (tmp_path / "notes").mkdir()
    (tmp_path / "month_1").mkdir()
    (tmp_path / "month_004").write_text("no folder")
    drops = find_drops(tmp_path, SETTINGS)
    assert [(str(month), path.name) for month, path in drops] == [
        ("2024-01", "month_000"),
        ("2024-03", "month_002"),
        ("2024-11", "month_010"),
    ]


def test_one_drop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drop = write_drop(tmp_path / "month_001")
    assert find_drops(drop, SETTINGS) == [(FEBRUARY, drop)]
    monkeypatch.chdir(drop)
    assert find_drops(Path(), SETTINGS) == [(FEBRUARY, Path())]
    nameless = write_drop(tmp_path / "january", without=("users.csv",))
    assert find_drops(nameless, SETTINGS) == [(None, nameless)]


def test_no_drop(tmp_path: Path):
    with pytest.raises(ChurnError, match="there is no folder"):
        find_drops(tmp_path / "nowhere", SETTINGS)
    with pytest.raises(ChurnError, match="no drop is in"):
        find_drops(tmp_path, SETTINGS)


def test_the_month_is_the_name_s_or_given(tmp_path: Path):
    assert choose_month(tmp_path / "month_001", None, SETTINGS) == FEBRUARY
    assert choose_month(tmp_path / "january", JANUARY, SETTINGS) == JANUARY
    with pytest.raises(ChurnError, match="does not say its month: january"):
        choose_month(tmp_path / "january", None, SETTINGS)

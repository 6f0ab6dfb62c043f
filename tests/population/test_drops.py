import re
from pathlib import Path

import pandas as pd
import pytest

from churn.contract.in_force import TABLES
from churn.errors import ChurnError
from churn.months import Month
from churn.population.drops import write_drops

FIRST = Month.parse("2024-01")


def content(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()
    }


def test_folders_and_files(drops: Path) -> None:
    months = [f"month_{number:03d}" for number in range(4)]
    expected = {f"{month}/{table.file}" for month in months for table in TABLES}
    expected -= {"month_003/labels.csv"}
    assert set(content(drops)) == expected | {f"oracle/{month}.parquet" for month in months}
    assert not [path for path in drops.iterdir() if path.name.startswith(".")]


def test_the_text_is_the_contracts(drops: Path) -> None:
    for table in TABLES:
        text = (drops / "month_000" / table.file).read_text()
        header, *rows = text.splitlines()
        assert header.split(",") == [column.name for column in table.columns]
        assert len(rows) == 300
        assert '"' not in text
        assert not re.search(r"true|false|nan|None|<NA>|\d\.\d{3,}|\de[+-]\d", text)
    subscriptions = (drops / "month_000" / "subscriptions.csv").read_text()
    assert (
        "7590-VHVEG,1,False,False,Month-to-month,True,29.85,29.85,DSL,False,True,False,False\n"
        in subscriptions
    )
    assert re.search(r",,,.*,No,,,,\n", subscriptions)


def test_the_same_seed_gives_the_same_bytes(drops: Path, tmp_path: Path) -> None:
    seen: list[Month] = []
    folders = write_drops(tmp_path, first=FIRST, users=300, months=4, on_month=seen.append)
    assert content(tmp_path) == content(drops)
    assert folders == [tmp_path / f"month_{number:03d}" for number in range(4)]
    assert [str(month) for month in seen] == ["2024-01", "2024-02", "2024-03", "2024-04"]


def test_another_seed_gives_others(drops: Path, tmp_path: Path) -> None:
    write_drops(tmp_path, first=FIRST, users=300, months=2, seed=43, label_last_month=True)
    ours, theirs = content(tmp_path), content(drops)
    assert "month_001/labels.csv" in ours
    assert all(ours[name] != theirs[name] for name in ours)


def test_a_longer_run_adds_to_a_shorter_one(drops: Path, tmp_path: Path) -> None:
    for months in (2, 2, 4):
        write_drops(tmp_path, first=FIRST, users=300, months=months)
    assert content(tmp_path) == content(drops)


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"seed": 1, "months": 3}, id="other content"),
        pytest.param({"months": 1}, id="more months than asked for"),
        pytest.param({"months": 2}, id="labels that have not arrived"),
    ],
)
def test_other_drops_stay_unless_told(asked: dict[str, int], tmp_path: Path) -> None:
    write_drops(tmp_path, first=FIRST, users=50, months=2, label_last_month=True)
    (tmp_path / "notes.txt").write_text("mine")
    before = content(tmp_path)
    with pytest.raises(ChurnError, match="overwrite"):
        write_drops(tmp_path, first=FIRST, users=50, **asked)  # type: ignore[arg-type]
    assert content(tmp_path) == before
    write_drops(tmp_path, first=FIRST, users=50, overwrite=True, **asked)  # type: ignore[arg-type]
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (tmp_path / f"month_00{asked['months'] - 1}" / "labels.csv").exists()


def test_nothing_is_removed_for_a_wish_that_cannot_be(tmp_path: Path) -> None:
    write_drops(tmp_path, first=FIRST, users=5, months=1)
    before = content(tmp_path)
    with pytest.raises(ChurnError):
        write_drops(tmp_path, first=FIRST, users=5, months=0, overwrite=True)
    assert content(tmp_path) == before


def test_more_users_than_the_benchmark(tmp_path: Path) -> None:
    write_drops(tmp_path, first=FIRST, users=9000, months=1, label_last_month=True)
    users = pd.read_csv(tmp_path / "month_000" / "subscriptions.csv").set_index("user_id")
    assert len(users) == 9000
    assert users.index.is_unique
    assert users.index.str.fullmatch(r"\d{4}-[A-Z]{5}").all()
    assert users.loc["7590-VHVEG", "monthly_fee"] == 29.85
    assert users["months_active"].between(0, 72).all()
    assert (users.loc[users["months_active"] == 0, "total_paid"] == 0).all()
    labels = pd.read_csv(tmp_path / "month_000" / "labels.csv")
    assert 0.24 < labels["churn_label"].mean() < 0.29

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from churn.cli.main import app
from churn.contract.in_force import PROFILE_TABLES, TABLES
from churn.settings import Settings


@pytest.fixture(scope="module")
def drops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated") / "drops"
    answer = churn("generate", "--users", "120", "--months", "2", "--out", str(folder))
    assert answer.exit_code == 0, answer.stderr
    assert "2 drops" in answer.stdout
    assert "month_000 to month_001" in answer.stdout
    return folder


def churn(*arguments: str):
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160"})


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.startswith("2024-")]


def test_new_then_unchanged_then_a_correction(
    settings: Settings, drops: Path, tmp_path: Path
) -> None:
    first = churn("deliver", str(drops), "--history")
    assert first.exit_code == 0, first.stderr
    assert len(lines(first.stdout)) == len(TABLES) + len(
        PROFILE_TABLES
    )  # the newest month has no labels
    assert {line[3] for line in lines(first.stdout)} == {"new"}
    assert lines(first.stdout)[0] == ["2024-01", "users", "120", "new", "2024-01-31T23:59:59+00:00"]
    assert "odd in 2024-01, and taken in" in first.stderr

    again = churn("deliver", str(drops / "month_000"))
    assert {line[3] for line in lines(again.stdout)} == {"unchanged"}

    fixed = tmp_path / "fixed"
    shutil.copytree(drops / "month_000", fixed)
    text = (fixed / "payments_agg_90d.csv").read_text().splitlines()
    user = text[1].split(",")[0]
    (fixed / "payments_agg_90d.csv").write_text("\n".join([text[0], f"{user},9", *text[2:]]) + "\n")
    unnamed = churn("deliver", str(fixed))
    assert unnamed.exit_code == 1
    assert "does not say its month" in unnamed.stderr
    corrected = churn("deliver", str(fixed), "--month", "2024-01", "--known-at", "2024-03-05")
    assert [line[1:] for line in lines(corrected.stdout) if line[3] != "unchanged"] == [
        ["payments_agg_90d", "120", "correction", "2024-03-05T23:59:59+00:00"]
    ]


def test_last_month_s_export_is_named_at_the_door(settings: Settings, drops: Path) -> None:
    assert "another month's" not in churn("deliver", str(drops), "--history").stderr
    answer = churn("deliver", str(drops / "month_001"), "--month", "2024-03")
    assert answer.exit_code == 0, answer.stderr
    assert {line[3] for line in lines(answer.stdout)} == {"new"}  # it is taken in all the same
    assert (
        "users.csv of 2024-03 is that of 2024-02: the same content in all 120 rows, and the other four files"
        " are that month's, too"
    ) in answer.stderr
    assert "`churn confirm --month 2024-03`" in answer.stderr
    again = churn("deliver", str(drops / "month_001"), "--month", "2024-03")
    assert "another month's" not in again.stderr  # told once, when it came


def test_a_refused_drop_lists_its_problems(settings: Settings, drops: Path, tmp_path: Path) -> None:
    bad = tmp_path / "month_000"
    shutil.copytree(drops / "month_000", bad)
    text = (bad / "support_agg_90d.csv").read_text().splitlines()
    (bad / "support_agg_90d.csv").write_text("\n".join([*text, text[1]]) + "\n")
    answer = churn("deliver", str(bad))
    assert answer.exit_code == 1
    assert "support_agg_90d.csv, row" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not lines(answer.stdout)


def test_one_refused_of_several_drops(settings: Settings, drops: Path, tmp_path: Path) -> None:
    folder = tmp_path / "several"
    shutil.copytree(drops, folder)
    shutil.copytree(drops / "month_000", folder / "Month_000")
    users = folder / "month_000" / "users.csv"
    shutil.copy(users, folder)
    users.write_text(users.read_text().replace("True", "Yes", 1))
    answer = churn("deliver", str(folder))
    assert answer.exit_code == 1
    assert {line[0] for line in lines(answer.stdout)} == {"2024-02"}
    assert "'Yes' is not a boolean" in answer.stderr
    assert "deliver the folder again; nothing of it was taken in" in answer.stderr
    assert "refused: month_000; taken in all the same: 2024-02." in answer.stderr
    assert "passed over: Month_000 does not say its month" in answer.stderr
    assert "passed over: users.csv lies outside of a drop" in answer.stderr
    assert "oracle" not in answer.stderr  # which lies beside generated drops


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--known-at", "yesterday"], "'yesterday' is not a time"),
        (["--month", "2024-01"], "--month is for one drop"),
        (["--month", "Jan"], "'Jan' is not a month"),
    ],
)
def test_impossible_wishes(
    settings: Settings, drops: Path, arguments: list[str], message: str
) -> None:
    answer = churn("deliver", str(drops), *arguments)
    assert answer.exit_code == 1
    assert message in answer.stderr


def test_no_drop_there(settings: Settings, tmp_path: Path) -> None:
    answer = churn("deliver", str(tmp_path / "nowhere"))
    assert answer.exit_code == 1
    assert "there is no folder" in answer.stderr

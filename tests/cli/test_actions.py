import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner

from churn.cli.main import app
from churn.months import Month
from churn.scoring.action_file import COLUMNS
from churn.settings import Settings
from tests.scoring.listed import put_labels, put_list

MAY = Month.parse("2024-05")
USERS = [f"u{n:03d}" for n in range(250)]
CONTROL = USERS[::10]
HEADER = "month,user_id,treated_at,channel,offer"


def churn(*arguments: str):
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160"})


@pytest.fixture
def listed(settings: Settings) -> None:
    put_list(MAY, USERS, CONTROL)


@pytest.mark.usefixtures("listed")
def test_the_list_on_the_screen_and_as_csv(tmp_path: Path) -> None:
    shown = churn("actions", "--month", "2024-05", "--top", "2")
    assert shown.exit_code == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["1", "u000", "control"],
        ["2", "u001", "treated"],
    ]
    assert "why u001" in lines[2]
    assert "250 users: 225 to treat, 25 to leave alone; 2 shown" in shown.stderr

    file = tmp_path / "lists" / "may.csv"
    written = churn("actions", "--month", "2024-05", "--out", str(file))
    assert written.exit_code == 0, written.stderr
    assert "250 users: 225 to treat, 25 to leave alone" in written.stdout
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert tuple(rows[0]) == COLUMNS
    assert [row["user_id"] for row in rows] == USERS
    assert {row["user_id"] for row in rows if row["treatment_group"] == "control"} == set(CONTROL)


def test_a_month_without_a_list(settings: Settings) -> None:
    answer = churn("actions", "--month", "2024-05")
    assert answer.exit_code == 1
    assert "2024-05: nobody is on an action list of this month" in answer.stderr
    assert "churn ledger" in answer.stderr


@pytest.mark.usefixtures("listed")
def test_treatments_and_what_they_brought(tmp_path: Path) -> None:
    called = [user for user in USERS if user not in CONTROL]
    file = tmp_path / "calls.csv"
    file.write_text("\n".join([HEADER, *(f"2024-05,{u},2024-06-03,phone," for u in called)]) + "\n")
    first = churn("treatments", str(file))
    assert first.exit_code == 0, first.stderr
    assert "2024-05: 225 new, 0 changed, 0 unchanged" in first.stdout
    assert (
        "no savings are claimed: the labels are not here; they mature at 2024-06-30" in first.stdout
    )
    assert "control group were treated" not in first.stderr

    put_labels(MAY, [*CONTROL, *called[:30]], called[30:])
    again = churn("treatments", str(file))
    assert "0 new, 0 changed, 225 unchanged" in again.stdout
    assert "the calls kept users: churn 0.133 where 1.000 was to be expected" in again.stdout


@pytest.mark.usefixtures("listed")
def test_a_breach_is_named_and_a_wrong_file_refused(tmp_path: Path) -> None:
    file = tmp_path / "calls.csv"
    file.write_text(f"{HEADER}\n2024-05,{CONTROL[3]},2024-06-03,phone,\n")
    breach = churn("treatments", str(file))
    assert breach.exit_code == 0
    assert f"1 of the control group were treated: {CONTROL[3]}" in breach.stderr
    file.write_text(f"{HEADER}\n2024-05,nobody,2024-06-03,phone,\n")
    refused = churn("treatments", str(file))
    assert refused.exit_code == 1
    assert "row 2, column user_id: 'nobody' is not on the action list" in refused.stderr
    assert "Traceback" not in refused.output

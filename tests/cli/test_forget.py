"""`churn forget` counts, erases, and names what it may not change."""

import os
from collections import Counter

import pytest
from typer.testing import CliRunner

from churn.cli.main import app
from churn.database import connect
from churn.erasure import forget as erasing
from churn.erasure.forget import Forgotten
from churn.settings import Settings
from tests.kit.action_lists import MAY, put_list

WHY = "request of 3 June"


def churn(*arguments: str):
    return CliRunner().invoke(app, ["forget", *arguments], env={**os.environ, "COLUMNS": "160"})


def listed() -> list[str]:
    with connect() as connection:
        rows = connection.execute("SELECT user_id FROM action_list ORDER BY user_id")
        return [row[0] for row in rows]


def test_a_dry_run_counts_and_the_command_erases(settings: Settings) -> None:
    put_list(MAY, ["anna-1", "bert-2"])
    answer = churn("anna-1", "--dry-run")
    assert answer.exit_code == 0, answer.stderr
    assert "churn_scores" in answer.stdout
    assert "nothing was erased: this was a dry run" in answer.stderr
    assert listed() == ["anna-1", "bert-2"]
    answer = churn("anna-1", "--reason", WHY)
    assert answer.exit_code == 0, answer.stderr
    assert "erased; later drops are taken in without this customer" in answer.stderr
    assert listed() == ["bert-2"]
    answer = churn("anna-1", "--reason", WHY)
    assert answer.exit_code == 0
    assert "nothing of this customer was there" in answer.stderr


def test_a_reason_is_needed(settings: Settings) -> None:
    answer = churn("anna-1")
    assert answer.exit_code == 1
    assert "a reason is needed" in answer.stderr


def test_what_is_left_is_named(settings: Settings) -> None:
    put_list(MAY, ["anna-1"])
    drop = settings.drops_folder / "month_000"
    drop.mkdir(parents=True)
    (drop / "users.csv").write_text("user_id\nanna-1\n")
    answer = churn("anna-1", "--reason", WHY)
    assert answer.exit_code == 1
    assert "these still name the customer" in answer.stderr
    assert "month_000/users.csv" in answer.stderr.replace("\n", "")
    assert (drop / "users.csv").read_text() == "user_id\nanna-1\n"


def test_ids_are_shown_as_text(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(user_id: str, **_: object) -> Forgotten:
        return Forgotten(Counter({"[bold]x": 1}), Counter())

    monkeypatch.setattr(erasing, "forget", forget)
    assert "[bold]x" in churn("anna-1", "--reason", WHY).stdout

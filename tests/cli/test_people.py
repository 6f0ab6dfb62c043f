import re

import pytest
from typer.testing import CliRunner

from churn.cli.main import app
from churn.database import connect
from churn.settings import Settings, get_settings
from console.people import sign_in, use_link

PASSWORD = "correct horse battery"


def churn(*arguments: str, typed: str = ""):
    return CliRunner().invoke(app, list(arguments), input=typed, env={"COLUMNS": "160"})


def test_a_link_signs_in_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHURN_CONSOLE_URL", "https://churn.example/")
    get_settings.cache_clear()
    answer = churn("console")
    assert answer.exit_code == 0, answer.stderr
    link = re.fullmatch(r"https://churn\.example/sign-in\?token=([\w-]{43})\n", answer.stdout)
    assert link is not None
    for works in (True, False):
        with connect() as connection:
            assert bool(use_link(connection, link[1])) is works


def test_people_are_added_listed_and_removed(settings: Settings) -> None:
    for role in ("viewer", "caller"):
        answer = churn("person", "add", "ann [x]", "--role", role, typed=f"{PASSWORD}\n")
        assert answer.exit_code == 0, answer.stderr
        assert f"ann [x] may sign in as {role}" in answer.stderr
    shown = churn("person", "list").stdout.splitlines()
    assert [line.split()[:3] for line in shown[1:]] == [["ann", "[x]", "caller"]]
    with connect() as connection:
        assert sign_in(connection, "ann [x]", PASSWORD)
        assert PASSWORD not in str(connection.execute("SELECT * FROM console.people").fetchall())
    assert churn("person", "remove", "ann [x]").exit_code == 0
    again = churn("person", "remove", "ann [x]")
    assert again.exit_code == 1
    assert "there is nobody called ann [x]" in again.stderr
    assert len(churn("person", "list").stdout.splitlines()) == 1


def test_a_short_password_and_another_role_are_refused(settings: Settings) -> None:
    answer = churn("person", "add", "ann", "--role", "viewer", typed="short\n")
    assert answer.exit_code == 1
    assert "the password is too short" in answer.stderr
    assert churn("person", "add", "ann", "--role", "owner", typed=f"{PASSWORD}\n").exit_code == 2
    assert len(churn("person", "list").stdout.splitlines()) == 1

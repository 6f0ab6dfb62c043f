"""`churn key`: who may ask the API."""

import pytest
from typer.testing import CliRunner

from churn.api_keys import hashed
from churn.cli.main import app
from churn.database import connect
from churn.settings import Settings


def churn(*arguments: str):
    return CliRunner().invoke(app, ["key", *arguments])


def test_keys_are_added_listed_and_removed(settings: Settings) -> None:
    added = churn("add", "crm [x]", "--scope", "predict,features", "--expires-on", "2999-06-30")
    assert added.exit_code == 0, added.output
    key = added.stdout.strip()
    with connect() as connection:
        [row] = connection.execute("SELECT key_sha256, scopes FROM access.api_keys").fetchall()
    assert row == (hashed(key), ["features", "predict"])
    shown = churn("list").stdout
    assert key not in shown
    for part in ("crm [x]", key[:12], "features, predict", "2999-06-30", "never"):
        assert part in " ".join(shown.split())
    assert churn("remove", "crm [x]").exit_code == 0
    again = churn("remove", "crm [x]")
    assert again.exit_code == 1
    assert "there is no key called crm [x]" in again.stderr
    assert len(churn("list").stdout.splitlines()) == 1
    with connect() as connection:
        acts = connection.execute("SELECT act, subject FROM console.acts ORDER BY act_id")
        assert acts.fetchall() == [("API key added", "crm [x]"), ("API key removed", "crm [x]")]
        [kept] = connection.execute(
            "SELECT count(*) FROM console.acts WHERE detail::text ~ %s", [key]
        )
        assert kept == (0,)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--scope", "everything"), "names no scopes"),
        (("--scope", ","), "names no scopes"),
        (("--scope", "admin", "--expires-on", "tomorrow"), "is no day"),
        (("--scope", "admin", "--expires-on", "2024-01-31"), "is over"),
    ],
)
def test_what_cannot_be_granted_is_refused(
    settings: Settings, arguments: tuple[str, ...], said: str
) -> None:
    answer = churn("add", "crm", *arguments)
    assert answer.exit_code == 1
    assert said in answer.stderr
    assert answer.stdout == ""
    assert len(churn("list").stdout.splitlines()) == 1

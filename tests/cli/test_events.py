import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from churn.cli.main import app
from churn.settings import get_settings
from tests.kit.events import closed, tell, told
from tests.kit.webhook_receiver import SECRET, Receiver, receiving

pytestmark = pytest.mark.usefixtures("settings")


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as running:
        monkeypatch.setenv("CHURN_EVENTS_URL", running.url)
        monkeypatch.setenv("CHURN_EVENTS_SECRET", SECRET)
        monkeypatch.setenv("CHURN_EVENTS_SLACK_URL", running.url)
        get_settings.cache_clear()
        yield running


def churn(*arguments: str):
    return CliRunner().invoke(app, ["events", *arguments], env={"COLUMNS": "200"})


def test_what_has_happened_is_listed_and_sent_again(receiver: Receiver) -> None:
    assert churn("list").stdout == "no event yet\n"
    tell(closed(1), closed(2))
    [first, second] = told()
    answer = churn("replay", str(second.event_id))
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout.splitlines() == [
        f"month.closed {second.event_id} to webhook: delivered",
        f"month.closed {second.event_id} to slack: delivered",
    ]
    receiver.answers = [503]
    again = churn("replay", "--since", f"{first.recorded_at:%Y-%m-%d}")
    assert again.exit_code == 1
    assert f"{first.event_id} to webhook: answered 503; again at" in again.stdout
    listed = json.loads(churn("list", "--json").stdout)["events"]
    assert [each["id"] for each in listed] == [str(first.event_id), str(second.event_id)]
    assert listed[0]["data"] == first.data
    assert {name: each["state"] for name, each in listed[0]["targets"].items()} == {
        "webhook": "waiting",
        "slack": "delivered",
    }
    table = churn("list").stdout
    assert [
        line.split()[2] for line in table.splitlines()[1:] if str(first.event_id)[:8] in line
    ] == [str(first.event_id)]
    for text in ("2024-03 is closed:", "webhook: waiting", "answered 503", "slack: delivered"):
        assert text in table


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["replay"], "which events?"),
        (["replay", "7"], "'7' is no id of an event"),
        (["replay", "7d9f3f5e-0000-4000-8000-000000000000"], "there is no event 7d9f3f5e"),
        (["replay", "--since", "yesterday"], "'yesterday' is not a time"),
    ],
)
def test_what_cannot_be_sent_again_is_refused(
    receiver: Receiver, arguments: list[str], problem: str
) -> None:
    answer = churn(*arguments)
    assert answer.exit_code == 1
    assert problem in answer.stderr


def test_a_test_message_goes_everywhere_and_is_kept_nowhere(receiver: Receiver) -> None:
    receiver.answers = [204, 404]
    answer = churn("test")
    assert (answer.exit_code, answer.stdout) == (
        1,
        "webhook: delivered\nslack: answered 404\n",
    )
    assert json.loads(receiver.requests[0].body)["type"] == "test"
    assert churn("test").exit_code == 0
    assert told() == []


def test_a_test_message_says_of_an_address_that_is_none_that_it_cannot_be_sent(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHURN_EVENTS_URL", "http://127.0.0.1:port/top-secret-path")
    get_settings.cache_clear()
    answer = churn("test")
    assert (answer.exit_code, answer.stdout) == (
        1,
        "webhook: it could not be sent (InvalidURL)\nslack: delivered\n",
    )


def test_without_a_target_it_says_what_to_set() -> None:
    answer = churn("test")
    assert answer.exit_code == 1
    assert "CHURN_EVENTS_URL" in answer.stderr

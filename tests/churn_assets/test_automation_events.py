"""The sensor that sends events: where the settings say, and nowhere without them."""

from collections.abc import Iterator

import dagster as dg
import pytest

from churn.settings import get_settings
from churn_assets.automation import events
from tests.kit.events import closed, tell
from tests.kit.webhook_receiver import SECRET, Receiver, receiving

pytestmark = pytest.mark.usefixtures("settings")


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as running:
        monkeypatch.setenv("CHURN_EVENTS_URL", running.url)
        monkeypatch.setenv("CHURN_EVENTS_SECRET", SECRET)
        monkeypatch.setenv("CHURN_EVENTS_RETRY_MINUTES", "0")
        get_settings.cache_clear()
        yield running


def tick() -> str:
    reason = events(dg.SensorEvaluationContext(None, instance=dg.DagsterInstance.ephemeral()))
    assert isinstance(reason, dg.SkipReason)
    return str(reason.skip_message)


def test_without_a_setting_it_sends_nothing() -> None:
    tell(closed(1))
    assert tick() == "nothing is due"


def test_what_is_due_is_sent_and_what_became_of_it_is_said(receiver: Receiver) -> None:
    assert tick() == "nothing is due"
    tell(closed(1))
    receiver.answers = [500, 500]
    assert "answered 500; again at" in tick()
    assert "answered 500; given up" in tick()
    tell(closed(2))
    assert tick().endswith("to webhook: delivered")
    assert len(receiver.requests) == 3
    assert receiver.url not in tick()

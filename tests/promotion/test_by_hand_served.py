"""What is promoted or rolled back by hand, served by the real API under a stream of requests."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import httpx
import pytest
from typer.testing import CliRunner

from api.champion import POLL_SECONDS
from churn.cli.main import app
from churn.contract.in_force import BASELINE, CHAMPION_ALIAS, DEFAULT_SERVICE, REGISTERED_MODEL
from churn.mlflow_client import mlflow_client
from churn.model.tracking import log_model_run
from churn.model.train import fit_baseline
from churn.online.publish import publish
from churn.promotion import by_hand, ledger
from churn.settings import Settings
from feature_repo.store import apply_features
from tests.kit.fitted_models import small_world
from tests.kit.releases import JANUARY
from tests.kit.snapshot_rows import put_profile
from tests.kit.states import State, running_api
from tests.kit.waiting import until

WHY = "tried by hand"


@dataclass
class Stream:
    """Requests without a pause from two threads, and what was answered when."""

    url: str
    answers: list[tuple[float, int, str, float, str]] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        with httpx.Client(base_url=self.url, timeout=120) as client:
            while not self.stopping.is_set():
                answer = client.post("/predict", json={"user_id": "a"})
                body = answer.json()
                self.answers.append(
                    (
                        time.monotonic(),
                        answer.status_code,
                        body.get("model_version", ""),
                        body.get("threshold", 0.0),
                        body.get("feature_service", ""),
                    )
                )

    def wait_for(self, version: str) -> None:
        """Return as soon as one answer is a version's; nothing is written down."""
        with httpx.Client(base_url=self.url, timeout=120) as client:

            def served() -> object:
                return client.post("/predict", json={"user_id": "a"}).json().get("model_version")

            until(lambda: served() == version, every=0.05)

    def wait_for_everybody(self, version: str) -> None:
        """Return as soon as everybody is answered by a version."""
        until(lambda: {answer[2] for answer in self.answers[-8:]} == {version})


@pytest.fixture
def stream(mlflow_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stream]:
    apply_features()
    put_profile(JANUARY, ["a"], monthly_fee=29.85)
    publish(JANUARY)
    told = {
        "CHURN_HOME": str(mlflow_settings.home),
        "POSTGRES_DB": mlflow_settings.postgres_db,
        "MLFLOW_TRACKING_URI": mlflow_settings.mlflow_tracking_uri,
    }
    with running_api(State(told)) as url:
        yield Stream(url)
    mlflow_client().delete_registered_model_alias(REGISTERED_MODEL, CHAMPION_ALIAS)


def test_promote_and_rollback_without_a_failed_request(stream: Stream) -> None:
    rich = fit_baseline(small_world(), DEFAULT_SERVICE, n_estimators=5)
    other = replace(fit_baseline(small_world(seed=1), BASELINE, n_estimators=300), threshold=0.25)
    one, two = (
        log_model_run(fitted, month=JANUARY, fingerprint=name, lineage={}).version
        for name, fitted in (("one", rich), ("two", other))
    )
    by_hand.promote(one, reason=WHY, actor="test")
    stream.wait_for(one)  # an earlier test's champion may be the first that it finds
    threads = [threading.Thread(target=stream.ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        stream.wait_for_everybody(one)
        by_hand.promote(two, reason=WHY, actor="test")
        stream.wait_for_everybody(two)
        by_hand.rollback(reason=WHY, actor="test")
        stream.wait_for_everybody(one)
        until(lambda: len(stream.answers) > 100)
    finally:
        stream.stopping.set()
        for thread in threads:
            thread.join()
    assert {status for _, status, *_ in stream.answers} == {200}
    assert POLL_SECONDS < 5  # what is promised; how long it took here says more of the machine
    # whole: never the threshold or the features of one with the model of the other
    assert {answer[2:] for answer in stream.answers} == {
        (one, 0.5, DEFAULT_SERVICE.versioned_name),
        (two, 0.25, BASELINE.versioned_name),
    }
    assert [e.kind for e in ledger.entries()] == [
        "promotion by hand",
        "promotion by hand",
        "rollback",
    ]
    assert ledger.release_in_force().version == one


@pytest.mark.parametrize("command", [["promote", "1"], ["rollback"]])
def test_the_commands_ask_for_a_reason(command: list[str]) -> None:
    answer = CliRunner().invoke(app, command)
    assert answer.exit_code == 2
    assert "--reason" in answer.output

"""What approvers ask for is done as the commands do it: once, soon, and by the release that was seen."""

import contextlib
import datetime as dt
from collections.abc import Iterator

import pytest

from churn.contract.in_force import DEFAULT_SERVICE, REGISTERED_MODEL
from churn.database import connect
from churn.errors import ChurnError
from churn.mlflow_client import mlflow_client
from churn.model.champion import champion_version
from churn.model.tracking import log_model_run
from churn.model.train import fit_baseline
from churn.promotion import by_hand, ledger
from churn.promotion.cards import card_path
from churn.promotion.ledger import release_in_force
from churn.promotion.requests import LASTS, carry_out_requests
from churn.settings import Settings
from tests.kit.fitted_models import small_world
from tests.kit.releases import JANUARY

WHY = "the new tariff is scored wrongly"
Outcome = tuple[str, str, int | None]


def registered(seed: int) -> str:
    fitted = fit_baseline(small_world(seed=seed), DEFAULT_SERVICE, n_estimators=2)
    return log_model_run(fitted, month=JANUARY, fingerprint=f"{seed}", lineage={}).version


def ask(what: str, version: str = "", seen: str | None = None) -> None:
    """Leave a request as the console's function does."""
    if seen is None:
        release = release_in_force()
        seen = release.release_id if release else ""
    with connect() as connection:
        connection.execute(
            "INSERT INTO console.requests (what, version, seen, reason, person)"
            " VALUES (%s, %s, %s, %s, 'ann')",
            [what, version, seen, WHY],
        )


def carried_out(now: dt.datetime | None = None) -> Outcome:
    """Carry out what waits, and return state, answer and entry of the newest request."""
    carry_out_requests(now=now or dt.datetime.now(dt.UTC))
    with connect() as connection:
        row = connection.execute(
            "SELECT state, answer, seq FROM console.requests ORDER BY request_id DESC LIMIT 1"
        ).fetchone()
    assert row is not None
    return row


def entries() -> list[tuple[str, str, tuple[str, ...]]]:
    return [(each.kind, each.actor, each.reasons) for each in ledger.entries()]


def test_what_is_asked_for_is_done_in_the_name_of_who_asked(mlflow_settings: Settings) -> None:
    assert carry_out_requests(now=dt.datetime.now(dt.UTC)) == []
    one, two = registered(1), registered(2)
    for version in (one, two):
        ask("promote", version)
        state, answer, seq = carried_out()
        assert (state, seq) == ("done", len(ledger.entries()))
        assert f"version {version}" in answer
        assert champion_version() == version
    ask("rollback")
    assert carried_out()[0] == "done"
    assert champion_version() == one
    assert entries() == [
        ("promotion by hand", "ann", (WHY,)),
        ("promotion by hand", "ann", (WHY,)),
        ("rollback", "ann", (WHY,)),
    ]
    assert ledger.verify().is_whole
    ask("rollback")
    state, answer, seq = carried_out()
    assert (state, seq) == ("refused", None)
    assert "there is no release before the one in force" in answer


def test_what_cannot_be_served_is_refused_in_words(mlflow_settings: Settings) -> None:
    one, two = registered(1), registered(2)
    by_hand.promote(one, reason=WHY, actor="test")
    by_hand.promote(two, reason=WHY, actor="test")
    mlflow_client().delete_model_version(REGISTERED_MODEL, one)
    for what, version in (("rollback", ""), ("promote", "999999")):
        ask(what, version)
        state, answer, seq = carried_out()
        assert (state, seq) == ("refused", None)
        assert version in answer
    assert len(ledger.entries()) == 2
    assert champion_version() == two


def test_another_release_than_was_seen_is_left_in_force(mlflow_settings: Settings) -> None:
    one, two = registered(1), registered(2)
    ask("promote", one)
    assert carried_out()[0] == "done"
    for what, version in (("promote", two), ("rollback", "")):
        ask(what, version, seen="0" * 64)
        state, answer, _ = carried_out()
        assert state == "refused"
        assert "not what was seen" in answer or "no release before" in answer
    ask("promote", two, seen="")
    assert carried_out()[0] == "refused"
    assert champion_version() == one


def test_what_waited_too_long_is_dropped(mlflow_settings: Settings) -> None:
    ask("promote", registered(1))
    state, answer, _ = carried_out(dt.datetime.now(dt.UTC) + LASTS + dt.timedelta(minutes=1))
    assert state == "refused"
    assert "not carried out within an hour" in answer
    assert ledger.entries() == []


def test_what_fails_in_passing_waits_and_what_was_done_is_not_done_twice(
    mlflow_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = registered(1)
    ask("promote", one)
    with cut_off(monkeypatch), pytest.raises(ConnectionError):
        carry_out_requests(now=dt.datetime.now(dt.UTC))
    with connect() as connection:
        assert connection.execute("SELECT state FROM console.requests").fetchall() == [("asked",)]
    assert champion_version() is None
    state, _, seq = carried_out()
    assert (state, seq) == ("done", 1)
    assert len(ledger.entries()) == 1
    assert champion_version() == one


def test_a_decision_that_was_cut_off_is_carried_out_by_whoever_asks_again(
    mlflow_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = registered(1), registered(2), registered(3)
    for version in (one, two):
        by_hand.promote(version, reason=WHY, actor="test")
    with cut_off(monkeypatch), pytest.raises(ConnectionError):
        by_hand.promote(three, reason=WHY, actor="test")
    assert champion_version() == two
    with pytest.raises(ChurnError, match="in force already"):
        by_hand.promote(three, reason=WHY, actor="test")
    assert champion_version() == three
    with cut_off(monkeypatch), pytest.raises(ConnectionError):
        by_hand.rollback(reason=WHY, actor="test")
    assert champion_version() == three
    with pytest.raises(ChurnError, match="another version was served"):
        by_hand.rollback(reason=WHY, actor="test")
    # Not one release further back, which is what asking once more would have come to.
    assert champion_version() == two
    assert len(ledger.entries()) == 4
    by_hand.rollback(reason=WHY, actor="test")
    assert champion_version() == one


def test_a_release_that_was_deleted_is_left_by_a_rollback(mlflow_settings: Settings) -> None:
    one, two = registered(1), registered(2)
    for version in (one, two):
        by_hand.promote(version, reason=WHY, actor="test")
    mlflow_client().delete_model_version(REGISTERED_MODEL, two)
    by_hand.rollback(reason=WHY, actor="test")
    assert champion_version() == one


def test_a_card_that_cannot_be_written_holds_up_no_request(
    mlflow_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = registered(1), registered(2)
    by_hand.promote(one, reason=WHY, actor="test")
    mlflow_client().delete_model_version(REGISTERED_MODEL, one)
    before = release_in_force()
    ask("promote", two)
    assert carried_out()[0] == "done"
    assert before is not None
    assert f"the card of release {before.short_id} cannot be written" in caplog.text
    after = release_in_force()
    assert after is not None
    assert card_path(after).exists()
    # The next one is taken.
    ask("promote", one)
    assert carried_out()[0] == "refused"


@contextlib.contextmanager
def cut_off(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a decision fail after it was written and before it is served."""

    def gone(*_: object, **__: object) -> None:
        raise ConnectionError("MLflow is being restarted")

    with monkeypatch.context() as patch:
        patch.setattr(by_hand, "follow_ledger", gone)
        yield

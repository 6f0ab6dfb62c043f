"""What approvers ask for is done as the commands do it: once, soon, and by the release that was seen."""

import datetime as dt

import pytest

from churn.contract.in_force import DEFAULT_SERVICE, REGISTERED_MODEL
from churn.database import connect
from churn.mlflow_client import mlflow_client
from churn.model.champion import champion_version
from churn.model.tracking import log_model_run
from churn.model.train import fit_baseline
from churn.promotion import by_hand, ledger, requests
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
    ask("promote", registered(1))

    def gone(*_: object, **__: object) -> None:
        raise ConnectionError("MLflow is being restarted")

    with monkeypatch.context() as patch:
        patch.setattr(requests, "write_missing_cards", gone)  # after the ledger was written
        with pytest.raises(ConnectionError):
            carry_out_requests(now=dt.datetime.now(dt.UTC))
    with connect() as connection:
        assert connection.execute("SELECT state FROM console.requests").fetchall() == [("asked",)]
    state, _, seq = carried_out()
    assert (state, seq) == ("done", 1)
    assert len(ledger.entries()) == 1

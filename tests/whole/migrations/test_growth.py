"""A contract that grows on a system with data: what is added, what is refused, and who waits for it."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from psycopg import sql

from api.champion import ChampionWatcher
from api.dependencies import Parts
from api.features import StorePart, open_store_reader
from api.main import create_app
from churn import database
from churn.contract.in_force import BY_NAME
from churn.contract.structure import Contract
from churn.database import connect
from churn.database.migrate import applied_contract, bring_up, present_columns
from churn.errors import ChurnError
from churn.online.publish import publish
from churn.settings import get_settings
from feature_repo.store import apply_features
from tests.kit.api_fakes import MemoryRegistry
from tests.kit.grown_contract import GROWN, STREAMFLOW
from tests.kit.snapshot_rows import FEBRUARY, JANUARY, put_profile
from tests.kit.waiting import until

pytestmark = pytest.mark.usefixtures("settings")
USAGE = BY_NAME["usage_agg_30d"]


def grow(contract: Contract = GROWN) -> list[str]:
    with connect() as connection:
        return [change.what for change in bring_up(connection, contract)]


def rows(query: str) -> list[tuple[Any, ...]]:
    with connect() as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def test_what_it_adds_is_there_and_what_was_there_stays() -> None:
    put_profile(JANUARY, ["a", "b"], skips_7d=3)
    publish(JANUARY)
    before = rows(
        "SELECT user_id, as_of, known_at, skips_7d, watch_hours_30d FROM online.users ORDER BY 1"
    )
    assert len(grow()) == 7
    assert grow() == []
    with connect() as connection:
        columns = present_columns(connection)
        assert applied_contract(connection) == (GROWN.fingerprint, GROWN.text)
    for relation in ("raw.usage_agg_30d", USAGE.snapshot):
        assert columns[relation]["stalled_share_30d"] == "double precision"
        assert columns[relation]["skips_7d"] == "double precision"
    assert columns["raw.devices"].keys() == {"delivery_id", "user_id", "smart_tvs"}
    assert columns["online.users"]["stalled_share_30d"] == "real"
    assert rows(
        "SELECT user_id, skips_7d, stalled_share_30d FROM usage_agg_30d_snapshots_current ORDER BY 1"
    ) == [("a", 3.0, None), ("b", 3.0, None)]
    assert rows("SELECT devices_fv, smart_tvs FROM online.users") == [(False, None)] * 2
    assert before == rows(
        "SELECT user_id, as_of, known_at, skips_7d, watch_hours_30d FROM online.users ORDER BY 1"
    )


def test_what_was_there_and_is_no_more_is_refused_and_nothing_is_changed() -> None:
    grow()
    with connect() as connection:
        before = present_columns(connection)
    with pytest.raises(ChurnError) as refused:
        grow(STREAMFLOW)
    told = str(refused.value)
    assert (
        "column stalled_share_30d of table usage_agg_30d is gone: leave it in the contract" in told
    )
    assert "table devices is gone" in told
    assert "is CHURN_CONTRACT another one" in told
    with connect() as connection:
        assert present_columns(connection) == before
        assert applied_contract(connection) == (GROWN.fingerprint, GROWN.text)


def test_another_meaning_of_what_is_there_is_refused() -> None:
    from churn.contract.document import read_contract

    rebuffers = "      rebuffer_events_7d: {"
    first = f"      buffer_share: {{type: float, optional: true}}\n{rebuffers}"
    swapped = read_contract(STREAMFLOW.text.replace(rebuffers, first), "swapped")
    with pytest.raises(ChurnError, match="churn_rich_v1 has other features"):
        grow(swapped)


def test_a_table_that_is_held_is_given_up_and_the_next_try_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put_profile(JANUARY, ["a"])
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 0.0)
    with psycopg.connect(get_settings().dsn()) as long:
        long.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(USAGE.snapshot)))
        with pytest.raises(ChurnError, match=f"{USAGE.snapshot}: it has been held"):
            grow()
        with connect() as connection:
            assert applied_contract(connection) == (STREAMFLOW.fingerprint, STREAMFLOW.text)
            assert "stalled_share_30d" in present_columns(connection)["online.users"]
            assert "stalled_share_30d" not in present_columns(connection)[USAGE.snapshot]
    assert 0 < len(grow()) < 7
    assert grow() == []


def test_a_publication_by_the_contract_of_before_loses_nothing_of_the_users() -> None:
    put_profile(JANUARY, ["a", "b"], skips_7d=3)
    publish(JANUARY)
    grow()
    put_profile(FEBRUARY, ["b"], skips_7d=4)
    publish(FEBRUARY)  # by the contract of this process, which has not grown
    assert rows("SELECT user_id, skips_7d FROM online.users ORDER BY 1") == [("a", 3), ("b", 4)]


@dataclass
class Answers:
    """What many clients were answered."""

    count: Iterator[int] = field(default_factory=itertools.count)
    answered: int = 0
    statuses: set[int] = field(default_factory=set)
    bodies: set[tuple[Any, ...]] = field(default_factory=set)


@contextmanager
def many_clients(app: TestClient) -> Iterator[Answers]:
    """Ask from several threads without a pause."""
    answers, stop = Answers(), threading.Event()

    def ask() -> None:
        while not stop.is_set():
            features = app.get("/features/a")
            prediction = app.post("/predict", json={"user_id": "a"})
            batch = app.post("/predict/batch", json={"user_ids": ["a", "b"]})
            ready = app.get("/health/ready")
            answers.statuses |= {each.status_code for each in (features, prediction, batch, ready)}
            for body, values in (
                (features.json(), features.json().get("features", {})),
                (prediction.json(), prediction.json().get("features_used", {})),
            ):
                answers.bodies.add(
                    (body.get("as_of"), values.get("monthly_fee"), values.get("skips_7d"))
                )
            answers.answered = next(answers.count) * 4

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_every_request_is_answered_while_a_contract_is_applied_and_a_month_published() -> None:
    apply_features()
    put_profile(JANUARY, ["a", "b"], monthly_fee=1.0, skips_7d=1)
    publish(JANUARY)
    put_profile(FEBRUARY, ["a", "b"], monthly_fee=2.0, skips_7d=2)
    registry = MemoryRegistry()
    registry.promote(0.75)

    def parts() -> Parts:
        return Parts(StorePart(open_store_reader), ChampionWatcher(registry, interval=0.01))

    with TestClient(create_app(parts), "http://localhost", raise_server_exceptions=False) as app:
        until(lambda: app.get("/health/ready").status_code == 200)
        with many_clients(app) as answers:
            until(lambda: answers.answered > 40)
            assert len(grow()) == 7
            until(lambda n=answers.answered: answers.answered > n + 40)
            publish(FEBRUARY)
            until(lambda n=answers.answered: answers.answered > n + 40)
    assert answers.statuses == {200}
    assert answers.bodies == {("2024-01-31", 1.0, 1), ("2024-02-29", 2.0, 2)}


def test_a_started_api_serves_what_is_there_where_columns_are_missing() -> None:
    apply_features()
    put_profile(JANUARY, ["a"], monthly_fee=1.0)
    publish(JANUARY)
    with connect() as connection:  # as if its contract had grown, and nobody had migrated yet
        connection.execute(
            "ALTER TABLE online.users DROP COLUMN skips_7d, DROP COLUMN support_agg_90d_fv"
        )
    registry = MemoryRegistry()

    def parts() -> Parts:
        return Parts(StorePart(open_store_reader), ChampionWatcher(registry, interval=0.01))

    with TestClient(create_app(parts), "http://localhost", raise_server_exceptions=False) as app:
        until(lambda: app.get("/health").json()["store"]["ready"])
        answer = app.get("/features/a")
        assert answer.status_code == 200
        assert answer.json()["features"]["monthly_fee"] == 1.0
        assert answer.json()["features"]["skips_7d"] is None
        assert answer.json()["missing_views"] == ["support_agg_90d_fv"]
        with connect() as connection:
            connection.execute("ALTER TABLE online.users RENAME TO gone")
        answer = app.get("/features/a")
        assert answer.status_code == 503
        assert "run `churn init`" in answer.json()["error"]["message"]
        health = app.get("/health")
        assert health.status_code == 200
        assert not health.json()["store"]["ready"]

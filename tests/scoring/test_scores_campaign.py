"""What is saved or published while a month is being scored: the month is scored again, by it."""

import datetime as dt

import psycopg
import pyarrow as pa
import pytest
from psycopg import sql

from churn.database import connect
from churn.database.copying import copy_in
from churn.errors import ChurnError
from churn.retry import is_passing
from churn.scoring.campaigns import campaign_of_month, save_campaign
from churn.scoring.scores import Scored, score_month, scored_from
from tests.kit.planned_months import defaults, saved
from tests.kit.snapshot_rows import LATER
from tests.kit.stored_months import FakeRegistry, put_lake, released
from tests.kit.watched_months import model_of, month, world

USERS, SEED = 600, 35
JANUARY = month(0)


@pytest.fixture(autouse=True)
def lake(settings: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A month that a release can score, by a formula."""
    put_lake(JANUARY, world(1, USERS, SEED)[0])
    released(JANUARY.shift(-2))
    registry = FakeRegistry(model_of(USERS, SEED))
    monkeypatch.setattr("churn.scoring.scores.ReleaseRegistry", lambda: registry)


def test_a_campaign_saved_meanwhile_is_used_when_the_month_is_scored_again() -> None:
    def save_meanwhile(_: Scored) -> None:
        saved(JANUARY, budget=0.0)

    with pytest.raises(ChurnError, match="a campaign was saved while") as refused:
        score_month(JANUARY, judge=save_meanwhile)
    assert is_passing(refused.value)
    assert scored_from() == {}
    rows = score_month(JANUARY).rows
    assert rows.num_rows == USERS
    assert not any(rows["is_action"].to_pylist())


def test_a_correction_published_meanwhile_is_not_taken_for_what_was_scored() -> None:
    publish(JANUARY.as_of)

    def publish_meanwhile(_: Scored) -> None:
        publish(LATER)

    with pytest.raises(ChurnError, match="a correction was published while") as refused:
        score_month(JANUARY, judge=publish_meanwhile)
    assert is_passing(refused.value)
    assert scored_from() == {}
    score_month(JANUARY)
    assert scored_from()[JANUARY][0] == LATER


def publish(known_at: dt.datetime) -> None:
    """Put down that a version of the month is published."""
    with connect() as connection:
        connection.execute(
            "INSERT INTO online.publications (as_of, known_at, users, fingerprint, contract)"
            " VALUES (%s, %s, 1, 'of the rows', 'of the contract')",
            [JANUARY.as_of, known_at],
        )


def test_while_scores_are_kept_no_campaign_can_be_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    def copy_while_another_saves(
        connection: psycopg.Connection, table: sql.Identifier, rows: pa.Table
    ) -> None:
        with connect() as another:
            another.execute("SET lock_timeout = '50ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                save_campaign(another, JANUARY, defaults(), reason="late", actor="test")
            another.rollback()
        copy_in(connection, table, rows)

    monkeypatch.setattr("churn.scoring.scores.copy_in", copy_while_another_saves)
    score_month(JANUARY)
    with connect() as connection:
        assert campaign_of_month(connection, JANUARY) is None
    with pytest.raises(ChurnError, match="is there already"):
        saved(JANUARY)

import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from churn.database import connect
from churn.database.init import create_schema
from churn.promotion import ledger
from churn.settings import Settings
from tests.kit.releases import JANUARY, draft, release, written

ONE, TWO = release("one"), release("two", JANUARY.next)


@pytest.fixture
def chain(settings: Settings) -> None:
    written(
        draft(JANUARY, ONE.release_id),
        draft(JANUARY.next),
        draft(JANUARY.shift(2), TWO.release_id, champion=ONE.release_id),
        draft(JANUARY.shift(3), reasons=("ein Grund: größer",)),
        kept=(ONE, TWO),
    )


def as_superuser(*statements: str) -> None:
    with connect() as connection:
        connection.execute("SET session_replication_role = replica")  # triggers do not fire
        for statement in statements:
            connection.execute(statement)


def test_what_was_written_is_read_back(settings: Settings) -> None:
    entries = written(draft(JANUARY, ONE.release_id), draft(None), kept=(ONE,))
    assert ledger.entries() == entries
    assert [entry.seq for entry in entries] == [1, 2]
    assert entries[1].previous_hash == entries[0].hash
    assert entries[0].evidence == {"auc": 0.1 + 0.2, "nothing": None}
    assert ledger.releases() == {ONE.release_id: ONE}
    assert ledger.verify() == ledger.Verification(2)


def test_an_empty_ledger_is_whole_and_nothing_is_in_force(settings: Settings) -> None:
    assert ledger.verify().is_whole
    assert ledger.release_in_force(JANUARY.as_of) is None


@pytest.mark.usefixtures("chain")
def test_a_release_is_in_force_from_its_instant_on() -> None:
    tick = dt.timedelta(microseconds=1)
    assert ledger.release_in_force(JANUARY.matures_at - tick) is None
    assert ledger.release_in_force(JANUARY.matures_at) == ONE
    assert ledger.release_in_force(JANUARY.next.matures_at) == ONE
    assert ledger.release_in_force(JANUARY.shift(2).matures_at) == TWO
    assert ledger.release_in_force() == TWO


@pytest.mark.usefixtures("chain")
@pytest.mark.parametrize("table", ["ledger", "releases"])
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM decisions.{}",
        "TRUNCATE decisions.{} CASCADE",
        "UPDATE decisions.ledger SET entry = entry",
        "UPDATE decisions.releases SET version = '9'",
    ],
)
def test_nothing_is_ever_changed(table: str, statement: str) -> None:
    with (
        pytest.raises(psycopg.errors.RestrictViolation, match="is append-only"),
        connect() as connection,
    ):
        connection.execute(statement.format(table))
    assert ledger.verify() == ledger.Verification(4)


def test_making_the_schema_again_keeps_the_guard(chain: None) -> None:
    with connect() as connection:
        create_schema(connection)
    test_nothing_is_ever_changed("ledger", "DELETE FROM decisions.{}")


@pytest.mark.usefixtures("chain")
@pytest.mark.parametrize(
    ("statement", "broken", "problem"),
    [
        (
            "UPDATE decisions.ledger SET entry = replace(entry, 'said so', 'said no') WHERE seq = 2",
            2,
            "its text is not the one that was sealed",
        ),
        ("DELETE FROM decisions.ledger WHERE seq = 1", 1, "missing"),
        ("DELETE FROM decisions.ledger WHERE seq = 3", 3, "missing; the next one there is 4"),
        (
            "UPDATE decisions.ledger SET previous_hash = repeat('0', 64) WHERE seq = 4",
            4,
            "does not follow",
        ),
        ("UPDATE decisions.ledger SET hash = repeat('a', 64) WHERE seq = 3", 3, "sealed"),
        ("UPDATE decisions.releases SET threshold = .1 WHERE service <> ''", 1, "was altered"),
        ("DELETE FROM decisions.releases", 1, "is gone"),
    ],
)
def test_what_a_superuser_alters_is_named(statement: str, broken: int, problem: str) -> None:
    as_superuser(statement)
    verification = ledger.verify()
    assert (verification.is_whole, verification.broken) == (False, broken)
    assert problem in verification.problem


@pytest.mark.usefixtures("chain")
def test_an_entry_sealed_again_breaks_the_next_one() -> None:
    with connect() as connection:
        [(text, before)] = connection.execute(
            "SELECT entry, previous_hash FROM decisions.ledger WHERE seq = 2"
        ).fetchall()
    forged = text.replace("said so", "said no")
    from churn.promotion.entry import seal

    as_superuser(
        f"UPDATE decisions.ledger SET entry = '{forged}', hash = '{seal(forged, before)}'"
        " WHERE seq = 2"
    )
    assert ledger.verify().broken == 3


def test_many_at_once_are_one_chain(settings: Settings) -> None:
    def add(number: int) -> None:
        written(draft(JANUARY.shift(number)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(12)))
    assert ledger.verify() == ledger.Verification(12)


def test_the_same_release_is_kept_once(settings: Settings) -> None:
    again = release("one", version="7")
    assert again.release_id == ONE.release_id
    written(kept=(ONE, again))
    assert ledger.releases() == {ONE.release_id: ONE}


ALTERED: dict[str, Callable[[], object]] = {
    "threshold": lambda: 0.25,
    "service": lambda: "churn_baseline",
    "calibration": lambda: "sigmoid",
    "as_of": lambda: JANUARY.next.as_of_date,
    "fingerprint": lambda: "other",
    "onnx_sha256": lambda: "b" * 64,
    "schema_sha256": lambda: "c" * 64,
}


@pytest.mark.parametrize("name", ALTERED)
def test_another_part_is_another_release(name: str) -> None:
    assert release("one", **{name: ALTERED[name]()}).release_id != ONE.release_id

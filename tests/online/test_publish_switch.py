"""The switch to the next table: what readers and other publications notice of it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from churn import database
from churn.contract.in_force import VIEWS
from churn.database import connect
from churn.database.online_tables import PRESENT
from churn.errors import ChurnError
from churn.online.publish import Publication, publish
from churn.online.read import CONNECTION, online_state, read_rows
from churn.settings import get_settings
from tests.kit.snapshot_rows import FEBRUARY, JANUARY, LATER, MARCH, put_profile
from tests.kit.waiting import until

pytestmark = pytest.mark.usefixtures("settings")


def content() -> list[tuple]:
    with connect() as connection:
        return connection.execute("SELECT * FROM online.users ORDER BY user_id").fetchall()


def tables() -> list[str]:
    with connect() as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'online'::regnamespace"
            " AND relkind = 'r' ORDER BY relname"
        )
        return [row[0] for row in rows]


def test_publishing_twice_changes_nothing_and_leaves_nothing() -> None:
    there_before = tables()
    put_profile(JANUARY, ["a", "b"])
    put_profile(FEBRUARY, ["a"])
    publish(JANUARY)
    first = publish(FEBRUARY)
    before = content()
    assert publish(FEBRUARY) == first
    assert content() == before
    assert tables() == there_before
    with connect() as connection:
        assert connection.execute("SELECT count(*) FROM online.publications").fetchone() == (2,)


def test_what_a_killed_publication_left_is_made_away_with() -> None:
    there_before = tables()
    put_profile(JANUARY, ["a"])
    with connect() as connection:
        connection.execute("CREATE TABLE online.next_users (something int)")
    publish(JANUARY)
    assert tables() == there_before
    assert len(content()) == 1


def test_a_publication_that_is_refused_is_never_given_to_readers() -> None:
    put_profile(JANUARY, ["a", "b"], monthly_fee=1.0)
    put_profile(FEBRUARY, ["b"], monthly_fee=2.0)
    publish(JANUARY)
    before, there_before, seen = content(), tables(), []

    def refuse(publication: Publication, table: str) -> None:
        state = online_state(FEBRUARY, table)
        seen.append((publication.users, state.behind, state.mixed))
        assert online_state(FEBRUARY).behind == 1  # what readers have meanwhile
        raise ChurnError("refused")

    with pytest.raises(ChurnError, match="refused"):
        publish(FEBRUARY, refuse)
    assert seen == [(1, 0, 0)]
    assert content() == before
    assert tables() == there_before
    with connect() as connection:
        assert connection.execute("SELECT count(*) FROM online.publications").fetchone() == (1,)
    publish(FEBRUARY)
    assert online_state(FEBRUARY).behind == 0


def test_a_month_of_which_everybody_is_online_with_a_newer_one_is_judged_as_it_is_served() -> None:
    put_profile(JANUARY, ["a"])
    put_profile(FEBRUARY, ["a"])
    publish(FEBRUARY)
    judged: list[str] = []
    publish(JANUARY, lambda _, table: judged.append(table))
    assert judged == [PRESENT]


def test_publications_at_once_end_as_one_after_the_other() -> None:
    put_profile(JANUARY, ["a", "b", "c"], monthly_fee=1.0)
    put_profile(FEBRUARY, ["b", "c"], monthly_fee=2.0)
    put_profile(MARCH, ["c"], monthly_fee=3.0)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(publish, [MARCH, JANUARY, FEBRUARY, JANUARY]))
    assert [one.users for one in done] == [1, 3, 2, 3]
    assert [row[:2] for row in content()] == [
        ("a", JANUARY.as_of),
        ("b", FEBRUARY.as_of),
        ("c", MARCH.as_of),
    ]


def test_a_prepared_read_goes_on_over_publications() -> None:
    put_profile(JANUARY, ["a"], monthly_fee=1.0)
    put_profile(FEBRUARY, ["a"], monthly_fee=2.0)
    with psycopg.connect(get_settings().dsn(), **CONNECTION) as connection:
        for month, fee in ((JANUARY, 1.0), (FEBRUARY, 2.0), (FEBRUARY, 2.0)):
            publish(month)
            newest, [row] = read_rows(connection, ["a"], VIEWS)
            assert (newest, row.as_of, row.values["monthly_fee"]) == (month.as_of, month.as_of, fee)


def test_readers_pass_while_the_switch_waits_for_a_long_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 3600.0)
    put_profile(JANUARY, ["a"])
    put_profile(FEBRUARY, ["a"])
    publish(JANUARY)
    dsn = get_settings().dsn()
    with psycopg.connect(dsn) as long, psycopg.connect(dsn, **CONNECTION) as other:
        long.execute("SELECT count(*) FROM online.users")
        publication = threading.Thread(target=publish, args=[FEBRUARY])
        publication.start()
        until(lambda: "next_users" in tables())  # built, and waiting
        # A read that waited for the switch would wait for `long`, which ends below: it would never come.
        other.execute("SET statement_timeout = '300s'")
        for _ in range(20):
            assert read_rows(other, ["a"], VIEWS)[1][0].as_of == JANUARY.as_of
        assert publication.is_alive()
        long.rollback()
        publication.join(300)
        assert read_rows(other, ["a"], VIEWS)[1][0].as_of == FEBRUARY.as_of


def test_a_switch_that_waits_in_vain_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 0.0)
    put_profile(JANUARY, ["a"])
    with psycopg.connect(get_settings().dsn()) as long:
        long.execute("SELECT count(*) FROM online.users")
        with pytest.raises(ChurnError, match="held in one transaction"):
            publish(JANUARY)
        assert content() == []
        long.rollback()
    publish(JANUARY)
    assert len(content()) == 1


def test_a_version_known_later_is_not_replaced_by_an_earlier_one() -> None:
    put_profile(JANUARY, ["a", "b"], monthly_fee=1.0)
    put_profile(JANUARY, ["a", "b"], known_at=LATER, monthly_fee=2.0)
    publish(JANUARY)
    with connect() as connection:  # as if somebody had put a still newer version of one user online
        connection.execute(
            "UPDATE online.users SET known_at = known_at + interval '1 day', monthly_fee = 3"
            " WHERE user_id = 'a'"
        )
    done = publish(JANUARY)
    assert (done.published, done.kept) == (1, 1)
    with connect() as connection:
        fees = connection.execute("SELECT user_id, monthly_fee FROM online.users ORDER BY 1")
        assert fees.fetchall() == [("a", 3.0), ("b", 2.0)]

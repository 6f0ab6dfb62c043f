import datetime as dt
import itertools
import threading

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from churn.contract.in_force import VIEWS
from churn.database import connect
from churn.errors import ChurnError
from churn.online.publish import publish
from churn.online.read import newest_publication, online_state
from churn.settings import Settings
from tests.kit.snapshot_rows import FEBRUARY, JANUARY, LATER, MARCH, put, put_profile, write_month
from tests.kit.streamflow import USAGE

pytestmark = pytest.mark.usefixtures("settings")


def fees() -> dict[str, tuple[float, str]]:
    with connect() as connection:
        rows = connection.execute(
            "SELECT user_id, monthly_fee, as_of::date::text FROM online.users WHERE subs_profile_fv"
        )
        return {row[0]: (row[1], row[2]) for row in rows}


def test_an_older_month_never_replaces_a_newer_one() -> None:
    put_profile(JANUARY, ["a", "b"], monthly_fee=10.0)
    put_profile(FEBRUARY, ["a", "c"], monthly_fee=20.0)
    publish(FEBRUARY)
    late = publish(JANUARY)
    assert fees() == {
        "a": (20.0, "2024-02-29"),
        "b": (10.0, "2024-01-31"),
        "c": (20.0, "2024-02-29"),
    }
    assert (late.users, late.published, late.kept) == (2, 1, 1)
    with connect() as connection:
        assert newest_publication(connection) == FEBRUARY.as_of


@pytest.mark.parametrize("order", list(itertools.permutations([JANUARY, FEBRUARY, MARCH])))
def test_any_order_of_months_ends_in_the_same_state(order) -> None:
    put_profile(JANUARY, ["a", "b", "c"], monthly_fee=1.0)
    put_profile(FEBRUARY, ["b", "c"], monthly_fee=2.0)
    put_profile(MARCH, ["c", "d"], monthly_fee=3.0)
    for month in order:
        publish(month)
    assert fees() == {
        "a": (1.0, "2024-01-31"),
        "b": (2.0, "2024-02-29"),
        "c": (3.0, "2024-03-31"),
        "d": (3.0, "2024-03-31"),
    }
    assert all(online_state(m).behind == online_state(m).mixed == 0 for m in order)


def test_a_correction_replaces_and_withdraws() -> None:
    put_profile(JANUARY, ["a", "b"], monthly_fee=1.0)
    put_profile(FEBRUARY, ["a", "b", "c"], monthly_fee=2.0)
    publish(JANUARY)
    publish(FEBRUARY)
    put_profile(FEBRUARY, ["a"], known_at=LATER, withdrawn=["b", "c"], monthly_fee=9.0)
    done = publish(FEBRUARY)
    assert done.withdrawn == 2
    # b was there in January and is back at it; c never was, and is gone
    assert fees() == {"a": (9.0, "2024-02-29"), "b": (1.0, "2024-01-31")}
    assert online_state(FEBRUARY).mixed == 0


def test_a_view_without_a_row_for_a_user_keeps_none_of_last_month() -> None:
    put_profile(JANUARY, ["a"])
    publish(JANUARY)
    put_profile(FEBRUARY, ["a"])
    with connect() as connection:
        connection.execute("DELETE FROM usage_agg_30d_snapshots WHERE as_of = %s", [FEBRUARY.as_of])
    put(USAGE, FEBRUARY, ["z"])
    write_month(FEBRUARY)
    publish(FEBRUARY)
    with connect() as connection:
        row = connection.execute(
            "SELECT user_id, watch_hours_30d FROM online.users WHERE usage_agg_30d_fv"
        ).fetchall()
    assert row == [("z", 1.5)]
    assert online_state(FEBRUARY).mixed == 0


def test_publishing_refuses_a_lake_that_is_behind_its_snapshot() -> None:
    put_profile(JANUARY, ["a"])
    put(USAGE, JANUARY, ["a"], known_at=LATER)
    with pytest.raises(ChurnError, match="materialize usage_agg_30d_fv for 2024-01-01 first"):
        publish(JANUARY)
    assert fees() == {}


def test_readers_see_one_version_in_every_view_while_publications_run() -> None:
    users = [f"u{n:03d}" for n in range(200)]
    for month, fee in ((JANUARY, 1.0), (FEBRUARY, 2.0)):
        put_profile(month, users, monthly_fee=fee)
    publish(JANUARY)
    query = (
        "SELECT count(*), count(DISTINCT (as_of, monthly_fee)), min(as_of) FROM online.users"
        " WHERE subs_profile_fv"
    )
    writer = threading.Thread(target=lambda: [publish(FEBRUARY) for _ in range(5)])
    writer.start()
    seen = []
    while writer.is_alive() or not seen:
        with connect() as connection:
            seen.append(connection.execute(query).fetchone())
    writer.join()
    assert {row[:2] for row in seen} == {(len(users), 1)}
    assert [row[2] for row in seen] == sorted(row[2] for row in seen)


@hypothesis_settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    present=st.lists(st.sets(st.sampled_from("abcde"), min_size=1), min_size=3, max_size=3),
    order=st.permutations([0, 1, 2]),
)
def test_everyone_is_online_with_the_newest_month_that_names_them(
    settings: Settings, present: list[set[str]], order: list[int]
) -> None:
    months = [JANUARY, FEBRUARY, MARCH]
    forget_everything()
    for month, users in zip(months, present, strict=True):
        put_profile(month, sorted(users))
    for index in order:
        publish(months[index])
    expected = {
        user: str(months[max(i for i in range(3) if user in present[i])].as_of_date)
        for user in set().union(*present)
    }
    assert {user: as_of for user, (_, as_of) in fees().items()} == expected


@hypothesis_settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    present=st.lists(st.sets(st.sampled_from("abcd"), min_size=1), min_size=2, max_size=2),
    corrected=st.sets(st.sampled_from("abcd"), min_size=1),
    which=st.sampled_from([0, 1]),
    order=st.permutations([0, 1, 0, 1]),
)
def test_after_a_correction_everyone_is_where_the_newest_versions_put_them(
    settings: Settings,
    present: list[set[str]],
    corrected: set[str],
    which: int,
    order: list[int],
) -> None:
    months = [JANUARY, FEBRUARY]
    forget_everything()
    for month, users in zip(months, present, strict=True):
        put_profile(month, sorted(users), monthly_fee=1.0)
        publish(month)
    withdrawn = sorted(present[which] - corrected)
    put_profile(
        months[which], sorted(corrected), known_at=LATER, withdrawn=withdrawn, monthly_fee=2.0
    )
    for index in order:
        publish(months[index])
    now = [corrected if index == which else users for index, users in enumerate(present)]
    newest = {user: max(i for i in (0, 1) if user in now[i]) for user in set().union(*now)}
    assert fees() == {
        user: (2.0 if index == which else 1.0, str(months[index].as_of_date))
        for user, index in newest.items()
    }
    assert all(online_state(month).behind == online_state(month).mixed == 0 for month in months)


def forget_everything() -> None:
    with connect() as connection:
        connection.execute("TRUNCATE online.users, online.publications")
        for view in VIEWS:
            connection.execute(f"TRUNCATE {view.table.snapshot}")


def test_as_of_is_the_last_microsecond_of_the_month() -> None:
    assert dt.datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=dt.UTC) == FEBRUARY.as_of

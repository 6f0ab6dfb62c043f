import datetime as dt
import itertools

import pytest
from psycopg import sql

from churn.database import connect
from churn.database.partitions import exists, new_partition, raw_partition, snapshot_partition
from churn.errors import ChurnError
from churn.warehouse.snapshots import SnapshotMonth, build_snapshot, current_rows
from tests.kit.snapshot_rows import FEBRUARY, JANUARY, LATER
from tests.kit.streamflow import PAYMENTS

pytestmark = pytest.mark.usefixtures("settings")
STILL_LATER = LATER + dt.timedelta(days=1)


def raw(users: dict[str, int], known_at: dt.datetime, month=JANUARY) -> None:
    """Put one loaded delivery of payments into the raw tables."""
    with connect() as connection:
        row = connection.execute(
            "INSERT INTO raw.deliveries (month, file, sha256, fingerprint, rows, accepted_at,"
            " known_at, stored_path) VALUES (%s, 'payments_agg_90d', %s, %s, %s, %s, %s, 'x')"
            " RETURNING delivery_id",
            [month.first_day, "0" * 64, str(sorted(users.items())), len(users), known_at, known_at],
        ).fetchone()
        partition = raw_partition(PAYMENTS, row[0])
        parent = sql.Identifier("raw", PAYMENTS.name)
        with new_partition(connection, partition, parent, row[0]), connection.cursor() as cursor:
            cursor.executemany(
                sql.SQL("INSERT INTO {} VALUES (%s, %s, %s)").format(partition),
                [(row[0], user, count) for user, count in users.items()],
            )


def rows(name: str = "payments_agg_90d_snapshots") -> list[tuple]:
    with connect() as connection:
        return connection.execute(
            f"SELECT user_id, known_at, is_withdrawn, failed_payments_90d FROM {name}"
            " ORDER BY user_id, known_at"
        ).fetchall()


def test_a_version_is_added_once_and_rebuilding_changes_nothing() -> None:
    raw({"a": 1, "b": 2}, JANUARY.as_of)
    first = build_snapshot(JANUARY, PAYMENTS)
    before = rows()
    assert build_snapshot(JANUARY, PAYMENTS) == first
    assert rows() == before
    assert (first.rows, first.withdrawn, first.versions) == (2, 0, (JANUARY.as_of,))


def test_a_correction_keeps_the_old_version_and_withdraws_whom_it_does_not_name() -> None:
    raw({"a": 1, "b": 2}, JANUARY.as_of)
    build_snapshot(JANUARY, PAYMENTS)
    raw({"a": 7, "c": 3}, LATER)
    built = build_snapshot(JANUARY, PAYMENTS)
    assert (built.rows, built.withdrawn) == (2, 1)
    assert rows() == [
        ("a", JANUARY.as_of, False, 1),
        ("a", LATER, False, 7),
        ("b", JANUARY.as_of, False, 2),
        ("b", LATER, True, None),
        ("c", LATER, False, 3),
    ]
    current = {user: value for user, _, _, value in rows("payments_agg_90d_snapshots_current")}
    assert current == {"a": 7, "c": 3}


def test_a_user_who_is_withdrawn_may_come_back() -> None:
    for users, known_at in (
        ({"a": 1, "b": 2}, JANUARY.as_of),
        ({"a": 1}, LATER),
        ({"a": 1, "b": 9}, STILL_LATER),
    ):
        raw(users, known_at)
    built = build_snapshot(JANUARY, PAYMENTS)  # three versions at once, as in a rebuild
    assert (built.rows, built.withdrawn, len(built.versions)) == (2, 0, 3)
    assert [(k, w, v) for u, k, w, v in rows() if u == "b"] == [
        (JANUARY.as_of, False, 2),
        (LATER, True, None),
        (STILL_LATER, False, 9),
    ]


def test_versions_may_be_added_in_any_order() -> None:
    """A file that could not be read at first is loaded after those that were known later."""
    versions = [{"a": 1, "b": 2, "c": 3}, {"b": 4, "d": 5}, {"a": 6, "d": 7}, {"a": 8, "b": 9}]
    snapshots = []
    for number, order in enumerate(itertools.permutations(range(len(versions)))):
        month = JANUARY.shift(number)
        for version in order:
            raw(versions[version], month.as_of + dt.timedelta(days=version), month)
            build_snapshot(month, PAYMENTS)
        with connect() as connection:
            snapshots.append(
                connection.execute(
                    "SELECT user_id, known_at - as_of, is_withdrawn, failed_payments_90d"
                    " FROM payments_agg_90d_snapshots WHERE as_of = %s ORDER BY user_id, known_at",
                    [month.as_of],
                ).fetchall()
            )
    in_order, *others = snapshots
    assert [each for each in others if each != in_order] == []


def test_what_is_refused_before_the_commit_leaves_all_as_it_was() -> None:
    def refuse(snapshot: SnapshotMonth) -> None:
        raise ChurnError(f"{snapshot.rows} rows, {snapshot.withdrawn} withdrawn")

    raw({"a": 1, "b": 2}, JANUARY.as_of)
    with pytest.raises(ChurnError, match="2 rows, 0 withdrawn"):
        build_snapshot(JANUARY, PAYMENTS, refuse)
    with connect() as connection:
        assert not exists(connection, snapshot_partition(PAYMENTS, JANUARY))
    build_snapshot(JANUARY, PAYMENTS)
    before = rows()
    raw({"a": 7}, LATER)
    with pytest.raises(ChurnError, match="1 rows, 1 withdrawn"):
        build_snapshot(JANUARY, PAYMENTS, refuse)
    assert rows() == before


def test_months_do_not_touch_each_other() -> None:
    raw({"a": 1}, JANUARY.as_of)
    raw({"b": 2}, FEBRUARY.as_of, FEBRUARY)
    build_snapshot(JANUARY, PAYMENTS)
    build_snapshot(FEBRUARY, PAYMENTS)
    assert (current_rows(JANUARY, PAYMENTS), current_rows(FEBRUARY, PAYMENTS)) == (1, 1)
    assert not any(withdrawn for _, _, withdrawn, _ in rows())


def test_a_month_without_raw_rows_says_what_to_do() -> None:
    with pytest.raises(ChurnError, match="materialize payments_agg_90d for 2024-01-01 first"):
        build_snapshot(JANUARY, PAYMENTS)


def test_nothing_can_be_known_before_its_month_has_closed() -> None:
    import psycopg

    raw({"a": 1}, JANUARY.as_of - dt.timedelta(days=1))
    with pytest.raises(psycopg.errors.CheckViolation):
        build_snapshot(JANUARY, PAYMENTS)

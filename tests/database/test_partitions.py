import psycopg
import pytest
from psycopg import sql

from churn.database import connect
from churn.database.partitions import exists, new_partition, snapshot_partition
from tests.kit.snapshot_rows import FEBRUARY, JANUARY
from tests.kit.streamflow import PAYMENTS

pytestmark = pytest.mark.usefixtures("settings")
PARENT = sql.Identifier(PAYMENTS.snapshot)
INSERT = sql.SQL("INSERT INTO {} (user_id, as_of, known_at) VALUES (%s, %s, %s)")


def fill(*rows: tuple[object, ...]) -> None:
    partition = snapshot_partition(PAYMENTS, JANUARY)
    with (
        connect() as connection,
        new_partition(connection, partition, PARENT, JANUARY.as_of),
        connection.cursor() as cursor,
    ):
        cursor.executemany(INSERT.format(partition), rows)


def count() -> int:
    with connect() as connection:
        row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(PARENT)).fetchone()
    assert row is not None
    return int(row[0])


def test_a_partition_is_part_of_the_whole_with_its_keys() -> None:
    fill(("a", JANUARY.as_of, JANUARY.as_of), ("b", JANUARY.as_of, JANUARY.as_of))
    assert count() == 2
    with pytest.raises(psycopg.errors.UniqueViolation), connect() as connection:
        connection.execute(INSERT.format(PARENT), ["a", JANUARY.as_of, JANUARY.as_of])


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ([("a", JANUARY.as_of, JANUARY.as_of)] * 2, psycopg.errors.UniqueViolation),
        ([("a", FEBRUARY.as_of, FEBRUARY.as_of)], psycopg.errors.CheckViolation),  # another month
        ([("a", JANUARY.as_of, JANUARY.shift(-1).as_of)], psycopg.errors.CheckViolation),
        ([(None, JANUARY.as_of, JANUARY.as_of)], psycopg.errors.NotNullViolation),
    ],
)
def test_rows_that_break_a_rule_of_the_whole_leave_nothing(
    rows: list[tuple[object, ...]], error: type[psycopg.Error]
) -> None:
    with pytest.raises(error):
        fill(*rows)
    assert count() == 0
    with connect() as connection:
        assert not exists(connection, snapshot_partition(PAYMENTS, JANUARY))

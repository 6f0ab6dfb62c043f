"""What is odd about a drop: warnings with counts, never blocking."""

from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from churn.contract.tables import BY_NAME, SUBSCRIPTIONS, SUPPORT, USERS, Column, Table
from churn.deliveries.agreement import absent
from churn.deliveries.problems import Oddity
from churn.months import Month

_STREAMS = ("plan_stream_tv", "plan_stream_movies")


def oddities(tables: Mapping[str, pa.Table], month: Month) -> list[Oddity]:
    """Return what is odd about the typed rows of a month.

    Args:
        tables: table name to its rows; any of the six may be absent, and what needs it is passed over.
        month: the month that the rows describe.
    """
    found: list[Oddity] = []
    for name, rows in tables.items():
        for column in BY_NAME[name].values:
            found += _of_column(BY_NAME[name], column, rows)
    if SUBSCRIPTIONS.name in tables:
        found += _of_subscriptions(tables[SUBSCRIPTIONS.name])
    if SUPPORT.name in tables:
        found += _of_support(tables[SUPPORT.name])
    if USERS.name in tables:
        found += _of_users(tables, month)
    return [oddity for oddity in found if oddity.count]


def _of_column(table: Table, column: Column, rows: pa.Table) -> Iterator[Oddity]:
    values = rows[column.name]
    count = rows.num_rows
    if values.null_count == count:
        if not column.optional:
            yield Oddity(table.file, column.name, "blank throughout", count, count)
        return
    blank = values.null_count
    if column.name in _STREAMS:
        blank = _count(pc.and_(pc.is_null(values), pc.invert(_without_internet(rows))))
    yield Oddity(table.file, column.name, "blank", blank, count)
    if count > 1 and pc.count_distinct(values).as_py() == 1:
        what = f"one constant value ({pc.drop_null(values)[0].as_py()})"
        yield Oddity(table.file, column.name, what, count - values.null_count, count)
    if column.expected:
        for entry in pc.value_counts(values).to_pylist():
            if entry["values"] not in (None, *column.expected):
                what = f"unexpected value {entry['values']!r}"
                yield Oddity(table.file, column.name, what, entry["counts"], count)


def _of_subscriptions(rows: pa.Table) -> Iterator[Oddity]:
    file, count = SUBSCRIPTIONS.file, rows.num_rows
    for name in _STREAMS:
        blank = _count(pc.and_(pc.is_null(rows[name]), _without_internet(rows)))
        yield Oddity(file, name, "blank where net_service is No (unknown, not False)", blank, count)
    fresh = pc.and_(pc.equal(rows["months_active"], 0), pc.equal(rows["total_paid"], 0))
    yield Oddity(file, "months_active", "0, and total_paid is 0 too", _count(fresh), count)


def _of_support(rows: pa.Table) -> Iterator[Oddity]:
    hours = "ticket_avg_resolution_hrs_90d"
    idle = pc.and_(pc.equal(rows["support_tickets_90d"], 0), pc.is_valid(rows[hours]))
    yield Oddity(SUPPORT.file, hours, "filled for users without tickets", _count(idle), len(rows))


def _of_users(tables: Mapping[str, pa.Table], month: Month) -> Iterator[Oddity]:
    users = tables[USERS.name]
    for name, rows in tables.items():
        if name != USERS.name:
            missing = absent(rows["user_id"], users["user_id"])
            what = "users of users.csv without a row here"
            yield Oddity(BY_NAME[name].file, "user_id", what, missing, users.num_rows)
    late = _count(pc.greater(users["signup_date"], pa.scalar(month.as_of_date)))
    yield Oddity(USERS.file, "signup_date", f"after {month.as_of_date}", late, users.num_rows)
    if SUBSCRIPTIONS.name in tables:
        subscriptions = tables[SUBSCRIPTIONS.name].select(["user_id", "months_active"])
        both = users.select(["user_id", "signup_date"]).join(
            subscriptions, "user_id", join_type="inner"
        )
        what = "contradicts months_active by more than a month"
        wrong = _count(_contradicts_tenure(both, month))
        yield Oddity(USERS.file, "signup_date", what, wrong, both.num_rows)


def _contradicts_tenure(rows: pa.Table, month: Month) -> pa.ChunkedArray:
    end = month.as_of_date
    signed = rows["signup_date"]
    years = pc.subtract(pa.scalar(end.year, pa.int64()), pc.year(signed))
    months = pc.add(
        pc.multiply(years, 12), pc.subtract(pa.scalar(end.month, pa.int64()), pc.month(signed))
    )
    return pc.greater(pc.abs(pc.subtract(months, rows["months_active"])), 1)


def _without_internet(rows: pa.Table) -> pa.ChunkedArray:
    return pc.fill_null(pc.equal(rows["net_service"], "No"), False)


def _count(mask: pa.ChunkedArray) -> int:
    return pc.sum(mask).as_py() or 0

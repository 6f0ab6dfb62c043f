"""What is odd about a drop: warnings with counts, never blocking."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from churn.contract.tables import SUBSCRIPTIONS, SUPPORT, USERS, Column, Table
from churn.deliveries.agreement import Users, missing
from churn.deliveries.problems import Oddity
from churn.months import Month
from churn.row_order import ByUser

_FAR = 20  # times the third quartile of what is above zero: no tail of a real column goes there
_FEWEST = 20  # values above zero, from which on a quartile says something
_LOOK = 10_000  # values that are looked at first
_STREAMS = ("plan_stream_tv", "plan_stream_movies")


def oddities(table: Table, rows: pa.Table, month: Month) -> list[Oddity]:
    """Return what is odd about the typed rows of one file by itself."""
    found: list[Oddity] = []
    for column in table.values:
        found += _of_column(table, column, rows)
    if table is SUBSCRIPTIONS:
        found += _of_subscriptions(rows)
    if table is SUPPORT:
        found += _of_support(rows)
    if table is USERS:
        late = _count(pc.greater(rows["signup_date"], pa.scalar(month.as_of_date)))
        what = f"after {month.as_of_date}"
        found.append(Oddity(USERS.file, "signup_date", what, late, rows.num_rows))
    return [oddity for oddity in found if oddity.count]


def oddities_beside(users: Users, table: Table, file: ByUser, month: Month) -> list[Oddity]:
    """Return what is odd about one file beside the month's users, where these come from one file."""
    if users.signup_date is None:
        return []
    alike = users.are_those_of(file)
    absent = 0 if alike else len(missing(users.ids, file.ids))
    what = "users of users.csv without a row here"
    found = [Oddity(table.file, "user_id", what, absent, len(users.ids))]
    if table is SUBSCRIPTIONS:
        months_active, signed = file.sorted("months_active"), users.signup_date
        if not alike:
            signed = signed.take(pc.index_in(file.ids, value_set=users.ids))
        wrong = _count(_contradicts_tenure(signed, months_active, month))
        what = "contradicts months_active by more than a month"
        both = len(users.ids) - absent
        found.append(Oddity(USERS.file, "signup_date", what, wrong, both))
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
    smallest, largest = _bounds(values)
    if count > 1 and smallest == largest:
        what = f"one constant value ({smallest})"
        yield Oddity(table.file, column.name, what, count - values.null_count, count)
    if column.kind in {"int", "float"}:
        yield from _of_outliers(table, column, rows, largest)
    if column.expected:
        for entry in pc.value_counts(values).to_pylist():
            if entry["values"] not in (None, *column.expected):
                what = f"unexpected value {entry['values']!r}"
                yield Oddity(table.file, column.name, what, entry["counts"], count)


def _of_outliers(table: Table, column: Column, rows: pa.Table, largest: float) -> Iterator[Oddity]:
    """Yield the values that lie far above what nearly everybody has, the largest with its user.

    The quartile is of values above zero, since most users have no failed payment at all; outliers, be
    there a few of them or a tenth, hardly move it.
    """
    values = rows[column.name]
    step = 1 + len(values) // _LOOK
    some = _above_zero(values.take(pa.array(range(0, len(values), step))) if step > 1 else values)
    if len(some) >= _FEWEST and largest <= _FAR / 2 * pc.quantile(some, 0.75)[0].as_py():
        return  # as in most files: a look at some of the values says so
    above = _above_zero(values)
    if len(above) < _FEWEST:
        return
    bound = _FAR * pc.quantile(above, 0.75)[0].as_py()
    if largest <= bound:
        return
    far = _count(pc.greater(values, bound))
    user = rows["user_id"][pc.index(values, largest).as_py()].as_py()
    what = f"far above all others (above {bound:,.0f}), the largest {largest:,} of user {user}"
    yield Oddity(table.file, column.name, what, far, rows.num_rows)


def _above_zero(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return values.filter(pc.fill_null(pc.greater(values, 0), False))


def _bounds(values: pa.ChunkedArray) -> tuple[Any, Any]:
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    bounds = pc.min_max(values).as_py()
    return bounds["min"], bounds["max"]


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


def _contradicts_tenure(
    signed: pa.ChunkedArray, months_active: pa.ChunkedArray, month: Month
) -> pa.ChunkedArray:
    end = month.as_of_date
    years = pc.subtract(pa.scalar(end.year, pa.int64()), pc.year(signed))
    months = pc.add(
        pc.multiply(years, 12), pc.subtract(pa.scalar(end.month, pa.int64()), pc.month(signed))
    )
    return pc.greater(pc.abs(pc.subtract(months, months_active)), 1)


def _without_internet(rows: pa.Table) -> pa.ChunkedArray:
    return pc.fill_null(pc.equal(rows["net_service"], "No"), False)


def _count(mask: pa.ChunkedArray) -> int:
    return pc.sum(mask).as_py() or 0

"""What is odd about a drop: warnings with counts, which never block it."""

import atexit
import functools
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from churn.contract.in_force import CONTRACT, USERS
from churn.contract.structure import Column, OddityRule, Table
from churn.deliveries.problems import Oddity
from churn.deliveries.rules import Users, missing
from churn.deliveries.selects import MEMORY_BYTES
from churn.errors import ChurnError
from churn.fingerprint import ByUser
from churn.months import Month

if TYPE_CHECKING:
    import duckdb

# An outlier is this many times the third quartile of the values above zero. No tail of a real column
# reaches so far.
_FAR = 20
# A quartile of fewer values above zero means little.
_FEWEST = 20
# How many values are sampled first.
_LOOK = 10_000
# How long one of the contract's expressions may take: over a million rows they need less than a second.
_SECONDS = 60.0


def oddities(table: Table, rows: pa.Table, month: Month) -> list[Oddity]:
    """Return what is odd about the typed rows of one file, seen by itself."""
    rules = [
        rule for rule in CONTRACT.oddities if rule.table == table.name and not _is_beside(rule)
    ]
    counts = dict(zip(rules, _counts(rules, rows, None, month), strict=True))
    explained = {rule.column: count for rule, count in counts.items() if rule.explains_blanks}
    by_column: list[Oddity] = []
    for column in table.values:
        by_column += _of_column(table, column, rows, explained.get(column.name, 0))
    by_rule = [
        Oddity(table.shown_file, rule.column, _text(rule, month), count, rows.num_rows)
        for rule, count in counts.items()
        if count > rule.share * rows.num_rows
    ]
    return [oddity for oddity in (*by_column, *by_rule) if oddity.count]


def oddities_beside(users: Users, table: Table, file: ByUser, month: Month) -> list[Oddity]:
    """Return what is odd about one file compared with the month's users, where these come from one file."""
    if users.file is None:
        return []
    absent = 0 if users.are_those_of(file) else len(missing(users.ids, file.ids))
    what = f"users of {USERS.shown_file} without a row here"
    beside = [Oddity(table.shown_file, "user_id", what, absent, len(users.ids))]
    rules = [rule for rule in CONTRACT.oddities if rule.table == table.name and _is_beside(rule)]
    counts = _counts(rules, file.rows, users.file.rows, month)
    both = len(users.ids) - absent
    for rule, count in zip(rules, counts, strict=True):
        if count > rule.share * both:
            where = USERS if rule.is_of_users else table
            beside.append(Oddity(where.shown_file, rule.column, _text(rule, month), count, both))
    return [oddity for oddity in beside if oddity.count]


def _is_beside(rule: OddityRule) -> bool:
    """Return whether a rule compares a row with the user's row in the population table."""
    return "users." in rule.when


def _text(rule: OddityRule, month: Month) -> str:
    return rule.text.replace("{as_of}", month.as_of_date.isoformat())


def _counts(
    rules: Sequence[OddityRule], rows: pa.Table, users: pa.Table | None, month: Month
) -> list[int]:
    """Return for how many rows each rule holds.

    DuckDB evaluates the contract's expressions; it sees these rows, but neither files nor the network.

    Raises:
        ChurnError: a rule is not an expression over the columns of these rows.
    """
    if not rules:
        return []
    with _engine(MEMORY_BYTES).cursor() as cursor:
        # What is registered is seen by this cursor alone, and only as long as it is open.
        cursor.register("delivered", rows)
        source = "delivered"
        if users is not None:
            cursor.register("users", users)
            source = "delivered JOIN users USING (user_id)"
        return [_counted(cursor, rule, source, month) for rule in rules]


@functools.cache
def _engine(memory_bytes: int) -> "duckdb.DuckDBPyConnection":
    """Return this process's engine; to make one takes longer than to count the rows of most files."""
    import duckdb

    config = {"threads": 1, "enable_external_access": False, "memory_limit": f"{memory_bytes}B"}
    engine = duckdb.connect(":memory:", config=config)
    engine.execute("SET lock_configuration = true")
    # DuckDB's bindings complain, on stderr, of a connection that outlives the interpreter.
    atexit.register(_engine.cache_clear)
    return engine


def _counted(
    cursor: "duckdb.DuckDBPyConnection", rule: OddityRule, source: str, month: Month
) -> int:
    """Return for how many rows a rule holds; one that takes too long is interrupted."""
    import duckdb

    query = (
        f"SELECT count(*) FILTER (WHERE {rule.when})"  # noqa: S608 - the contract's own
        f" FROM {source} CROSS JOIN (SELECT ?::DATE AS as_of)"
    )
    end = threading.Timer(_SECONDS, cursor.interrupt)
    end.start()
    try:
        row = cursor.execute(query, [month.as_of_date]).fetchone()
    except duckdb.Error as error:
        what = f"cannot be computed: {error}"
        if isinstance(error, duckdb.InterruptException):
            what = f"did not end within {_SECONDS:g} s"
        elif isinstance(error, duckdb.OutOfMemoryException):
            what = "needs more memory than it may have"
        raise ChurnError(
            f"an oddity of {rule.table} {what}",
            where=f"contract {CONTRACT.name}, oddities, when: {rule.when}",
            remedy="correct its `when` in the contract: SQL over the columns of the table",
        ) from error
    finally:
        end.cancel()
    return int(row[0]) if row else 0


def _of_column(
    table: Table, column: Column, rows: pa.Table, explained_blanks: int
) -> Iterator[Oddity]:
    values = rows[column.name]
    count = rows.num_rows
    if values.null_count == count:
        if not column.optional:
            yield Oddity(table.shown_file, column.name, "blank throughout", count, count)
        return
    blank = values.null_count - explained_blanks
    yield Oddity(table.shown_file, column.name, "blank", blank, count)
    smallest, largest = _bounds(values)
    if count > 1 and smallest == largest:
        what = f"one constant value ({smallest})"
        yield Oddity(table.shown_file, column.name, what, count - values.null_count, count)
    if column.kind in {"int", "float"}:
        yield from _of_outliers(table, column, rows, largest)
    if column.expected:
        for entry in pc.value_counts(values).to_pylist():
            if entry["values"] not in (None, *column.expected):
                what = f"unexpected value {entry['values']!r}"
                yield Oddity(table.shown_file, column.name, what, entry["counts"], count)


def _of_outliers(table: Table, column: Column, rows: pa.Table, largest: float) -> Iterator[Oddity]:
    """Yield an oddity where values lie far above what nearly everybody has, with the user of the largest.

    The quartile is that of the values above zero, since most users have no failed payment at all. Outliers
    hardly move it, whether they are a few or a tenth of the values.
    """
    values = rows[column.name]
    step = 1 + len(values) // _LOOK
    some = _above_zero(values.take(pa.array(range(0, len(values), step))) if step > 1 else values)
    if len(some) >= _FEWEST and largest <= _FAR / 2 * pc.quantile(some, 0.75)[0].as_py():
        # The sample settles it, as in most files.
        return
    above = _above_zero(values)
    if len(above) < _FEWEST:
        return
    bound = _FAR * pc.quantile(above, 0.75)[0].as_py()
    if largest <= bound:
        return
    far = _count(pc.greater(values, bound))
    user = rows["user_id"][pc.index(values, largest).as_py()].as_py()
    what = f"far above all others (above {bound:,.0f}), the largest {largest:,} of user {user}"
    yield Oddity(table.shown_file, column.name, what, far, rows.num_rows)


def _above_zero(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return values.filter(pc.fill_null(pc.greater(values, 0), False))


def _bounds(values: pa.ChunkedArray) -> tuple[Any, Any]:
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    bounds = pc.min_max(values).as_py()
    return bounds["min"], bounds["max"]


def _count(mask: pa.ChunkedArray) -> int:
    return pc.sum(mask).as_py() or 0

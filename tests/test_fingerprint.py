import datetime as dt
import hashlib
import math
import struct

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.deliveries.read_csv import read_csv
from churn.errors import ChurnError
from churn.fingerprint import fingerprint
from tests.kit.small_drop import FILES
from tests.kit.streamflow import SUBSCRIPTIONS

SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("at", pa.timestamp("us", tz="UTC")),
        ("flag", pa.bool_()),
        ("count", pa.int64()),
        ("fee", pa.float64()),
        ("rate", pa.float32()),
        ("day", pa.date32()),
        ("text", pa.string()),
    ]
)
INSTANTS = st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC))
CELLS = {
    "flag": st.booleans(),
    "count": st.integers(-(2**63), 2**63 - 1),
    "fee": st.floats(allow_nan=False),
    "rate": st.floats(allow_nan=False, width=32),
    "day": st.dates(dt.date(1900, 1, 1), dt.date(2199, 12, 31)),
    "text": st.text(max_size=6),
}
ROW = st.fixed_dictionaries({name: st.none() | cells for name, cells in CELLS.items()})


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    keys = draw(
        st.lists(st.tuples(st.text(max_size=3), INSTANTS), min_size=1, max_size=8, unique=True)
    )
    rows = [{"user_id": user, "at": at, **draw(ROW)} for user, at in keys]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def of(table: pa.Table) -> str:
    return fingerprint(table, key=["user_id", "at"])


@given(tables(), st.data())
def test_order_of_rows_and_columns_and_chunks_do_not_matter(table: pa.Table, data: st.DataObject):
    order = data.draw(st.permutations(range(table.num_rows)))
    names = data.draw(st.permutations(table.column_names))
    cut = data.draw(st.integers(0, table.num_rows))
    moved = table.take(order).select(names)
    chunked = pa.concat_tables([moved.slice(0, cut), moved.slice(cut)])
    assert of(chunked) == of(table)


@given(tables(), st.data())
def test_any_other_cell_changes_it(table: pa.Table, data: st.DataObject):
    rows = table.to_pylist()
    row = data.draw(st.sampled_from(rows))
    name = data.draw(st.sampled_from(sorted(CELLS)))
    other = data.draw((st.none() | CELLS[name]).filter(lambda cell: cell != row[name]))
    row[name] = other
    assert of(pa.Table.from_pylist(rows, schema=SCHEMA)) != of(table)


@given(tables())
def test_arrow_types_of_the_same_content_do_not_matter(table: pa.Table):
    large = table.set_column(7, "text", table["text"].cast(pa.large_string()))
    encoded = table.set_column(7, "text", table["text"].dictionary_encode())
    assert of(large) == of(encoded) == of(table)


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=5), st.data())
def test_the_spelling_of_numbers_does_not_matter(fees: list[float], data: st.DataObject):
    header = FILES["subscriptions.csv"].splitlines()[0]
    spell = data.draw(st.sampled_from([repr, lambda x: f"{x:.30f}", lambda x: f"0{x!r}"]))

    def csv(write: object) -> bytes:
        rows = [f"u{i},1,,,,,{write(fee)},,No" for i, fee in enumerate(fees)]  # type: ignore[operator]
        return "\n".join([header, *rows, ""]).encode()

    plain, spelled = (read_csv(csv(write), SUBSCRIPTIONS).rows for write in (repr, spell))
    if plain["monthly_fee"] == spelled["monthly_fee"]:  # 30 decimals do not hold the tiniest
        assert fingerprint(plain) == fingerprint(spelled)
    assert fingerprint(plain) == fingerprint(plain.take(list(reversed(range(len(fees))))))


def test_a_known_table_keeps_its_fingerprint_for_ever():
    # Written down so that a new Arrow, NumPy or platform that moves it is noticed.
    table = pa.table(
        {
            "user_id": ["b", "a", "ä"],
            "fee": pa.array([1.5, None, -0.0], pa.float64()),
            "rate": pa.array([0.1, math.nan, None], pa.float32()),
            "count": pa.array([1, None, -3], pa.int64()),
            "flag": pa.array([True, None, False]),
            "day": pa.array([dt.date(2024, 1, 31), None, dt.date(1969, 12, 31)]),
            "at": pa.array([dt.datetime(2024, 1, 31, 23, 59, 59, 999999, dt.UTC)] * 3),
        }
    )
    assert fingerprint(table) == "0757046db18e628435377762cef7899e9944ad8c338d4111ad657cf01e8e4d71"


def test_the_canonical_bytes_written_out():
    table = pa.table({"user_id": ["bb", "a"], "n": pa.array([-2, None], pa.int32())})
    written = (
        b"churn fingerprint 1\n2 rows, 2 columns\n"
        b"1:n int32\n" + b"\x00\x01" + struct.pack("<ii", 0, -2)
    ) + (b"7:user_id string\n" + b"\x01\x01" + struct.pack("<qq", 1, 2) + b"abb")
    assert fingerprint(table) == hashlib.sha256(written).hexdigest()


def column(*cells: object, kind: pa.DataType | None = None) -> str:
    users = [str(index) for index in range(len(cells))]
    return fingerprint(pa.table({"user_id": users, "x": pa.array(cells, kind)}))


def test_null_is_none_of_the_values_that_stand_in_for_it():
    assert len({column(None, kind=pa.int64()), column(0, kind=pa.int64())}) == 2
    assert len({column(None, kind=pa.string()), column("")}) == 2
    assert len({column(None, kind=pa.bool_()), column(False)}) == 2
    assert len({column(None, kind=pa.float64()), column(0.0), column(math.nan)}) == 3


def test_text_does_not_run_into_its_neighbour():
    assert column("ab", "c") != column("a", "bc")
    assert column("a", None) != column(None, "a")


def test_one_zero_and_one_nan():
    assert column(0.0) == column(-0.0)
    odd_nan = pa.array([0x7FF8000000000001], pa.uint64()).view(pa.float64())
    assert column(math.nan) == fingerprint(pa.table({"user_id": ["0"], "x": odd_nan}))


def test_name_and_type_are_content():
    kinds = (pa.int32(), pa.int64(), pa.float32(), pa.float64())
    assert len({column(1, kind=kind) for kind in kinds}) == 4
    table = pa.table({"user_id": ["a"], "x": [1]})
    assert fingerprint(table) != fingerprint(table.rename_columns(["user_id", "y"]))


def test_a_slice_is_what_it_shows():
    table = pa.table({"user_id": ["a", "b", "c"], "x": ["p", None, "r"], "y": [True, None, False]})
    again = pa.Table.from_pylist(table.slice(1).to_pylist(), schema=table.schema)
    assert fingerprint(table.slice(1)) == fingerprint(again)
    assert fingerprint(table.slice(0, 0)) != fingerprint(table.slice(0, 1))


def test_keys_that_do_not_tell_the_rows_apart():
    with pytest.raises(ChurnError, match="two rows share one key"):
        fingerprint(pa.table({"user_id": ["a", "b", "a"], "x": [1, 2, 3]}))
    with pytest.raises(ChurnError, match="1 rows have no user_id"):
        fingerprint(pa.table({"user_id": ["a", None]}))


def test_a_type_without_canonical_bytes():
    with pytest.raises(TypeError, match="no canonical bytes"):
        fingerprint(pa.table({"user_id": ["a"], "x": [[1]]}))

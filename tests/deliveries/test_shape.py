import csv
import datetime as dt
import io
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as property_of
from hypothesis import strategies as st

from churn.contract.in_force import BY_NAME, TABLES, USERS
from churn.contract.structure import Column, Dialect, Table
from churn.deliveries.problems import Problem
from churn.deliveries.rules import load
from churn.deliveries.shape import as_delivered, shape
from churn.fingerprint import fingerprint
from tests.kit.reshaped_files import GERMAN, renamed, reshaped
from tests.kit.small_drop import FILES
from tests.kit.streamflow import PAYMENTS, SUBSCRIPTIONS, USAGE

DIALECTS = st.builds(
    Dialect,
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16"]),
    decimal=st.sampled_from([".", ","]),
    thousands=st.sampled_from(["", " ", "'"]),
    true_words=st.sampled_from([("True",), ("1",), ("yes", "YES")]),
    false_words=st.sampled_from([("False",), ("0",), ("no",)]),
    null_words=st.sampled_from([("",), ("NULL", "n/a"), ("-",)]),
    date_formats=st.sampled_from([("%Y-%m-%d",), ("%d/%m/%Y",), ("%Y-%m-%d", "%Y%m%d")]),
) | st.just(Dialect(format="parquet"))
NUMBERS = st.floats(0, 700, allow_nan=False) | st.sampled_from([0.1, 29.85, 1e-7, 123.0])


def _bounded(texts: dict[str, st.SearchStrategy[str]], column: Column) -> st.SearchStrategy[str]:
    """Return texts of a column's kind; numbers between its own bounds where these are narrow."""
    if column.kind in ("int", "float") and column.maximum is not None and column.maximum < 700:
        return st.integers(0, int(column.maximum)).map(str)
    return texts[column.kind]


@st.composite
def canonical_files(draw: st.DrawFn) -> tuple[Table, str]:
    """Draw the text of one canonical file, of any table, with blanks, quotes and commas in it."""
    table = draw(st.sampled_from(TABLES))
    texts = {
        "string": st.sampled_from(["Female", "No", "a, b;c|d", 'say "x"', "é", ""]),
        "date": st.dates(dt.date(1990, 1, 1), dt.date(2030, 1, 1)).map(dt.date.isoformat),
        "bool": st.sampled_from(["True", "False"]),
        "int": st.integers(0, 1200).map(str),
        "float": NUMBERS.map(str),
    }
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.name for column in table.columns])
    for user in range(draw(st.integers(1, 6))):
        values = [
            draw(
                _bounded(texts, column)
                if column.required
                else _bounded(texts, column) | st.just("")
            )
            for column in table.values
        ]
        writer.writerow([f"u{user}", *values])
    return table, out.getvalue()


@property_of(max_examples=40)
@given(canonical_files(), DIALECTS, st.booleans())
def test_a_file_in_another_shape_is_the_same_file_to_the_last_bit(
    file: tuple[Table, str], dialect: Dialect, packed: bool
) -> None:
    table, text = file
    other = renamed(table, dialect)
    shaped = shape(reshaped(text, other, packed=packed), other, "export")
    assert shaped.problems == ()
    assert shaped.content is not None
    expected, problems = load(text.encode(), table)
    assert problems == []
    assert expected.rows is not None
    reading, problems = load(shaped.content, table)
    assert problems == []
    assert reading.rows is not None
    assert reading.rows.equals(expected.rows)
    assert expected.by_user is not None
    order = expected.by_user.order
    assert fingerprint(reading.rows, order=order) == fingerprint(expected.rows, order=order)


def test_a_whole_drop_of_another_country() -> None:
    for table in TABLES:
        other = renamed(table, GERMAN)
        shaped = shape(reshaped(FILES[table.file], other), other, "x")
        assert shaped.problems == ()
        expected = load(FILES[table.file].encode(), table)[0].rows
        assert load(shaped.content or b"", table)[0].rows == expected


def problems_of(text: str | bytes, table: Table) -> list[tuple[int | None, str, str, str, str]]:
    """Return (row, column, value, what, remedy) of everything that is wrong with a file."""
    content = text.encode(table.dialect.encoding) if isinstance(text, str) else text
    shaped = shape(content, table, "export.csv")
    problems: list[Problem] = list(shaped.problems)
    if shaped.content is not None and not problems:
        problems += as_delivered(load(shaped.content, table)[1], table, "export.csv")
    assert {problem.file for problem in problems} == {"export.csv"}
    return [(p.row, p.column, p.value, p.what, p.remedy) for p in problems]


PAID = replace(
    PAYMENTS,
    columns=(
        replace(PAYMENTS.columns[0], source="Kunde"),
        replace(PAYMENTS.columns[1], source="Rück  lastschriften"),
    ),
    dialect=GERMAN,
)


def test_a_text_that_is_none_of_the_dialect_is_not_guessed_at() -> None:
    # 1.5 is no number with a decimal comma, and 1.000 is a thousand, not one.
    text = 'Kunde;rück lastschriften\na;1.000\n\n"b\nb";7\nc;1.5\nd;k. A.\n'
    assert problems_of(text, PAID) == [
        (6, "Rück  lastschriften", "1.5", "is not a whole number",
         "write digits only, blank means unknown"),
    ]  # fmt: skip
    fee = renamed(SUBSCRIPTIONS, GERMAN, "")
    spoiled = reshaped(FILES["subscriptions.csv"], fee).replace(b"56,95", b"56.95")
    assert problems_of(spoiled, fee) == [
        (3, "monthly_fee", "56.95", "is not a number", "write it as 29,85, blank means unknown")
    ]
    people = renamed(USERS, GERMAN, "")
    spoiled = reshaped(FILES["users.csv"], people).replace(b"05.12.2023", b"2023-12-05")
    spoiled = spoiled.replace(b"nein", b"False", 1)
    assert problems_of(spoiled, people) == [
        (2, "signup_date", "2023-12-05", "is not a date", "write it as 31.01.2024, blank means unknown"),
        (2, "user_is_senior", "False", "is not a boolean", "write ja or nein, blank means unknown"),
    ]  # fmt: skip


def test_what_the_rules_say_is_said_of_the_delivered_file() -> None:
    # Lines stay those of the delivered file, whatever is blank or broken before them.
    text = 'Kunde;Rück  lastschriften\n\n"a";1\n\nb;-3\nb;12,5\n'
    assert problems_of(text, PAID) == [
        (6, "Rück  lastschriften", "12.5", "is not a whole number",
         "write digits only, blank means unknown"),
        (5, "Kunde", "b", "stands in several rows", "keep one row per user"),
        (6, "Kunde", "b", "stands in several rows", "keep one row per user"),
        (5, "Rück  lastschriften", "-3", "is not between 0 and 2,147,483,647", "correct the value"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Kunde;Menge\na;1\n", [
            (1, "Rück  lastschriften", "", "the column is missing",
             "add it, or correct its source in the contract"),
            (1, "Menge", "", "is not a column of this table", "remove it, or name it in the contract"),
        ]),
        ("Kunde;Rück  lastschriften;KUNDE\na;1;b\n", [
            (1, "kunde", "", "the column stands 2 times", "keep one of them"),
        ]),
        ("Kunde;Rück  lastschriften\na;1;2\nb;1\n", [
            (2, "", "", "the row has 3 values where the header has 2",
             "give it one value per column; a value with a separator in it stands in quotes"),
        ]),
        ("", [(None, "", "", "the file is empty", "export it again")]),
        ("Kunde;Rück  lastschriften\n", [
            (None, "", "", "the file has a header but no rows to read", "export it again"),
        ]),
        ('Kunde;Rück  lastschriften\na;1\n"b;2\n', [
            (2, "", "", "the quoting is broken after this row (unexpected end of data)",
             'close the quote, or write a quote inside a value as ""'),
        ]),
        (b"Kunde;R\x81ck\n", [
            (1, "", "byte 0x81", "is not cp1252",
             "save it as cp1252, or correct the encoding in the contract"),
        ]),
        (b"\x1f\x8b" + bytes(20), [
            (None, "", "", "the gzip file is broken: Unknown compression method", "compress it again"),
        ]),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_shaped(text: str | bytes, expected: list[object]) -> None:
    assert problems_of(text, PAID) == expected


def test_a_file_of_before_its_source_was_renamed_is_still_read() -> None:
    fee = renamed(SUBSCRIPTIONS, Dialect())
    shaped = shape(FILES["subscriptions.csv"].encode(), fee, "x")
    assert shaped.problems == ()
    expected = load(FILES["subscriptions.csv"].encode(), SUBSCRIPTIONS)[0].rows
    assert load(shaped.content or b"", SUBSCRIPTIONS)[0].rows == expected


def parquet(**columns: pa.Array) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def test_a_column_is_never_read_for_another_one() -> None:
    amount = Column("amount", "int", source="Amount EUR", optional=True)
    total = Column("total", "int", source="Amount")
    table = Table("sums", "sums_snapshots", (USERS.columns[0], amount, total))
    assert shape(b"user_id,Amount\na,7\n", table, "sums").content == b"user_id,total\na,7\n"


def test_files_of_before_call_a_column_by_its_earlier_name() -> None:
    price = Column("price", "float", source="Preis", earlier_sources=("Betrag",))
    table = Table("prices", "prices_snapshots", (USERS.columns[0], price))
    for name in ("Preis", "Betrag"):
        shaped = shape(f"user_id,{name}\na,7.5\n".encode(), table, "prices")
        assert shaped.content == b"user_id,price\na,7.5\n"


def test_a_parquet_file_of_other_types() -> None:
    table = replace(USAGE, dialect=Dialect(format="parquet", decimal=",", true_words=("1",)))
    content = parquet(
        user_id=pa.array([1, 2], pa.int32()),
        watch_hours_30d=pa.array([0.1, 1e-7], pa.float32()),
        avg_session_mins_7d=pa.array(["12,5", ""]),
        unique_devices_30d=pa.array([3.0, float("nan")]),
        skips_7d=pa.array([4, None], pa.int8()),
        rebuffer_events_7d=pa.array([1, 2], pa.decimal128(5, 2)),
    )
    shaped = shape(content, table, "usage.parquet")
    assert shaped.problems == ()
    header, *rows = (shaped.content or b"").decode().splitlines()
    assert header == ",".join(column.name for column in USAGE.columns if not column.optional)
    assert rows == ["1,0.1,12.5,3.0,4,1.00", "2,0.0000001,,,,2.00"]


def test_words_for_unknown_hold_for_typed_values_too() -> None:
    dialect = Dialect(
        format="parquet", decimal=",", null_words=("", "-1", "-9,5", "1900-01-01", "True")
    )
    usage = parquet(
        user_id=pa.array(["a", "b"]),
        watch_hours_30d=pa.array([-1.0, 1.5], pa.float32()),
        avg_session_mins_7d=pa.array([-9.5, 19.5]),
        unique_devices_30d=pa.array([-1, 11]),
        skips_7d=pa.array([1, -1]),
        rebuffer_events_7d=pa.array([1, None]),
    )
    shaped = shape(usage, replace(USAGE, dialect=dialect), "usage.parquet")
    assert shaped.problems == ()
    assert (shaped.content or b"").decode().splitlines()[1:] == ["a,,,,1,1", "b,1.5,19.5,11,,"]
    users = parquet(
        user_id=pa.array(["a", "b"]),
        signup_date=pa.array([dt.datetime(1900, 1, 1, 12), dt.datetime(2023, 7, 28)]),
        user_gender=pa.array(["-1", "Male"]),
        user_is_senior=pa.array([True, False]),
        has_family=pa.array([False, None]),
        has_dependents=pa.array([False, False]),
    )
    shaped = shape(users, replace(USERS, dialect=dialect), "users.parquet")
    assert shaped.problems == ()
    assert (shaped.content or b"").decode().splitlines()[1:] == [
        "a,,,,False,False", "b,2023-07-28,Male,False,,False"
    ]  # fmt: skip


def test_a_parquet_file_of_instants_and_of_lists() -> None:
    table = replace(USERS, dialect=Dialect(format="parquet", true_words=("1",), false_words=("0",)))
    when = pa.array([dt.datetime(2023, 7, 28, 3), None], pa.timestamp("us"))
    columns = {
        "user_id": pa.array(["a", "b"]),
        "signup_date": when,
        "user_gender": pa.array(["Male", None]).dictionary_encode(),
        "user_is_senior": pa.array([1, 0]),
        "has_family": pa.array([True, None]),
        "has_dependents": pa.array(["0", "1"]),
    }
    shaped = shape(parquet(**columns), table, "users.parquet")
    assert shaped.problems == ()
    assert (shaped.content or b"").decode().splitlines()[1:] == [
        "a,2023-07-28,Male,True,True,False",
        "b,,,False,,True",
    ]
    lists = parquet(**{**columns, "has_family": pa.array([[True], []])})
    (problem,) = shape(lists, table, "users.parquet").problems
    assert (problem.column, problem.what[:25]) == ("has_family", "holds values of the type ")
    (problem,) = shape(b"PAR1", table, "users.parquet").problems
    assert problem.what.startswith("is not a Parquet file that can be read")
    assert BY_NAME["users"] is USERS

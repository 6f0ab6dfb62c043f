import datetime as dt

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from psycopg import sql

from churn.database import connect
from churn.database.copying import copy_in, copy_out
from churn.settings import Settings

SCHEMA = pa.schema(
    [
        ("t", pa.string()),
        ("i", pa.int64()),
        ("f", pa.float64()),
        ("b", pa.bool_()),
        ("d", pa.date32()),
    ]
)
TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=8
)
ROW = st.tuples(
    st.none() | TEXT,
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.booleans(),
    st.none() | st.dates(dt.date(1900, 1, 1), dt.date(2199, 1, 1)),
)


@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROW, min_size=1, max_size=6))
def test_what_is_copied_in_comes_out_the_same(settings: Settings, rows: list) -> None:
    columns = [list(values) for values in zip(*rows, strict=True)]
    table = pa.table([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], SCHEMA)
    numbered = table.append_column("n", pa.array(range(len(rows)), pa.int64()))
    with connect() as connection:
        connection.execute(
            "CREATE TEMP TABLE probe (t text, i bigint, f double precision, b boolean, d date, n bigint)"
        )
        copy_in(connection, sql.Identifier("probe"), numbered, chunk_rows=2)
        query = sql.SQL("SELECT t, i, f, b, d FROM probe ORDER BY n")
        assert copy_out(connection, query, SCHEMA).equals(table)
        connection.execute("DROP TABLE probe")


def test_an_empty_text_is_refused_since_it_would_come_out_as_null(settings: Settings) -> None:
    with connect() as connection:
        connection.execute("CREATE TEMP TABLE probe (t text)")
        with pytest.raises(ValueError, match="empty text"):
            copy_in(connection, sql.Identifier("probe"), pa.table({"t": [""]}))


def test_no_rows_keep_their_types(settings: Settings) -> None:
    with connect() as connection:
        query = sql.SQL("SELECT 'x' AS t, 1, 1.0, true, DATE '2024-01-01' WHERE false")
        table = copy_out(connection, query, SCHEMA)
    assert (table.num_rows, table.schema) == (0, SCHEMA)

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from churn.contract.in_force import TABLES
from churn.contract.structure import CANONICAL, Dialect, Table
from churn.deliveries.problems import Problem
from churn.deliveries.rules import load
from churn.deliveries.selects import select, tables_read
from churn.deliveries.texts import read_texts
from tests.kit.reshaped_files import GERMAN, renamed, text_in
from tests.kit.small_drop import FILES, JANUARY
from tests.kit.streamflow import PAYMENTS, USAGE, USERS

EVENTS = "who,day,kind\na,2024-01-03,failed\na,2024-01-31,failed\nb,2024-01-09,paid\nc,,failed\n"


def selected(sql: str, table: Table = PAYMENTS, **bounds: float) -> str:
    """Return the canonical text of a select over EVENTS, or what it is refused with."""
    shaped = select(
        replace(table, select=sql),
        {"events": (read_texts(EVENTS.encode(), CANONICAL, "events.csv"), CANONICAL)},
        JANUARY,
        **bounds,  # type: ignore[arg-type]
    )
    if shaped.problems:
        (problem,) = shaped.problems
        assert problem.file == "payments_agg_90d (select)"
        assert problem.remedy
        return problem.what
    return (shaped.content or b"").decode()


def test_events_become_a_month_s_figures() -> None:
    sql = """
        SELECT who AS user_id, count(*) FILTER (WHERE kind = 'failed'
            AND CAST(day AS DATE) > as_of() - 15 AND month(first_day()) = 1) AS failed_payments_90d
        FROM events GROUP BY who ORDER BY who DESC"""
    assert selected(sql) == "user_id,failed_payments_90d\nc,0\nb,0\na,1\n"
    assert tables_read(replace(PAYMENTS, select=sql)) == {"events"}


@pytest.mark.parametrize(
    ("sql", "reads"),
    [
        ("WITH e AS (FROM events) SELECT * FROM e JOIN other USING (x)", {"events", "other"}),
        ("FROM a SELECT (SELECT max(x) FROM b) WHERE EXISTS (SELECT 1 FROM c)", {"a", "b", "c"}),
        ("SELECT 1 UNION ALL SELECT x FROM d", {"d"}),
    ],
)
def test_what_a_select_reads(sql: str, reads: set[str]) -> None:
    assert tables_read(replace(PAYMENTS, select=sql)) == reads


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("DROP TABLE events", "the select cannot be read"),
        ("SELECT 1; SELECT 2", "the select has several statements"),
        ("SELEC 1", "the select cannot be read"),
        ("COPY events TO 'x.csv'", "the select cannot be read"),
        (
            "SELECT random() FROM events",
            "the select uses random, which says something else each time",
        ),
        ("SELECT current_date FROM events", "the select uses current_date, which"),
        ("SELECT now() - INTERVAL 1 DAY", "the select uses now, which"),
        ("SELECT age(DATE '2020-01-01') FROM events", "the select uses age, which"),
        ("FROM query('SELECT random() FROM events')", "the select uses query, which"),
        ("SELECT * FROM events USING SAMPLE 50%", "the select takes a sample"),
        ("SELECT * FROM events TABLESAMPLE reservoir(2)", "the select takes a sample"),
    ],
)
def test_what_is_no_select(sql: str, what: str) -> None:
    refused = tables_read(replace(PAYMENTS, select=sql))
    assert isinstance(refused, Problem)
    assert refused.what.startswith(what)


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("SELECT * FROM read_text('{file}')", "file system operations are disabled"),
        ("SELECT * FROM '{file}'", "disabled"),
        ("SELECT * FROM read_csv('https://example.org/x.csv')", "disabled"),
        ("SELECT * FROM query('INSTALL httpfs')", "SELECT"),
        ("SELECT * FROM duckdb_secrets()", "disabled"),
        ("SELECT getenv('HOME')", "getenv does not exist"),
        ("SELECT x FROM events", 'Referenced column "x" not found in FROM clause'),
        ("SELECT CAST(kind AS DOUBLE) FROM events", "Could not convert string 'failed'"),
        ("SELECT who FROM events", "the column is missing"),
    ],
)  # fmt: skip
def test_a_select_sees_the_drop_s_files_and_nothing_else(
    sql: str, what: str, tmp_path: Path
) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("user_id,failed_payments_90d\na,1\n")
    if what == "the column is missing":
        shaped = select(
            replace(PAYMENTS, select=sql),
            {"events": (read_texts(EVENTS.encode(), CANONICAL, "events.csv"), CANONICAL)},
            JANUARY,
        )
        assert [(p.column, p.what, p.remedy) for p in shaped.problems] == [
            ("user_id", "the column is missing", "select it"),
            ("failed_payments_90d", "the column is missing", "select it"),
            ("who", "is not a column of this table", "leave it out"),
        ]
    else:
        assert what in selected(sql.format(file=file))


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r) SELECT max(i) FROM r",
        "SELECT count(*) FROM range(1000000000000) AS a, range(1000000) AS b",
    ],
)
def test_a_select_that_does_not_end_is_ended(sql: str) -> None:
    assert selected(sql, seconds=2) == "the select did not end within 2 s"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT array_agg(i) FROM range(1000000000) AS t(i)",
        "SELECT length(repeat('a', 4000000000))",  # inside of one function, where DuckDB does not count
        "SELECT list_sum(range(4000000000))",
    ],
)
def test_a_select_that_wants_all_memory_is_ended(sql: str) -> None:
    assert selected(sql, memory_bytes=100 << 20) == "it needs more memory than it may have"


def test_one_wide_file_of_another_country_becomes_every_table() -> None:
    wide: dict[str, dict[str, str]] = {user: {} for user in "abc"}
    for table in TABLES:
        for row in csv.DictReader(io.StringIO(FILES[table.file])):
            for column in table.columns:
                if column.name in row:
                    wide[row["user_id"]][f"Feld {column.name}"] = text_in(
                        row[column.name], column, GERMAN
                    )
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(wide["a"]), delimiter=";")
    writer.writeheader()
    writer.writerows(wide.values())
    texts = read_texts(out.getvalue().encode("cp1252"), GERMAN, "wide.csv")
    for table in TABLES:
        names = FILES[table.file].splitlines()[0].split(",")
        columns = ", ".join(f'"Feld {name}" AS {name}' for name in names)
        sql = f"SELECT {columns} FROM wide ORDER BY 1 DESC"
        shaped = select(
            replace(table, dialect=GERMAN, select=sql), {"wide": (texts, GERMAN)}, JANUARY
        )
        assert shaped.problems == ()
        rows = load(shaped.content or b"", table)[0].rows
        assert rows is not None
        expected = load(FILES[table.file].encode(), table)[0].rows
        assert expected is not None
        assert rows.sort_by("user_id").to_pylist() == expected.to_pylist()


def test_what_is_cast_is_taken_as_it_is_and_text_in_the_table_s_dialect() -> None:
    texts = read_texts(b"id;h;s\n7;12,5;k. A.\n", GERMAN, "wide.csv")
    sql = """SELECT id AS user_id, CAST(replace(h, ',', '.') AS DOUBLE) AS watch_hours_30d,
        h AS avg_session_mins_7d, CAST(2 AS HUGEINT) AS unique_devices_30d, s AS skips_7d,
        '1.000' AS rebuffer_events_7d FROM wide"""
    shaped = select(replace(USAGE, dialect=GERMAN, select=sql), {"wide": (texts, GERMAN)}, JANUARY)
    assert shaped.problems == ()
    assert (shaped.content or b"").decode().splitlines()[1] == "7,12.5,12.5,2,,1000"
    # Words that the select writes itself may be the canonical ones.
    sql = """SELECT id AS user_id, '2024-01-05' AS signup_date, NULL AS user_gender, 'True' AS user_is_senior,
        'ja' AS has_family, true AS has_dependents FROM wide"""
    shaped = select(replace(USERS, dialect=GERMAN, select=sql), {"wide": (texts, GERMAN)}, JANUARY)
    assert shaped.problems == ()
    assert (shaped.content or b"").decode().splitlines()[1] == "7,2024-01-05,,True,True,True"


def test_a_file_that_cannot_be_loaded_is_named() -> None:
    twice = read_texts(b"a,A\n1,2\n", CANONICAL, "events.csv")
    sql = replace(PAYMENTS, select="SELECT a AS user_id, 1 AS failed_payments_90d FROM events")
    (problem,) = select(sql, {"events": (twice, CANONICAL)}, JANUARY).problems
    assert (problem.file, problem.what) == ("events", "the column 'a' stands twice")
    broken = read_texts(b"a,b\n1,2,3\n", CANONICAL, "events_2024-01.csv")
    (problem,) = select(sql, {"events": (broken, CANONICAL)}, JANUARY).problems
    assert (problem.file, problem.row) == ("events_2024-01.csv", 2)
    assert Dialect() == CANONICAL
    assert renamed(PAYMENTS, CANONICAL).columns[0].source == "Feld user_id"

"""Selected tables: DuckDB SQL over the drop's files, whose columns are all text.

A select is one SELECT statement. It sees the named files of the drop, each as a table of text with the
header's names, blanks as nulls, and two dates: `as_of()`, the month's last day, and `first_day()`. It
returns the table's columns under the contract's names. Values that it casts are taken as they are; text is
read in the table's dialect. It runs in a process of its own with limits of memory and time, see
select_process.py.
"""

import functools
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from churn.contract.structure import Dialect, Table
from churn.deliveries.problems import Problem
from churn.deliveries.shape import Shaped, canonical
from churn.deliveries.texts import Texts, texts_of
from churn.months import Month

MEMORY_BYTES = 2 << 30
SECONDS = 300.0
_PROGRAM = Path(__file__).with_name("select_process.py")
# Functions that return something else each time: with one of them, a month could not be made again.
_CHANGING = frozenset(
    {
        *("now", "today", "random", "setseed", "uuid", "uuidv4", "uuidv7", "gen_random_uuid"),
        *("current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"),
        *("get_current_time", "get_current_timestamp", "transaction_timestamp"),
        *("getvariable", "current_setting", "nextval", "age", "txid_current"),
        *("pg_postmaster_start_time", "query", "query_table"),
    }
)


def named(table: Table) -> str:
    """Return how messages name a selected table, in place of a file."""
    return f"{table.name} (select)"


def tables_read(table: Table) -> frozenset[str] | Problem:
    """Return the names of the tables that the select reads, or the problem for which it cannot be run."""
    return _tables_read(table.select or "", named(table))


@functools.cache
def _tables_read(select: str, file: str) -> frozenset[str] | Problem:
    import duckdb

    with duckdb.connect(":memory:", config={"enable_external_access": "false"}) as connection:
        row = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [select]).fetchone()
    tree: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
    statements = tree.get("statements", [])
    if tree["error"]:
        what = f"the select cannot be read: {tree.get('error_message', 'it is not SQL')}"
        return Problem(file, what, "write one SELECT statement of DuckDB's SQL in the contract")
    if len(statements) != 1:
        return Problem(file, "the select has several statements", "write one SELECT statement")
    tables: set[str] = set()
    for node in _nodes(tree):
        changing = _changing(node)
        if changing:
            what = f"the select uses {changing}, which says something else each time"
            return Problem(file, what, "use as_of(), the month's last day, or first_day()")
        if node.get("sample"):
            return Problem(file, "the select takes a sample, another one each time", "leave it out")
        if node.get("type") == "BASE_TABLE":
            tables.add(node["table_name"])
    with_names = {
        entry["key"] for node in _nodes(tree) for entry in node.get("cte_map", {}).get("map", ())
    }
    return frozenset(tables - with_names)


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every node of a parsed statement."""
    if isinstance(tree, dict):
        yield tree
        for each in tree.values():
            yield from _nodes(each)
    elif isinstance(tree, list):
        for each in tree:
            yield from _nodes(each)


def _changing(node: dict[str, Any]) -> str:
    """Return the changing function that a node calls; empty where it calls none."""
    name = str(node.get("function_name", "")).lower()
    if node.get("type") == "COLUMN_REF" and len(node["column_names"]) == 1:
        name = node["column_names"][0].lower()
        name = name if name.startswith(("current_", "local")) else ""  # written without brackets
    return name if name in _CHANGING else ""


def select(
    table: Table,
    sources: Mapping[str, tuple[Texts, Dialect]],
    month: Month,
    *,
    memory_bytes: int = MEMORY_BYTES,
    seconds: float = SECONDS,
) -> Shaped:
    """Return the rows of a selected table as its canonical file.

    Args:
        table: the contract's table.
        sources: the files that it reads, by the names that it gives them.
        month: the drop's month.
        memory_bytes: how much memory it may use beside the files.
        seconds: how long it may take.
    """
    file = named(table)
    problems = [problem for texts, _ in sources.values() for problem in texts.problems]
    tables = {name: _loaded(texts, dialect) for name, (texts, dialect) in sources.items()}
    for name, loaded in tables.items():
        if isinstance(loaded, str):
            remedy = "give each column a name of its own, whatever its case"
            problems.append(Problem(name, f"the column {loaded!r} stands twice", remedy, row=1))
    if problems:
        return Shaped(None, tuple(problems))
    request = {
        "select": table.select,
        "tables": list(tables),
        "memory": memory_bytes,
        "days": {"as_of": f"{month.as_of_date}", "first_day": f"{month.first_day}"},
    }
    answer = _ask(
        request, [each for each in tables.values() if isinstance(each, pa.Table)], seconds
    )
    if isinstance(answer, str):
        what, *hint = answer.splitlines() or ["the process of the select ended without an answer"]
        more = next((line for line in hint if line.startswith(("Candidate", "Did you mean"))), "")
        remedy = (
            "correct the select in the contract; it may read the drop's named files and no other"
        )
        return Shaped(None, (Problem(file, " ".join(f"{what} {more}".split()), remedy),))
    return canonical(texts_of(answer, file), table, file)


def _loaded(texts: Texts, dialect: Dialect) -> pa.Table | str:
    """Return a file's columns with blanks as nulls, or the name of a column that it has twice."""
    names = [name.strip() or f"column{number}" for number, name in enumerate(texts.names)]
    plain = [name.lower() for name in names]
    twice = next(
        (name for name, key in zip(names, plain, strict=True) if plain.count(key) > 1), None
    )
    if twice is not None:
        return twice
    blanks = pa.array(sorted({word.strip() for word in dialect.null_words} | {""}))
    columns = [
        pc.if_else(
            pc.is_in(pc.utf8_trim_whitespace(column), blanks), pa.scalar(None, pa.string()), column
        )
        for column in texts.columns
    ]
    return pa.table(columns, names=names)


def _ask(request: Mapping[str, Any], tables: list[pa.Table], seconds: float) -> pa.Table | str:
    """Run the request in a process of its own; return its rows, or its error."""
    question = pa.BufferOutputStream()
    question.write(json.dumps(request).encode() + b"\n")
    for table in tables:
        with pa.ipc.new_stream(question, table.schema) as stream:
            stream.write_table(table)
    try:
        process = subprocess.run(
            [sys.executable, "-I", str(_PROGRAM)],
            input=question.getvalue(),
            capture_output=True,
            timeout=seconds,
            env={},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"the select did not end within {seconds:g} s"
    error, _, rows = process.stdout.partition(b"\n")
    if process.returncode or not error:
        last = process.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return " ".join(["the process of the select ended without an answer:", *last])
    if error != b"null":
        return str(json.loads(error))
    return pa.ipc.open_stream(rows).read_all()

"""One `select:` in a process of its own: it sees the tables that it was given, and nothing else.

Started by churn.deliveries.selects as a script, without the environment and without this project's
packages. DuckDB is locked before it sees the select: no file, no network, no extension, no setting.
Its own limits of memory and time do not hold within a single function (`repeat`, a list of a billion
numbers), so the operating system holds the process to them, too.

Input: the request as one line of JSON, then each table as an Arrow stream. Output: one line of JSON, which is
the error, or null with the result's Arrow stream after it.
"""

import contextlib
import json
import resource
import sys
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa

_LOCKED = (
    "SET temp_directory = ''",
    "SET python_enable_replacements = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET TimeZone = 'UTC'",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
# Bytes of address space that the libraries reserve, though they use little of it.
_OVERHEAD = 2 << 30


def main(source: BinaryIO, target: BinaryIO) -> None:
    """Answer one request."""
    request = json.loads(source.readline())
    tables = {name: pa.ipc.open_stream(source).read_all() for name in request["tables"]}
    given = sum(table.nbytes for table in tables.values())
    # Not every system has these limits.
    with contextlib.suppress(ValueError, OSError):
        most = request["memory"] + 3 * given + _OVERHEAD
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    try:
        rows = _run(request, tables)
    except (duckdb.Error, pa.ArrowException, MemoryError, ValueError) as error:
        reason = "it needs more memory than it may have" if _is_memory(error) else str(error)
        target.write(json.dumps(reason).encode() + b"\n")
        return
    target.write(b"null\n")
    with pa.ipc.new_stream(target, rows.schema) as stream:
        stream.write_table(rows)


def _run(request: dict[str, Any], tables: dict[str, pa.Table]) -> pa.Table:
    bounds = {"threads": 1, "memory_limit": f"{request['memory'] + 2 * _bytes(tables)}B"}
    connection = duckdb.connect(":memory:", config=bounds)
    for number, (name, table) in enumerate(tables.items()):
        connection.register(f"_given_{number}", table)
        quoted = name.replace('"', '""')
        connection.execute(f'CREATE TABLE "{quoted}" AS SELECT * FROM _given_{number}')  # noqa: S608
        connection.unregister(f"_given_{number}")
    for name, day in request["days"].items():
        connection.execute(f"CREATE MACRO {name}() AS DATE '{day}'")
    for statement in _LOCKED:
        connection.execute(statement)
    return connection.sql(request["select"]).to_arrow_table()


def _bytes(tables: dict[str, pa.Table]) -> int:
    return sum(table.nbytes for table in tables.values())


def _is_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | duckdb.OutOfMemoryException | pa.ArrowMemoryError)


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)

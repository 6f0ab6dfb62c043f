"""Customers who were erased stay out: whoever delivers them again, their rows are left out at the door.

Of an erased customer only a hash of the id is kept, salted with a secret of this database, so a drop is
searched by hashing the ids that it names. What the pipeline sees and keeps of a drop is then a copy without
their rows; the folder itself is not touched, for it is whoever's delivered it.
"""

import contextlib
import csv
import gzip
import hmac
import io
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from churn.contract.structure import Contract, Dialect, Table
from churn.contract.translation import dialects_of
from churn.deliveries.drop_files import drop_files
from churn.deliveries.files import is_compressed, plain_name
from churn.months import Month

IsErased = Callable[[str], bool]


@dataclass(frozen=True)
class Erased:
    """Whom a drop may not bring again."""

    salt: bytes
    hashes: frozenset[str]

    def holds(self, user_id: str) -> bool:
        """Say whether this customer was erased."""
        return hashed_id(self.salt, user_id) in self.hashes


def hashed_id(salt: bytes, user_id: str) -> str:
    """Return what is kept of the id of somebody who was erased."""
    return hmac.digest(salt, user_id.strip().encode(), "sha256").hex()


def salt_of(connection: psycopg.Connection) -> bytes:
    """Return this database's own salt, made when it is first needed."""
    connection.execute(
        "INSERT INTO decisions.erasure_salt (salt) VALUES (%s) ON CONFLICT DO NOTHING",
        [secrets.token_hex(32)],
    )
    row = connection.execute("SELECT salt FROM decisions.erasure_salt").fetchone()
    assert row is not None  # noqa: S101  (it was inserted)
    return bytes.fromhex(row[0])


def read_erased(connection: psycopg.Connection) -> Erased | None:
    """Return who was erased; None where nobody was."""
    rows = connection.execute("SELECT id_hash FROM decisions.erasures").fetchall()
    return Erased(salt_of(connection), frozenset(row[0] for row in rows)) if rows else None


@contextlib.contextmanager
def without_erased(
    folder: Path, month: Month, first: Month, contract: Contract, erased: Erased | None
) -> Iterator[Path]:
    """Give the folder of a drop in which nobody is who was erased: itself, or a copy for this block.

    What cannot be read is left as it is: the drop's own reader names it.
    """
    paths: dict[str, list[Path]] = {}
    if erased is not None:
        with contextlib.suppress(OSError):
            paths = drop_files(folder, month, first, contract).by_name
    dialects, tables = dialects_of(contract), contract.table_by_name
    cleaned: dict[Path, bytes] = {}
    for name, path in ((name, path) for name, several in paths.items() for path in several):
        assert erased is not None  # noqa: S101  (else there are no paths)
        with contextlib.suppress(OSError, EOFError, ValueError, csv.Error, pa.ArrowException):
            content, removed = without_rows(
                path.read_bytes(), dialects[name], tables.get(name), erased.holds
            )
            if removed:
                cleaned[path] = content
    if not cleaned:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="churn-drop-") as place:
        copy = Path(place) / folder.name
        copy.mkdir()
        for path in {path for several in paths.values() for path in several}:
            if path in cleaned:
                (copy / path.name).write_bytes(cleaned[path])
            else:
                shutil.copyfile(path, copy / path.name)
        yield copy


def without_rows(
    content: bytes, dialect: Dialect, table: Table | None, is_erased: IsErased
) -> tuple[bytes, int]:
    """Return a delivered file without the rows of some customers, and how many rows that were.

    All other bytes of a CSV file stay as they are.

    Args:
        content: the file, compressed or not.
        dialect: how it is written.
        table: the table whose own file it is, whose key is looked at; None for a file that selects read, of
            which every cell is.
        is_erased: says so of an id.

    Raises:
        ValueError, csv.Error, pa.ArrowException, OSError, EOFError: the file cannot be read.
    """
    if dialect.format == "parquet":
        return _parquet_without(content, table, is_erased)
    if is_compressed(content):
        plain, removed = without_rows(gzip.decompress(content), dialect, table, is_erased)
        # The same bytes whenever it is done, so that the same drop has the same hash again.
        return (gzip.compress(plain, mtime=0), removed) if removed else (content, 0)
    kept, removed, columns = [], 0, None
    for raw, values in _records(content.decode(dialect.encoding), dialect.delimiter):
        if columns is None and values:
            columns = _columns_of(values, table)
        elif any(is_erased(values[at]) for at in columns or () if at < len(values)):
            removed += 1
            continue
        kept.append(raw)
    return ("".join(kept).encode(dialect.encoding), removed) if removed else (content, 0)


def _records(text: str, delimiter: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each record as it is written, and its values; a blank line has none."""
    lines: list[str] = []

    def feed() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            lines.append(line)
            yield line

    for values in csv.reader(feed(), delimiter=delimiter):
        yield "".join(lines), values
        lines.clear()


def _columns_of(header: list[str], table: Table | None) -> list[int]:
    """Return the places of the key; of all columns where it is not known which that is."""
    names = [plain_name(name.lstrip("\ufeff")) for name in header]
    if table is not None:
        key = table.columns[0]
        wanted = {plain_name(each) for each in (key.source_name, key.name, *key.earlier_sources)}
        if places := [at for at, name in enumerate(names) if name in wanted]:
            return places
    return list(range(len(names)))


def _parquet_without(content: bytes, table: Table | None, is_erased: IsErased) -> tuple[bytes, int]:
    rows = pq.read_table(pa.BufferReader(content))
    gone = [False] * rows.num_rows
    for at in _columns_of(rows.column_names, table):
        for place, value in enumerate(rows.column(at).to_pylist()):
            gone[place] = gone[place] or (value is not None and is_erased(str(value)))
    if not any(gone):
        return content, 0
    new = io.BytesIO()
    pq.write_table(rows.filter(pa.array([not each for each in gone])), new)
    return new.getvalue(), sum(gone)

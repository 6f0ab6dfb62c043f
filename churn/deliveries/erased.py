"""Customers who were erased stay out: whoever delivers them again, their rows are left out at the door.

Of an erased customer only a hash of the id is kept, salted with a secret of this database, so a drop is
searched by hashing the ids that it names. What the pipeline sees and keeps of a drop is then a copy without
their rows; the folder itself is not touched, for it is whoever's delivered it.
"""

import contextlib
import csv
import fcntl
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

from churn.contract.structure import Contract, Dialect, Table, plain
from churn.contract.translation import dialects_of
from churn.deliveries.drop_files import drop_files
from churn.deliveries.files import is_compressed
from churn.deliveries.problems import Refusal
from churn.errors import ChurnError
from churn.months import Month

_IN_USE = "in-use"
IsErased = Callable[[str], bool]
# What the column that names customers may be called, in the order in which a reader looks for it; none where
# the file names nobody, and None where it is not known.
KeyNames = tuple[str, ...] | None
UNKNOWN_KEY = (
    "which column names customers is not known, and one of them stands in it who is erased"
)
SAY_KEY = (
    "say so in the contract, as `key: COLUMN` of this entry of files: (`key: null` where none does)"
)


class UnknownKey(ChurnError):
    """A file names a customer who is erased, and it is not known in which column customers are named."""


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
    folder: Path,
    month: Month,
    first: Month,
    contract: Contract,
    erased: Erased | None,
    home: Path,
) -> Iterator[Path]:
    """Give the folder of a drop in which nobody is who was erased: itself, or a copy for this block.

    What cannot be read is left as it is: the drop's own reader names it.

    Args:
        folder: as it was delivered.
        month: its month.
        first: the month of the first drop.
        contract: what the drop is read by.
        erased: who was; None where nobody was.
        home: the state folder, in which the copy is made.

    Raises:
        Refusal: a file that selects read may name somebody, and the contract does not say in which column.
    """
    paths: dict[str, list[Path]] = {}
    if erased is not None:
        remove_copies(home)
        with contextlib.suppress(OSError):
            paths = drop_files(folder, month, first, contract).by_name
    dialects, keys = dialects_of(contract), keys_of(contract)
    cleaned: dict[Path, bytes] = {}
    for name, path in ((name, path) for name, several in paths.items() for path in several):
        assert erased is not None  # noqa: S101  (else there are no paths)
        try:
            content, removed = without_rows(
                path.read_bytes(), dialects[name], keys[name], erased.holds
            )
        except UnknownKey as error:
            if keys[name] is None:
                raise Refusal(error.what, where=f"{path.name} ({name})", remedy=SAY_KEY) from None
            continue
        except (OSError, EOFError, ValueError, csv.Error, pa.ArrowException):
            continue
        if removed:
            cleaned[path] = content
    if not cleaned:
        yield folder
        return
    with _place_for_copy(home) as place:
        copy = place / folder.name
        copy.mkdir()
        for path in {path for several in paths.values() for path in several}:
            if path in cleaned:
                (copy / path.name).write_bytes(cleaned[path])
            else:
                shutil.copyfile(path, copy / path.name)
        yield copy


def remove_copies(home: Path) -> None:
    """Remove copies of drops that a killed process has left, unless some process is making one."""
    with _using(home):
        pass


@contextlib.contextmanager
def _place_for_copy(home: Path) -> Iterator[Path]:
    with _using(home) as parent, tempfile.TemporaryDirectory(dir=parent) as place:
        yield Path(place)


@contextlib.contextmanager
def _using(home: Path) -> Iterator[Path]:
    """Give the folder of copies, emptied first where no process, alive, has a copy in it."""
    parent = home / "tmp"
    parent.mkdir(parents=True, exist_ok=True)
    with (parent / _IN_USE).open("w") as file:
        # The system gives the lock back when its process ends, however that ends.
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for copy in parent.iterdir():
                if copy.is_dir():
                    shutil.rmtree(copy)
        fcntl.flock(file, fcntl.LOCK_SH)
        yield parent


def keys_of(contract: Contract) -> dict[str, KeyNames]:
    """Return what the key is called in each file of a drop, by the names under which selects read them."""
    keys: dict[str, KeyNames] = {
        table.name: key_names(table) for table in contract.tables if table.select is None
    }
    for file in contract.source_files:
        names = () if file.key is None else (plain(file.key),)
        keys[file.name] = None if file.key == "" else names
    return keys


def key_names(table: Table) -> tuple[str, ...]:
    """Return what the key may be called in a table's own file; the first that is there is the key."""
    key, *values = table.columns
    others = {plain(each.source_name) for each in values}
    more = (plain(each) for each in (*key.earlier_sources, key.name))
    return (plain(key.source_name), *(name for name in more if name not in others))


def without_rows(
    content: bytes, dialect: Dialect, key: KeyNames, is_erased: IsErased
) -> tuple[bytes, int]:
    """Return a delivered file without the rows of some customers, and how many rows that were.

    All other bytes of a CSV file stay as they are.

    Args:
        content: the file, compressed or not.
        dialect: how it is written.
        key: what the column may be called that names customers; no other is looked at.
        is_erased: says so of an id.

    Raises:
        UnknownKey: no such column is known, or there, and some cell is the id of somebody erased.
        ValueError, csv.Error, pa.ArrowException, OSError, EOFError: the file cannot be read.
    """
    if key == ():
        return content, 0
    if dialect.format == "parquet":
        return _parquet_without(content, key, is_erased)
    if is_compressed(content):
        plain, removed = without_rows(gzip.decompress(content), dialect, key, is_erased)
        # The same bytes whenever it is done, so that the same drop has the same hash again.
        return (gzip.compress(plain, mtime=0), removed) if removed else (content, 0)
    kept: list[str] = []
    removed, header, place = 0, None, None
    for raw, values in _records(content.decode(dialect.encoding), dialect.delimiter):
        if header is None and values:
            header = values
            place = _place_of(key, header)
        elif place is None:
            if any(is_erased(value) for value in values):
                raise UnknownKey(UNKNOWN_KEY)
        elif place < len(values) and is_erased(values[place]):
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


def _place_of(key: KeyNames, header: list[str]) -> int | None:
    names = [plain(name.lstrip("\ufeff")) for name in header]
    return next((names.index(name) for name in key or () if name in names), None)


def _parquet_without(content: bytes, key: KeyNames, is_erased: IsErased) -> tuple[bytes, int]:
    rows = pq.read_table(pa.BufferReader(content))
    place = _place_of(key, rows.column_names)
    searched = rows.columns if place is None else [rows.column(place)]
    gone = [False] * rows.num_rows
    for column in searched:
        for at, value in enumerate(column.to_pylist()):
            gone[at] = gone[at] or (value is not None and is_erased(str(value)))
    if not any(gone):
        return content, 0
    if place is None:
        raise UnknownKey(UNKNOWN_KEY)
    new = io.BytesIO()
    pq.write_table(rows.filter(pa.array([not each for each in gone])), new)
    return new.getvalue(), sum(gone)

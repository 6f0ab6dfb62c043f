"""Somebody's folder of exports: which files there are for which months, and their columns as texts.

The files are only read, and nothing in them is executed: bytes are decoded and split into texts, in this
process and without the network. Of many months only a few are read, and of a large file only the beginning.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from churn.errors import ChurnError
from churn.months import Month

_MOST_BYTES = 64 << 20  # of a file, decompressed
_MOST_ROWS = 500_000  # of a Parquet file
# How many lines are looked at to find the delimiter.
_SHOWN_LINES = 50
_DELIMITERS = (",", ";", "\t", "|")
_FILES = re.compile(r"(?P<stem>.+)\.(?:csv|tsv|txt|csv\.gz|tsv\.gz|parquet)", re.IGNORECASE)
_MONTH = re.compile(r"(?<![0-9])((?:19|20|21)[0-9]{2}-(?:0[1-9]|1[0-2]))(?![0-9])")
_NUMBER = re.compile(r"(?<![0-9])([0-9]{3})(?![0-9])")


@dataclass(frozen=True)
class Export:
    """One kind of file, with its content in the months that were read.

    Args:
        stem: its name without month and ending.
        files: the pattern of its name, with {month} or {n} in the place of a month.
        format: csv or parquet.
        delimiter, encoding: those of a CSV file.
        months: its rows as texts, one table per month that was read, the oldest first.
        is_cut: only the beginning of the file was read.
    """

    stem: str
    files: str
    format: str
    delimiter: str
    encoding: str
    months: tuple[pa.Table, ...]
    is_cut: bool = False

    @property
    def rows(self) -> pa.Table:
        """The rows of all months that were read."""
        return pa.concat_tables(self.months, promote_options="default")


@dataclass(frozen=True)
class Exports:
    """A folder of exports.

    Args:
        folder: where they are.
        drop_folder: the pattern of a month's folder; empty where all files are in the folder itself.
        first_month: the first month in the names; None where they hold none.
        months: how many months there are.
        months_seen: those of them that were read, as in their names.
        files: the files, in the order of their names.
        notes: what was passed over, in words.
    """

    folder: Path
    drop_folder: str
    first_month: Month | None
    months: int
    months_seen: tuple[str, ...]
    files: tuple[Export, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_one_drop(self) -> bool:
        """Whether the files are side by side, and no name holds a month."""
        return not self.drop_folder and self.first_month is None and self.months == 1

    @property
    def drops(self) -> Path:
        """The folder that holds the drops."""
        is_inside = (
            self.folder.is_file() or _pattern(self.folder.resolve().name)[0] == self.drop_folder
        )
        return self.folder.resolve().parent if is_inside else self.folder


@dataclass
class _MonthlyFiles:
    """The files of one pattern: their paths by the text that stands for the month."""

    files: str
    paths: dict[str, Path] = field(default_factory=dict)


def read_exports(folder: Path) -> Exports:
    """Read a folder of exports, a folder with a folder per month, or one file.

    Raises:
        ChurnError: the folder does not exist, or no file in it can be read.
    """
    if not folder.exists():
        raise ChurnError(
            f"there is no folder {folder}", remedy="name a folder of exports, or one file"
        )
    notes: list[str] = []
    drop_folder, kinds, months = _listed(folder, notes)
    if not kinds:
        raise ChurnError(
            "no exports are there" + "".join(f"\n  {note}" for note in notes),
            where=str(folder),
            remedy="name a folder of csv, csv.gz or parquet files, or of folders per month with such files",
        )
    seen = tuple(dict.fromkeys([*months[:2], *months[-1:]]))
    exports = [_export(kind, seen, notes) for _, kind in sorted(kinds.items())]
    read = tuple(export for export in exports if export is not None)
    if not read:
        raise ChurnError(
            "none of the files can be read" + "".join(f"\n  {note}" for note in notes),
            where=str(folder),
            remedy="export them as csv, csv.gz or parquet",
        )
    first = Month.parse(months[0]) if months and _MONTH.fullmatch(months[0]) else None
    return Exports(folder, drop_folder, first, max(len(months), 1), seen, read, tuple(notes))


def _listed(folder: Path, notes: list[str]) -> tuple[str, dict[str, _MonthlyFiles], list[str]]:
    """Return the pattern of the months' folders, the files by kind, and the months in order."""
    if folder.is_file():
        kinds = _kinds([("", folder)], notes)
        return "", kinds, _months_of(kinds)
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    folders = [path for path in inside if path.is_dir()]
    patterns = {path: _pattern(path.name) for path in folders}
    of_months = [(path, pattern, month) for path, (pattern, month) in patterns.items() if month]
    own_pattern, own_month = _pattern(folder.resolve().name)
    if not folders and own_month:
        return own_pattern, _kinds([(own_month, path) for path in inside], notes), [own_month]
    if not of_months:
        notes += [f"{path.name}/ was passed over: its name says no month" for path in folders]
        kinds = _kinds([("", path) for path in inside if path.is_file()], notes)
        return "", kinds, _months_of(kinds)
    pattern = of_months[0][1]
    taken = [(month, path) for path, its_pattern, month in of_months if its_pattern == pattern]
    for path in inside:
        if path not in [each for _, each in taken]:
            notes.append(f"{path.name} was passed over: its name does not fit {pattern}")
    files = [
        (month, each) for month, path in taken for each in sorted(path.iterdir()) if each.is_file()
    ]
    return pattern, _kinds(files, notes), [month for month, _ in taken]


def _kinds(files: Iterable[tuple[str, Path]], notes: list[str]) -> dict[str, _MonthlyFiles]:
    """Return the files by their stem; those with other endings are passed over."""
    kinds: dict[str, _MonthlyFiles] = {}
    for month, path in files:
        name = _FILES.fullmatch(path.name)
        if name is None or path.name.startswith("."):
            note = f"{path.name} was passed over: it is no csv, csv.gz or parquet file"
            notes += [note] if note not in notes else []
            continue
        pattern, own_month = (path.name, "") if month else _pattern(path.name)
        stem = _FILES.fullmatch(pattern)["stem"] if _FILES.fullmatch(pattern) else pattern  # type: ignore[index]
        stem = re.sub(r"[-_. ]*\{(month|n)\}[-_. ]*", "_", stem).strip("_") or "export"
        kinds.setdefault(stem, _MonthlyFiles(pattern)).paths[month or own_month] = path
    return kinds


def _months_of(kinds: dict[str, _MonthlyFiles]) -> list[str]:
    return sorted({month for kind in kinds.values() for month in kind.paths if month})


def _pattern(name: str) -> tuple[str, str]:
    """Return a name with {month} or {n} in place of its month, and the month; unchanged where it has none."""
    for word, form in (("{month}", _MONTH), ("{n}", _NUMBER)):
        match = form.search(name)
        if match:
            return name[: match.start(1)] + word + name[match.end(1) :], match[1]
    return name, ""


def _export(kind: _MonthlyFiles, seen: tuple[str, ...], notes: list[str]) -> Export | None:
    paths = [kind.paths[month] for month in (*seen, "") if month in kind.paths]
    months = []
    format_, delimiter, encoding, is_cut = "csv", ",", "utf-8", False
    for path in paths:
        try:
            if path.name.lower().endswith(".parquet"):
                format_ = "parquet"
                months.append(_parquet(path))
                continue
            content, cut = _content(path)
            encoding = _encoding(content)
            text = content.decode(encoding, "replace" if cut else "strict")
            delimiter = _delimiter(text)
            months.append(_table(text, delimiter))
            is_cut |= cut
        except (OSError, ValueError, EOFError, zlib.error, csv.Error, pa.ArrowException) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            notes.append(f"{path.name} was passed over: it cannot be read ({reason})")
    if not months:
        return None
    stem = next(iter(re.findall(_FILES, kind.files)), kind.files)
    stem = re.sub(r"[-_. ]*\{(month|n)\}[-_. ]*", "_", stem).strip("_") or "export"
    return Export(stem, kind.files, format_, delimiter, encoding, tuple(months), is_cut)


def _content(path: Path) -> tuple[bytes, bool]:
    """Return a file's bytes, decompressed, up to the last whole line within the limit; and if it was cut."""
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        source = gzip.open(file) if is_gzip else file  # noqa: SIM115
        content = source.read(_MOST_BYTES + 1)
    if len(content) <= _MOST_BYTES:
        return content, False
    return content[: content.rfind(b"\n", 0, _MOST_BYTES) + 1], True


def _encoding(content: bytes) -> str:
    """Return the encoding in which the bytes are text; latin-1 where nothing else fits."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if content.startswith(b"\xef\xbb\xbf"):
        return "utf-8-sig"
    for encoding in ("utf-8", "cp1252"):
        try:
            content.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return "latin-1"


def _delimiter(text: str) -> str:
    """Return the delimiter by which the first rows have the most values, the same number in each."""
    lines = list(itertools.islice(io.StringIO(text, newline=""), _SHOWN_LINES))
    best, most = ",", 1
    for delimiter in _DELIMITERS:
        widths = {len(row) for row in csv.reader(lines[:-1] or lines, delimiter=delimiter) if row}
        if len(widths) == 1 and max(widths) > most:
            best, most = delimiter, max(widths)
    return best


def _table(text: str, delimiter: str) -> pa.Table:
    """Return a CSV file's rows as texts, under the names of its header."""
    header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    if not header or not any(name.strip() for name in header):
        raise ValueError("it has no header")
    places = [f"c{number}" for number in range(len(header))]
    rows = pa_csv.read_csv(
        pa.BufferReader(text.encode()),
        read_options=pa_csv.ReadOptions(column_names=places, skip_rows_after_names=1),
        parse_options=pa_csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=lambda _: "skip"
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(places, pa.string()), strings_can_be_null=False
        ),
    )
    return rows.rename_columns(_apart(header))


def _apart(header: list[str]) -> list[str]:
    """Return the names of a header, made unique: duplicate and blank names are numbered."""
    names: list[str] = []
    for number, name in enumerate(header, 1):
        name = name.strip() or f"column{number}"
        names.append(name if name not in names else f"{name}#{number}")
    return names


def _parquet(path: Path) -> pa.Table:
    file = pq.ParquetFile(path)
    batches, rows = [], 0
    for batch in file.iter_batches():
        batches.append(batch)
        rows += batch.num_rows
        if rows >= _MOST_ROWS:
            break
    table = pa.Table.from_batches(batches, schema=file.schema_arrow)
    columns = {
        name: _texts(column) for name, column in zip(table.column_names, table.columns, strict=True)
    }
    return pa.table({name: column for name, column in columns.items() if column is not None})


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return typed values as the texts of a canonical file; None where they are not single values."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind):
        return None
    if pa.types.is_boolean(kind):
        column = pc.if_else(column, "True", "False")
    elif pa.types.is_timestamp(kind):
        column = column.cast(pa.date32())
    elif pa.types.is_floating(kind):
        column = pc.if_else(pc.is_nan(column), None, column)
    return pc.fill_null(column.cast(pa.string()), "")

"""Translating a file of another shape into the bytes of the canonical CSV file of the contract's table.

Whatever differs from a canonical drop is translated as text: names, decimal marks, words for booleans and
blanks, dates. The values keep their digits, so that all that follows (reading, rules, fingerprint, raw
tables) sees the same file, to the last bit, whatever it looked like when it was delivered. A text that does
not belong to its dialect is a problem: nothing is guessed.
"""

import csv
import datetime as dt
import functools
import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from churn.contract.structure import CANONICAL, Column, Dialect, Table, plain
from churn.contract.types import Kind
from churn.deliveries.problems import SHOWN_PER_KIND, Problem, cells
from churn.deliveries.texts import Texts, read_texts

# In the words of the canonical reader, which says the same of the same cells.
_WHAT: dict[Kind, str] = {
    "bool": "is not a boolean",
    "date": "is not a date",
    "int": "is not a whole number",
    "float": "is not a number",
}
_BREAK = re.compile(r"\r\n|\r|\n")
_EXAMPLE = dt.date(2024, 1, 31)

_NUMBER = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_CANONICAL_TEXT: dict[Kind, re.Pattern[str]] = {
    "string": re.compile(""),
    "bool": re.compile("True|False"),
    "date": re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}"),
    "int": _NUMBER,
    "float": _NUMBER,
}

# Returns the canonical text, or None where the text does not belong to the dialect.
Translator = Callable[[str], str | None]


@dataclass(frozen=True)
class Shaped:
    """A table's content as canonical CSV; None where its columns or rows cannot be read."""

    content: bytes | None
    problems: tuple[Problem, ...] = ()


def shape(content: bytes, table: Table, file: str) -> Shaped:
    """Translate a delivered file into the canonical file of its table.

    Args:
        content: the file's bytes, compressed or not.
        table: the contract's table, with its dialect and the columns' names in the file.
        file: the file's name, for messages.
    """
    texts = read_texts(content, table.dialect, file)
    return canonical(texts, table, file)


def canonical(texts: Texts, table: Table, file: str) -> Shaped:
    """Translate columns of text into the canonical file of the table; see `shape`."""
    if not texts.names:
        return Shaped(None, texts.problems)
    places, problems = _matched(texts, table, file)
    if problems or len(texts.columns) != len(texts.names):
        return Shaped(None, (*texts.problems, *problems))
    columns: list[pa.ChunkedArray] = []
    for column, place in places.items():
        text = texts.columns[place]
        translated, wrong = _translated(
            text, column, table.dialect, texts.are_typed[place], table.select is not None
        )
        columns.append(translated)
        if len(wrong):
            shown = wrong[:SHOWN_PER_KIND].tolist()
            template = Problem(
                file,
                _WHAT[column.kind],
                remedy(column.kind, table.dialect),
                column=column.source_name,
            )
            at = ((_line(texts, row), text[row].as_py()) for row in shown)
            problems += cells(template, at, len(wrong))
    names = [column.name for column in places]
    return Shaped(_csv(names, columns, texts), (*texts.problems, *problems))


def remedy(kind: Kind, dialect: Dialect) -> str:
    """Return a remedy that says how values of a kind are written in the dialect."""
    if kind == "bool":
        words = " or ".join((dialect.true_words[0], dialect.false_words[0]))
        return f"write {words}, blank means unknown"
    if kind == "date":
        return f"write it as {_EXAMPLE.strftime(dialect.date_formats[0])}, blank means unknown"
    if kind == "int":
        return "write digits only, blank means unknown"
    return f"write it as 29{dialect.decimal}85, blank means unknown"


def as_delivered(problems: Iterable[Problem], table: Table, file: str) -> list[Problem]:
    """Return problems of the canonical file in terms of the delivered one: its name, its columns' names."""
    by_name = {column.name: column for column in table.columns}
    changed = []
    for problem in problems:
        problem = replace(problem, file=file)
        column = by_name.get(problem.column)
        if column is not None:
            problem = replace(problem, column=column.source_name)
            if problem.what == _WHAT.get(column.kind):
                problem = replace(problem, remedy=remedy(column.kind, table.dialect))
        changed.append(problem)
    return changed


def _matched(texts: Texts, table: Table, file: str) -> tuple[dict[Column, int], list[Problem]]:
    """Return the place of each column of the contract, and what is wrong with the names."""
    header = [plain(name) for name in texts.names]
    places: dict[Column, int] = {}
    problems: list[Problem] = []

    def add(name: str, what: str, remedy: str) -> None:
        row = None if table.select else 1
        problems.append(Problem(file, what, remedy, row=row, column=name))

    for column in table.columns:
        # An older file may use an earlier name, or the contract's own where no other column has that.
        others = {plain(each.source_name) for each in table.columns if each is not column}
        names = (column.source_name, *column.earlier_sources, column.name)
        called = [plain(column.source_name), *(n for n in map(plain, names) if n not in others)]
        name = next((each for each in called if each in header), None)
        if name is not None:
            places[column] = header.index(name)
            if header.count(name) > 1:
                add(name, f"the column stands {header.count(name)} times", "keep one of them")
        elif not column.optional:
            where = "select it" if table.select else "add it, or correct its source in the contract"
            add(column.source_name, "the column is missing", where)
    known = {header[place] for place in places.values()}
    for name, written in zip(header, texts.names, strict=True):
        if name not in known:
            what = "is not a column of this table" if name else "a column has no name"
            where = "leave it out" if table.select else "remove it, or name it in the contract"
            add(written, what, where)
    return places, problems


def _translated(
    text: pa.ChunkedArray, column: Column, dialect: Dialect, is_typed: bool, is_selected: bool
) -> tuple[pa.ChunkedArray, np.ndarray]:
    """Return the canonical texts of a column, and the rows whose text does not belong to the dialect.

    Each distinct text is translated once.
    """
    nobody = np.empty(0, np.int64)
    translate = _typed(column.kind, dialect) if is_typed else translator(column.kind, dialect)
    if is_typed and not is_selected:
        translate = _or_null(translate, column.kind, dialect)
    if is_selected and translate is not None:
        translate = _or_canonical(translate, column.kind)
    if translate is None:
        return text, nobody
    encoded = text.combine_chunks().dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    translated = [translate(each) for each in texts]
    wrong = [index for index, each in enumerate(translated) if each is None]
    taken = pa.array([t if t is not None else o for t, o in zip(translated, texts, strict=True)])
    rows = np.flatnonzero(np.isin(encoded.indices.to_numpy(), wrong)) if wrong else nobody
    return pa.chunked_array([pc.take(taken.cast(pa.string()), encoded.indices)]), rows


def _or_canonical(translate: Translator, kind: Kind) -> Translator:
    """Return a translator that also accepts canonical text: a select may have written it."""

    def either(text: str) -> str | None:
        translated = translate(text)
        is_canonical = translated is None and _CANONICAL_TEXT[kind].fullmatch(text) is not None
        return text if is_canonical else translated

    return either


@functools.cache
def _typed(kind: Kind, dialect: Dialect) -> Translator | None:
    """Return a translator for values whose type the file states; None where nothing is left to translate."""
    if kind == "date":
        return lambda text: text[:10] or ""  # the day of an instant
    if kind != "bool":
        return None
    words = _words(dialect)
    return lambda text: text if text in ("", "True", "False") else words.get(text)


def _or_null(translate: Translator | None, kind: Kind, dialect: Dialect) -> Translator | None:
    """Return a translator of typed values that knows the words for unknown; -999 also stands for -999.0."""
    words = {word.strip() for word in dialect.null_words} - {""}
    if not words:
        return translate
    plain = (word.replace(dialect.decimal, ".") for word in words)
    numbers = {float(word) for word in plain if _NUMBER.fullmatch(word)}

    def known(text: str) -> str | None:
        is_number = kind in ("int", "float") and _NUMBER.fullmatch(text) is not None
        canonical_text = translate(text) if translate else text
        if {text, canonical_text} & words or (is_number and float(text) in numbers):
            return ""
        return canonical_text

    return known


@functools.cache
def translator(kind: Kind, dialect: Dialect) -> Translator | None:
    """Return a translator from the dialect to canonical text; None where both are the same."""
    of_kind = _of_kind(kind, dialect)
    nulls = {word.strip() for word in dialect.null_words} | {""}
    if nulls == {""}:
        return of_kind and (lambda text: of_kind(text.strip()) if text.strip() else text)

    def translate(text: str) -> str | None:
        if text.strip() in nulls:
            return ""
        return of_kind(text.strip()) if of_kind else text

    return translate


def _of_kind(kind: Kind, dialect: Dialect) -> Translator | None:
    if kind == "bool":
        words = _words(dialect)
        return None if words == _words(CANONICAL) else words.get
    if kind == "date":
        formats = dialect.date_formats
        return None if formats == CANONICAL.date_formats else lambda text: _date(text, formats)
    if kind in ("int", "float") and (dialect.decimal, dialect.thousands) != (".", ""):
        pattern = _number(dialect)

        def number(text: str) -> str | None:
            if pattern.fullmatch(text) is None:
                return None
            digits = text.replace(dialect.thousands, "") if dialect.thousands else text
            return digits.replace(dialect.decimal, ".")

        return number
    return None


def _words(dialect: Dialect) -> dict[str, str]:
    true, false = (dict.fromkeys(map(str.strip, words), name) for words, name in (
        (dialect.true_words, "True"), (dialect.false_words, "False")
    ))  # fmt: skip
    return {**true, **false}


def _number(dialect: Dialect) -> re.Pattern[str]:
    mark, thousands = re.escape(dialect.decimal), re.escape(dialect.thousands)
    whole = f"(?:[0-9]{{1,3}}(?:{thousands}[0-9]{{3}})+|[0-9]+)" if thousands else "[0-9]+"
    return re.compile(rf"-?(?:{whole}(?:{mark}[0-9]*)?|{mark}[0-9]+)(?:[eE][+-]?[0-9]+)?")


def _date(text: str, formats: tuple[str, ...]) -> str | None:
    for each in formats:
        try:
            return dt.datetime.strptime(text, each).date().isoformat()
        except ValueError:
            continue
    return None


def _line(texts: Texts, row: int) -> int:
    return texts.lines[row] if texts.lines is not None else row + 2


def _csv(names: list[str], columns: list[pa.ChunkedArray], texts: Texts) -> bytes:
    """Return the canonical file, with each row on the line on which it was delivered."""
    if texts.lines is not None:
        return _csv_by_lines(names, columns, texts)
    rows = pa.table(columns, names=names)
    # A file without quotes is faster to read, and most files need none.
    for style in ("none", "needed"):
        out = io.BytesIO()
        try:
            pa_csv.write_csv(
                rows, out, pa_csv.WriteOptions(quoting_style=style, quoting_header=style)
            )
        except pa.ArrowInvalid:
            continue
        return out.getvalue()
    raise AssertionError("quoted text can be written")


def _csv_by_lines(names: list[str], columns: list[pa.ChunkedArray], texts: Texts) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    at = 2
    for line, *values in zip(texts.lines or (), *(c.to_pylist() for c in columns), strict=True):
        out.write("\n" * (line - at))
        writer.writerow(values)
        at = max(line, at) + 1 + sum(len(_BREAK.findall(value)) for value in values)
    return out.getvalue().encode("utf-8", "surrogateescape")

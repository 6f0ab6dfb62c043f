"""A canonical file in another shape, as another business would export it; the values stay what they are."""

import csv
import datetime as dt
import gzip
import io
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from churn.contract.structure import Column, Dialect, Table
from churn.deliveries.files import plain_schema
from churn.deliveries.read_csv import read_csv

GERMAN = Dialect(
    delimiter=";",
    encoding="cp1252",
    decimal=",",
    thousands=".",
    true_words=("ja", "Ja"),
    false_words=("nein",),
    null_words=("", "k. A."),
    date_formats=("%d.%m.%Y",),
)


def renamed(table: Table, dialect: Dialect, prefix: str = "Feld ") -> Table:
    """Return the table whose file has this dialect and other names for its columns."""
    columns = tuple(replace(column, source=f"{prefix}{column.name}") for column in table.columns)
    return replace(table, columns=columns, dialect=dialect)


def text_in(text: str, column: Column, dialect: Dialect) -> str:
    """Return a canonical text as the dialect writes it."""
    if not text:
        return dialect.null_words[-1]
    if column.kind == "bool":
        return dialect.true_words[-1] if text == "True" else dialect.false_words[-1]
    if column.kind == "date":
        return dt.date.fromisoformat(text).strftime(dialect.date_formats[-1])
    if column.kind in ("int", "float") and dialect.decimal != ".":
        whole, point, rest = text.partition(".")
        if dialect.thousands and "e" not in whole and len(whole.lstrip("-")) > 3:
            whole = f"{int(whole):,}".replace(",", dialect.thousands)
        return f"{whole}{dialect.decimal if point else ''}{rest}"
    return text


def reshaped(text: str, table: Table, *, packed: bool = False) -> bytes:
    """Return the file of a canonical CSV text for a table that `renamed` gave."""
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    columns = [table.column(name) for name in header]
    if table.dialect.format == "parquet":
        return _parquet(text, table)
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=table.dialect.delimiter, lineterminator="\r\n")
    writer.writerow([column.source_name for column in columns])
    for row in rows:
        writer.writerow(
            text_in(value, column, table.dialect)
            for value, column in zip(row, columns, strict=True)
        )
    content = out.getvalue().encode(table.dialect.encoding)
    return gzip.compress(content) if packed else content


def _parquet(text: str, table: Table) -> bytes:
    rows = read_csv(text.encode(), table).rows
    assert rows is not None
    rows = rows.select(text.splitlines()[0].split(",")).cast(
        pa.schema([plain_schema(table).field(name) for name in text.splitlines()[0].split(",")])
    )
    out = io.BytesIO()
    names = [table.column(name).source_name for name in rows.column_names]
    pq.write_table(rows.rename_columns(names), out)
    return out.getvalue()

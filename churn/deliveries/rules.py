"""The rules of one file as pandera schemas made from the contract; each failure names its row."""

import functools
import warnings
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from churn.contract.tables import USER_ID, Column, Table
from churn.deliveries.problems import Problem, cells
from churn.deliveries.read import read_csv
from churn.deliveries.reading import ARROW_TYPES, Reading

if TYPE_CHECKING:
    from pandera.pandas import Check, DataFrameSchema

_DATES = (pd.Timestamp("1900-01-01").date(), pd.Timestamp("2200-01-01").date())
_CONTROL = r"[\x00-\x1f\x7f]"
_PADDED = r"^\s|\s$"
_WORDS = {
    "not_nullable": ("is blank", "fill it in: every row needs a {column}"),
    "field_uniqueness": ("stands in several rows", "keep one row per user"),
}


def load(data: bytes, table: Table) -> tuple[pa.Table | None, list[Problem]]:
    """Read one file and hold it against its rules; the rows are sound where no problem is named."""
    reading = read_csv(data, table)
    if reading.rows is None:
        return None, list(reading.problems)
    problems = [*reading.problems, *broken_rules(reading, table)]
    return reading.rows, problems


def broken_rules(reading: Reading, table: Table) -> list[Problem]:
    """Return the cells that break a rule of the file: keys, blanks, impossible values."""
    from pandera.errors import SchemaErrors

    if reading.rows is None:
        return []
    frame = reading.rows.to_pandas(types_mapper=pd.ArrowDtype)
    try:
        with warnings.catch_warnings():
            # pandera joins its lists of failures in a way that pandas warns of.
            warnings.simplefilter("ignore", FutureWarning)
            schema_of(table).validate(frame, lazy=True)
    except SchemaErrors as error:
        return _problems(error.failure_cases, reading, reading.rows)
    return []


@functools.cache
def schema_of(table: Table) -> "DataFrameSchema":
    """Return the pandera schema of the file's typed rows."""
    from pandera.pandas import Column as PanderaColumn
    from pandera.pandas import DataFrameSchema

    columns = {
        column.name: PanderaColumn(
            pd.ArrowDtype(ARROW_TYPES[column.kind]),
            checks=_checks(column),
            nullable=not column.required,
            unique=column == USER_ID,
            description=column.kind,
        )
        for column in table.columns
    }
    return DataFrameSchema(columns, strict=True, ordered=True, name=table.name)


def _checks(column: Column) -> "list[Check]":
    from pandera.pandas import Check

    checks = []
    if column.kind == "date":
        low, high = _DATES
        what = f"is not between {low} and {high}; correct the date"
        checks.append(Check(lambda s: (s >= low) & (s < high), error=what))
    if column.kind == "string":
        what = (
            "holds a line break or another control character; remove it"
            ' (a quote " that is never closed also does this)'
        )
        checks.append(Check(lambda s: ~s.str.contains(_CONTROL, regex=True), error=what))
    if column == USER_ID:
        what = "begins or ends with a space, or is only spaces; remove them"
        checks.append(Check(lambda s: ~s.str.contains(_PADDED, regex=True), error=what))
    if column.minimum is not None and column.maximum is not None:
        what = f"is not between {column.minimum:,.0f} and {column.maximum:,.0f}; correct the value"
        checks.append(Check.in_range(column.minimum, column.maximum, error=what))
    return checks


def _problems(failures: pd.DataFrame, reading: Reading, rows: pa.Table) -> list[Problem]:
    lines = reading.line_numbers()
    found: list[Problem] = []
    for key, group in failures.groupby(["column", "check"], sort=False):
        name, check = map(str, key)
        named_already = reading.unreadable.get(name, ()) if check == "not_nullable" else ()
        what, remedy = _WORDS.get(check) or check.split("; ", 1)
        template = Problem(reading.file, what, remedy.format(column=name), column=name)
        at = sorted(set(group["index"].astype("int64")).difference(named_already))
        shown = ((lines[index], _shown(rows[name][index])) for index in at)
        found += cells(template, shown, len(at))
    return found


def _shown(cell: pa.Scalar) -> str:
    return str(cell.as_py()) if cell.is_valid else ""

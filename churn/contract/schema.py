"""What a contract's file may hold: its keys, as pydantic models of the file as people write it.

Editors complete and check the file by `json_schema`. The file is turned into objects by document.py.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from churn.contract.structure import (
    CANONICAL,
    KEY,
    LABEL_COLUMN,
    LABEL_TABLE,
    Column,
    Dialect,
    Trend,
)
from churn.contract.types import COLUMN_TYPES, Kind

_LARGEST_INT = 2**31 - 1
# Postgres would fold or cut other names, and Feast joins names by two underscores.
_NAME = r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$"
_LONGEST_NAME = 48
# Tables of our own that are in the schema `raw` or beside the snapshots.
_OUR_RAW_TABLES = frozenset({"deliveries", "calendar", "judgements", "blocked"})
_OUR_TABLES = frozenset(
    {
        "churn_scores",
        "churn_score_runs",
        "action_list",
        "action_lists",
        "treatments",
        "treatment_months",
        "treatment_reports",
    }
)
# Columns that tables of the contract have from us; `score` is what drift calls the scores' own column.
_RESERVED = frozenset(
    {KEY, LABEL_COLUMN, "score", "as_of", "known_at", "is_withdrawn", "delivery_id"}
)
Name = Annotated[str, Field(pattern=_NAME, max_length=_LONGEST_NAME)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_A_DAY = dt.datetime(2024, 11, 28)


def _require_date_format(pattern: str) -> None:
    """Raise a ValueError where a format does not identify a day."""
    try:
        says = dt.datetime.strptime(_A_DAY.strftime(pattern), pattern)
    except (ValueError, re.error) as error:
        raise ValueError(f"{pattern!r} is no format of a date: {error}") from None
    if says.date() != _A_DAY.date():
        raise ValueError(f"{pattern!r} does not say day, month and year; write it as %d.%m.%Y")


class DialectEntry(_Entry):
    """How a file writes its values."""

    format: Literal["csv", "parquet"] = Field(
        "csv", description="how the file is written; a csv file may be compressed by gzip"
    )
    delimiter: str = Field(
        CANONICAL.delimiter,
        min_length=1,
        max_length=1,
        description="what parts the values of a row",
    )
    encoding: str = Field(CANONICAL.encoding, description="how its text is encoded, such as cp1252")
    decimal: Literal[".", ","] = Field(".", description="what parts the decimals of a number")
    thousands: str = Field("", max_length=1, description="what parts the thousands, as in 1.234,5")
    true: tuple[str, ...] = Field(
        CANONICAL.true_words, min_length=1, description="words that mean True"
    )
    false: tuple[str, ...] = Field(
        CANONICAL.false_words, min_length=1, description="words that mean False"
    )
    null: tuple[str, ...] = Field(CANONICAL.null_words, description="words that mean unknown")
    dates: tuple[str, ...] = Field(
        CANONICAL.date_formats,
        min_length=1,
        description="formats of dates as strftime has them, tried in order",
    )

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ValueError(
                f"encoding {self.encoding!r} is not known; utf-8 and cp1252 are"
            ) from None
        if not self.delimiter.isascii() or self.delimiter in '"\r\n':
            raise ValueError(f"delimiter {self.delimiter!r} cannot part values; use , ; | or a tab")
        if self.thousands == self.decimal:
            raise ValueError(f"{self.decimal!r} cannot be the mark of both decimals and thousands")
        if both := set(self.true) & set(self.false):
            raise ValueError(f"{min(both)!r} cannot mean both true and false")
        for pattern in self.dates:
            _require_date_format(pattern)
        return self

    def dialect(self) -> Dialect:
        """Return the object of this entry."""
        return Dialect(
            format=self.format,
            delimiter=self.delimiter,
            encoding=self.encoding,
            decimal=self.decimal,
            thousands=self.thousands,
            true_words=self.true,
            false_words=self.false,
            null_words=self.null,
            date_formats=self.dates,
        )


class ColumnEntry(_Entry):
    """One column of a table."""

    type: Kind = Field(description="what its values are")
    source: str | tuple[str, ...] = Field(
        "",
        description="what it is called in the file, its own name where not given; a list where files of"
        " before called it otherwise, the newest name first",
    )
    min: float | None = Field(0, description="a smaller number is impossible; null for no bound")
    max: float | None = Field(None, description="a larger number is impossible")
    expected: tuple[str, ...] = Field((), description="other texts are odd, not impossible")
    required: bool = Field(False, description="no blanks")
    optional: bool = Field(False, description="the column may be absent from the file")
    exact: bool = Field(
        False,
        description="a float that is kept in 64 bits instead of 32: its cents are right beyond 100,000, too",
    )
    trend: Trend | None = Field(
        None,
        description="how it moves from month to month: counts_months goes up by one with each month of stay,"
        " never_falls only goes up; a month in which most users do otherwise is blocked",
    )
    unit: str = Field("", description="of a number, as reports show it")
    description: str = Field(
        "", description="what it means, in words that reasons and the API's page repeat"
    )
    example: Any = Field(None, description="a value, for the examples of the API's page")
    feature: bool = Field(True, description="whether models may use it; dates never")
    since: int = Field(1, ge=1, description="version of the feature services that it came with")

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if not isinstance(self.source, str) and not self.source:
            raise ValueError("source is an empty list; write the names, the newest first")
        if self.min is not None and self.max is not None and self.max < self.min:
            raise ValueError(f"max {self.max:g} lies below min {self.min:g}")
        if self.exact and self.type != "float":
            raise ValueError(f"exact is for numbers with a fraction, and this is type {self.type}")
        if self.expected and self.type != "string":
            raise ValueError(f"expected is for texts, and this is type {self.type}")
        return self

    def column(self, name: str) -> Column:
        """Return the object of this entry."""
        is_number = self.type in ("int", "float")
        is_feature = self.feature and COLUMN_TYPES[self.type].feature is not None
        maximum = self.max if self.max is not None or self.type != "int" else _LARGEST_INT
        return Column(
            name,
            self.type,
            minimum=self.min if is_number else None,
            maximum=maximum if is_number else None,
            expected=self.expected,
            required=self.required,
            optional=self.optional,
            is_exact=self.exact,
            source=self.source if isinstance(self.source, str) else self.source[0],
            earlier_sources=() if isinstance(self.source, str) else self.source[1:],
            description=self.description,
            unit=self.unit,
            example=self.example,
            since=self.since if is_feature else None,
            trend=self.trend,
        )


class FileEntry(_Entry):
    """A file that only the `select` of tables reads."""

    files: str = Field(description="pattern of its name; {month} stands for 2024-01, {n} for 000")
    dialect: DialectEntry | None = Field(None, description="how this file writes its values")
    optional: bool = Field(False, description="the file may be absent from a drop")
    key: str | None = Field(
        "",
        description="what the column is called that names a user: their rows are left out once they are"
        " erased; null where no column does",
    )


class TableEntry(_Entry):
    """One table: a file of the drop, or what a `select` makes of the drop's files."""

    snapshot: Name | None = Field(
        None, description="the table of its history; NAME_snapshots where not given"
    )
    files: str = Field("", description="pattern of its file's name; NAME.csv where not given")
    dialect: DialectEntry | None = Field(None, description="how this file writes its values")
    select: str | None = Field(None, description="SQL (DuckDB) over the drop's files")
    key: str = Field("", description="what the key is called in this file")
    optional: bool = Field(False, description="the table may be absent from a drop")
    window_days: int | None = Field(
        None,
        ge=1,
        description="days up to the month's end that its figures cover; without it they are a state",
    )
    description: str = Field("", description="what the table says of a user")
    columns: dict[Name, ColumnEntry] = Field(
        min_length=1, description="its columns by name, without the key"
    )

    @field_validator("columns")
    @classmethod
    def _no_reserved_names(cls, columns: dict[str, ColumnEntry]) -> dict[str, ColumnEntry]:
        taken = sorted(_RESERVED & set(columns))
        if taken:
            raise ValueError(
                f"{taken[0]} is a name of the system's own; choose another, and give source"
            )
        return columns


class KeyEntry(_Entry):
    """The key by which a user is known."""

    source: str = Field(KEY, min_length=1, description="what the key is called in the files")
    example: str = Field("some-user", description="a key as it may look")


class LabelEntry(_Entry):
    """Where a month's labels come from."""

    from_: Literal["file", "absent", "status", "end_date"] = Field(
        "file", alias="from", description="what says who has left, see labels"
    )
    files: str = Field(
        "", description="from: file. Pattern of its name; labels.csv where not given"
    )
    dialect: DialectEntry | None = Field(
        None, description="from: file. How that file writes its values"
    )
    select: str | None = Field(None, description="from: file. SQL (DuckDB) over the drop's files")
    key: str = Field("", description="from: file. What the key is called in the file")
    source: str = Field("", description="from: file. What the label is called in the file")
    table: str = Field("", description="from: status or end_date. The table of the next month")
    column: str = Field("", description="from: status or end_date. Its column")
    gone: tuple[str, ...] = Field((), description="from: status. The words that mean gone")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.from_ in ("status", "end_date") and not (self.table and self.column):
            raise ValueError(f"from: {self.from_} needs table and column")
        if self.from_ == "status" and not self.gone:
            raise ValueError("from: status needs gone, the words that mean that a user has left")
        return self


class ViewEntry(_Entry):
    """One feature view."""

    table: str = Field(description="the table that its columns are of")
    columns: tuple[str, ...] = Field(
        (),
        description="in their order; without: all features of the table that no other view lists",
    )


class ServiceEntry(_Entry):
    """One feature service."""

    views: tuple[str, ...] = Field((), description="in their order; without: all")
    version: int | None = Field(None, ge=1, description="it does not grow beyond this version")
    description: str = Field("", description="what it is for")


class SegmentEntry(_Entry):
    """A column by which users are told apart in reports."""

    column: str = Field("", description="the column; the segment's name where not given")
    bands: tuple[float, ...] = Field(
        (), description="of a number, the upper bounds of its bands, each inclusive"
    )
    names: tuple[str, ...] = Field(
        (), description="names of the bands, one more than there are bounds"
    )

    @model_validator(mode="after")
    def _as_many_names(self) -> Self:
        if list(self.bands) != sorted(set(self.bands)):
            raise ValueError("bands must grow from each to the next")
        if self.names and len(self.names) != len(self.bands) + 1:
            raise ValueError(
                f"{len(self.bands)} bounds make {len(self.bands) + 1} bands to be named"
            )
        return self


class OddityEntry(_Entry):
    """A warning with a count."""

    table: str = Field(description="the table whose rows are looked at")
    column: str = Field(description="the column that the warning names")
    when: str = Field(
        description="what is odd: SQL over the row; as_of is the month's last day, and users.COLUMN the same"
        " user's value in the population's table"
    )
    text: str = Field(description="the warning; {as_of} stands for the month's last day")
    share: float = Field(0, ge=0, le=1, description="of the rows, from which on it is said")
    explains_blanks: bool = Field(
        False, description="blanks in these rows have a reason, and are not counted as unexplained"
    )
    of_users: bool = Field(
        False,
        description="the user's row of the population is what is wrong, and column is one of it",
    )


class ValueEntry(_Entry):
    """What a customer who is kept is worth."""

    amount: float | None = Field(None, gt=0, description="the same for all, in currency units")
    column: str = Field("", description="a feature of the user, as a monthly fee")
    months: float = Field(0, ge=0, description="how many times the column a kept user is worth")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.amount is None) == (not self.column):
            raise ValueError("give amount, or column and months")
        if self.column and not self.months:
            raise ValueError("column needs months: how many of them a kept customer is worth")
        return self


class ContractFile(_Entry):
    """A business and its exports."""

    name: Name = Field(description="of the business; models and the experiment in MLflow carry it")
    description: str = Field("", description="of the business, for whoever reads the file")
    first_month: str = Field(
        pattern=r"^(19|20|21)[0-9]{2}-(0[1-9]|1[0-2])$", description="the month of the first drop"
    )
    cadence: Literal["month"] = Field("month", description="how often drops come")
    drop_folder: str = Field(
        "month_{n}",
        pattern=r"\{(n|month)\}",
        description="{n} stands for 000, {month} for 2024-01",
    )
    key: KeyEntry = Field(KeyEntry(), description="what a user is known by")
    dialect: DialectEntry = Field(DialectEntry(), description="of every file that gives none")
    files: dict[Name, FileEntry] = Field(
        {}, description="files that are no tables, for the selects of tables, by name"
    )
    population: str = Field(description="the table that says who is there in a month")
    label: LabelEntry = Field(LabelEntry(), description="where it is said who has left")
    tenure: str | None = Field(None, description="the column that says how long a user is there")
    customer_value: ValueEntry | None = Field(
        None,
        description="what a customer who is kept is worth; CHURN_CAMPAIGN_CUSTOMER_VALUE overrules it",
    )
    tables: dict[Name, TableEntry] = Field(min_length=1, description="the tables by name")
    views: dict[Name, ViewEntry] = Field(
        {}, description="the feature views by name; one for each table where not given"
    )
    services: dict[Name, ServiceEntry] = Field(
        {}, description="the feature services by name; one of all views where not given"
    )
    default_service: str = Field(
        "",
        description="the service by whose features the API answers; the last one where not given",
    )
    baseline_service: str = Field(
        "", description="the service that models are compared with; the default one where not given"
    )
    segments: dict[Name, SegmentEntry] = Field(
        {}, description="by which columns reports, model cards and views tell users apart, by name"
    )
    oddities: tuple[OddityEntry, ...] = Field(
        (),
        description="what is odd in a row and may be: it is counted and told, and blocks nothing",
    )

    @field_validator("tables")
    @classmethod
    def _labels_are_apart(cls, tables: dict[str, TableEntry]) -> dict[str, TableEntry]:
        if LABEL_TABLE in tables:
            raise ValueError(f"{LABEL_TABLE} is declared by `label:`; take it out of tables")
        snapshots = {name: entry.snapshot or f"{name}_snapshots" for name, entry in tables.items()}
        ours = {*(_OUR_RAW_TABLES & set(tables)), *(_OUR_TABLES & set(snapshots.values()))}
        if ours:
            raise ValueError(f"{min(ours)} is a table of the system's own; choose another name")
        if len(set(snapshots.values()) | {f"{LABEL_TABLE}_snapshots"}) <= len(snapshots):
            raise ValueError("two tables have the same snapshot table; give each its own")
        return tables


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **ContractFile.model_json_schema(by_alias=True),
    }

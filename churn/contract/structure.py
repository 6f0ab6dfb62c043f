"""What a contract is made of: columns, tables, views, services, and what the business says about them.

These are the objects that every stage works with. They are read from a file by document.py; those of the
contract in force are in in_force.py.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from churn.contract.types import COLUMN_TYPES, FEATURE_TYPES, DType, FeatureType, Kind

if TYPE_CHECKING:
    from collections.abc import Collection

    from churn.months import Month

KEY = "user_id"
LABEL_TABLE = "labels"
LABEL_COLUMN = "churn_label"

Trend = Literal["counts_months", "never_falls"]


def plain(name: str) -> str:
    """Return a name without its differences in case and in the width of blanks, to compare names in files."""
    return " ".join(name.split()).lower()


@dataclass(frozen=True)
class Column:
    """One column: its type, the bounds beyond which a value is impossible, the values expected.

    Args:
        name: its name everywhere but in the file.
        expected: values other than these are odd (a warning), not impossible.
        required: blanks are refused.
        optional: the whole column may be absent from the file.
        is_exact: it keeps its cents, as a float64 wherever it goes.
        source: its name in the file.
        earlier_sources: its names in the files of earlier months.
        since: the version of the feature services from which it is a feature; None where it is none.
        trend: how it moves from month to month: it grows by one a month, or it never falls.
    """

    name: str
    kind: Kind
    minimum: float | None = None
    maximum: float | None = None
    expected: tuple[str, ...] = ()
    required: bool = False
    optional: bool = False
    is_exact: bool = False
    source: str = ""
    earlier_sources: tuple[str, ...] = ()
    description: str = ""
    unit: str = ""
    example: Any = None
    since: int | None = None
    trend: Trend | None = None

    @property
    def source_name(self) -> str:
        """The column's name in its file."""
        return self.source or self.name

    @property
    def dtype(self) -> DType:
        """Its type as a feature; a number is a Float32 unless it is exact, and needs more than 24 bits.

        Raises:
            ValueError: such a column cannot be a feature.
        """
        if self.is_exact:
            return "Float64"
        dtype = COLUMN_TYPES[self.kind].feature
        if dtype is None:
            raise ValueError(f"{self.name}: a {self.kind} is no feature")
        return dtype


@dataclass(frozen=True)
class Dialect:
    """How a file writes its values; the default is the canonical CSV file.

    Args:
        true_words, false_words: the words for True and False.
        null_words: the words for unknown.
        date_formats: formats of strftime, tried in this order.
    """

    format: Literal["csv", "parquet"] = "csv"
    delimiter: str = ","
    encoding: str = "utf-8"
    decimal: str = "."
    thousands: str = ""
    true_words: tuple[str, ...] = ("True",)
    false_words: tuple[str, ...] = ("False",)
    null_words: tuple[str, ...] = ("",)
    date_formats: tuple[str, ...] = ("%Y-%m-%d",)


CANONICAL = Dialect()


@dataclass(frozen=True)
class SourceFile:
    """A file of a drop that is not a table itself, but is read by the `select` of one or more tables.

    Args:
        key: what its column is called that names a user; empty where that is not known, None where none does.
    """

    name: str
    files: str
    dialect: Dialect = CANONICAL
    optional: bool = False
    key: str | None = ""


@dataclass(frozen=True)
class Table:
    """One table of the drop, its raw table of the same name, and its snapshot table.

    Args:
        columns: its columns, the key first.
        files: the pattern of its file's name in a drop; {month} stands for 2024-01, {n} for 000.
        select: SQL over the drop's files that returns its rows, in place of a file of its own.
        optional: it may be absent from a drop.
        window_days: how many days up to the month's end its figures cover; None where they are a state.
    """

    name: str
    snapshot: str
    columns: tuple[Column, ...]
    files: str = ""
    dialect: Dialect = CANONICAL
    select: str | None = None
    optional: bool = False
    window_days: int | None = None
    description: str = ""

    @property
    def file(self) -> str:
        """The file's name in a canonical drop."""
        return f"{self.name}.csv"

    @property
    def shown_file(self) -> str:
        """The name of its file in messages: as in the contract, with YYYY-MM or NNN for the month."""
        if self.select is not None:
            return f"{self.name} (select)"
        pattern = self.files or f"{self.name}.{self.dialect.format}"
        return pattern.replace("{month}", "YYYY-MM").replace("{n}", "NNN")

    @property
    def values(self) -> tuple[Column, ...]:
        """The columns other than user_id."""
        return self.columns[1:]

    @property
    def is_canonical(self) -> bool:
        """Whether its file is read as it stands, without being translated first."""
        return (
            self.select is None
            and self.files in ("", self.file)
            and self.dialect == CANONICAL
            and all(column.source_name == column.name for column in self.columns)
        )

    def column(self, name: str) -> Column:
        """Return the column called `name`."""
        return next(column for column in self.columns if column.name == name)


@dataclass(frozen=True)
class Feature:
    """One feature: its name (the source column's), its Feast type, and since which version it is one."""

    name: str
    dtype: DType
    description: str
    since: int = 1

    @property
    def type(self) -> FeatureType:
        """How its values are held."""
        return FEATURE_TYPES[self.dtype]


@dataclass(frozen=True)
class View:
    """One Feast feature view: some columns of one snapshot table."""

    name: str
    table: Table
    features: tuple[Feature, ...]

    @functools.cached_property
    def feature_names(self) -> tuple[str, ...]:
        """The names of its features, in order."""
        return tuple(feature.name for feature in self.features)

    @property
    def may_be_absent(self) -> bool:
        """Whether a month may lack it: its table is optional, or the view is newer than the first version."""
        return self.table.optional or all(feature.since > 1 for feature in self.features)

    def part(self, names: Collection[str]) -> View:
        """Return the view with only the features that are named."""
        return replace(self, features=tuple(f for f in self.features if f.name in names))

    def until(self, version: int) -> View:
        """Return the view as it was at a version of the feature services."""
        return replace(self, features=tuple(f for f in self.features if f.since <= version))


@dataclass(frozen=True)
class Service:
    """One version of a feature service: an ordered list of views, each with its features at that version."""

    name: str
    views: tuple[View, ...]
    description: str
    version: int = 1

    @property
    def versioned_name(self) -> str:
        """The name of this version, such as `churn_rich_v2`; the plain name means the newest version."""
        return f"{self.name}_v{self.version}"

    @property
    def recorded_name(self) -> str:
        """The name in a release's records: version 1 keeps the plain name from before there were versions."""
        return self.name if self.version == 1 else self.versioned_name

    @property
    def features(self) -> tuple[Feature, ...]:
        """Every feature of the service, in the order of its views."""
        return tuple(feature for view in self.views for feature in view.features)

    @property
    def feature_names(self) -> list[str]:
        """The names of the features, in order: the columns of a training row."""
        return [feature.name for feature in self.features]

    @property
    def categorical_cols(self) -> list[str]:
        """The String features: one-hot encoded by the model."""
        return [feature.name for feature in self.features if feature.dtype == "String"]

    @property
    def numeric_cols(self) -> list[str]:
        """The other features: passed through (booleans as 0 and 1, unknown as NaN)."""
        return [feature.name for feature in self.features if feature.dtype != "String"]


@dataclass(frozen=True)
class Segment:
    """A column by whose values, or bands of values, reports tell users apart.

    Args:
        bands: the upper bounds of all bands but the last, each inclusive; empty where values are not banded.
    """

    name: str
    column: str
    bands: tuple[float, ...] = ()
    band_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class OddityRule:
    """What is odd about a row: a warning with a count, never blocking.

    Args:
        table: the table whose rows are checked.
        column: the column that the warning names.
        when: SQL over the row's columns, `as_of` (the month's last day) and, as `users.column`, the columns
            of
            the user's row in the population table; the rows for which it holds are odd.
        text: the warning; {as_of} stands for the month's last day.
        share: the share of the table's rows that must be odd before there is a warning; with 0, one is
            enough.
        explains_blanks: blanks in these rows are not counted as unexplained.
        is_of_users: the user's row is what is wrong, not the row that was checked.
    """

    table: str
    column: str
    when: str
    text: str
    share: float = 0.0
    explains_blanks: bool = False
    is_of_users: bool = False


@dataclass(frozen=True)
class LabelRule:
    """Where a month's labels come from: a file, or the next month's data.

    Args:
        kind: `file`: labels.csv says who left; `absent`: who left is missing from the next month's users;
            `status`: a column of the next month holds a word of `gone`; `end_date`: a column of the next
            month holds a date that is not after that month's end.
        table, column: the column of the next month that `status` and `end_date` read.
        gone: the words that mean that a user has left.
    """

    kind: Literal["file", "absent", "status", "end_date"] = "file"
    table: str = ""
    column: str = ""
    gone: tuple[str, ...] = ()


@dataclass(frozen=True)
class CustomerValue:
    """What a customer who is kept is worth: an amount, or a column's value times a number of months."""

    amount: float | None = None
    column: str = ""
    months: float = 0.0


@dataclass(frozen=True)
class Contract:
    """Everything that is declared about one business and its exports.

    Args:
        tables: the tables in their order; that of the labels is the last.
        population: the name of the table that says who is there in a month.
        services: every version of every feature service, the newest version of each last.
        default_service, baseline_service: names of feature services.
        tenure: the column that says how long a user has been there, and on which a simple comparator rests.
        drop_folder: the name of a month's folder of files; {n} and {month} as in Table.files.
        fingerprint: the sha256 of the contract's content, whatever its comments and order of keys.
        source: where it was read.
    """

    name: str
    description: str
    tables: tuple[Table, ...]
    source_files: tuple[SourceFile, ...]
    population: str
    label: LabelRule
    views: tuple[View, ...]
    services: tuple[Service, ...]
    default_service: str
    baseline_service: str
    first_month: Month
    drop_folder: str
    tenure: str | None
    customer_value: CustomerValue | None
    segments: tuple[Segment, ...]
    oddities: tuple[OddityRule, ...]
    fingerprint: str
    text: str = field(repr=False)
    source: str = ""

    @functools.cached_property
    def table_by_name(self) -> dict[str, Table]:
        """The tables by their names."""
        return {table.name: table for table in self.tables}

    @property
    def users(self) -> Table:
        """The table that says who is there."""
        return self.table_by_name[self.population]

    @property
    def labels(self) -> Table:
        """The table of the labels."""
        return self.table_by_name[LABEL_TABLE]

    def newest(self, service: str) -> Service:
        """Return the newest version of a feature service."""
        return [each for each in self.services if each.name == service][-1]

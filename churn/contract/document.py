"""The contract's file: what may stand in it, read with the line of each mistake.

The models below are the file as people write it; `read_contract` makes of them the objects of structure.py.
`json_schema` is what editors complete and check the file by.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from churn.contract.structure import (
    CANONICAL,
    KEY,
    LABEL_COLUMN,
    LABEL_TABLE,
    Column,
    Contract,
    CustomerValue,
    Dialect,
    Feature,
    LabelRule,
    OddityRule,
    Segment,
    Service,
    SourceFile,
    Table,
    Trend,
    View,
)
from churn.contract.types import COLUMN_TYPES, Kind
from churn.errors import ChurnError
from churn.months import Month

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_LARGEST_INT = 2**31 - 1
# Postgres folds and cuts other names, and Feast joins names with two underscores.
_NAME = r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$"
_LONGEST_NAME = 48
_RESERVED = frozenset({KEY, LABEL_COLUMN, "as_of", "known_at", "is_withdrawn", "delivery_id"})
Name = Annotated[str, Field(pattern=_NAME, max_length=_LONGEST_NAME)]
Path = tuple[str | int, ...]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DialectEntry(_Entry):
    """How a file writes its values."""

    format: Literal["csv", "parquet"] = "csv"
    delimiter: str = Field(CANONICAL.delimiter, min_length=1, max_length=1)
    encoding: str = CANONICAL.encoding
    decimal: Literal[".", ","] = "."
    thousands: str = Field("", max_length=1, description="what parts the thousands, as in 1.234,5")
    true: tuple[str, ...] = Field(CANONICAL.true_words, description="words that mean True")
    false: tuple[str, ...] = Field(CANONICAL.false_words, description="words that mean False")
    null: tuple[str, ...] = Field(CANONICAL.null_words, description="words that mean unknown")
    dates: tuple[str, ...] = Field(
        CANONICAL.date_formats, description="formats of dates as strftime has them, tried in order"
    )

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

    type: Kind
    source: str = Field(
        "", description="what it is called in the file; its own name where not given"
    )
    min: float | None = Field(0, description="a smaller number is impossible; null for no bound")
    max: float | None = Field(None, description="a larger number is impossible")
    expected: tuple[str, ...] = Field((), description="other texts are odd, not impossible")
    required: bool = Field(False, description="no blanks")
    optional: bool = Field(False, description="the column may be absent from the file")
    exact: bool = Field(False, description="a number that keeps its cents beyond 100,000")
    trend: Trend | None = Field(None, description="how it moves from month to month")
    unit: str = ""
    description: str = ""
    example: Any = None
    feature: bool = Field(True, description="whether models may use it; dates never")
    since: int = Field(1, ge=1, description="version of the feature services that it came with")

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
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
            source=self.source,
            description=self.description,
            unit=self.unit,
            example=self.example,
            since=self.since if is_feature else None,
            trend=self.trend,
        )


class FileEntry(_Entry):
    """A file that only the `select` of tables reads."""

    files: str = Field(description="pattern of its name; {month} stands for 2024-01, {n} for 000")
    dialect: DialectEntry | None = None
    optional: bool = False


class TableEntry(_Entry):
    """One table: a file of the drop, or what a `select` makes of the drop's files."""

    snapshot: Name | None = Field(None, description="the table of its history; made of its name")
    files: str = Field("", description="pattern of its file's name; NAME.csv where not given")
    dialect: DialectEntry | None = None
    select: str | None = Field(None, description="SQL (DuckDB) over the drop's files")
    key: str = Field("", description="what the key is called in this file")
    optional: bool = Field(False, description="the table may be absent from a drop")
    window_days: int | None = Field(None, ge=1, description="days that its figures cover")
    description: str = ""
    columns: dict[Name, ColumnEntry] = Field(min_length=1)

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

    from_: Literal["file", "absent", "status", "end_date"] = Field("file", alias="from")
    files: str = Field(
        "", description="from: file. Pattern of its name; labels.csv where not given"
    )
    dialect: DialectEntry | None = None
    select: str | None = Field(None, description="from: file. SQL (DuckDB) over the drop's files")
    key: str = ""
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

    table: str
    columns: tuple[str, ...] = Field(
        (),
        description="in their order; without: all features of the table that no other view lists",
    )


class ServiceEntry(_Entry):
    """One feature service."""

    views: tuple[str, ...] = Field((), description="in their order; without: all")
    version: int | None = Field(None, ge=1, description="it does not grow beyond this version")
    description: str = ""


class SegmentEntry(_Entry):
    """A column by which users are told apart in reports."""

    column: str = Field("", description="the segment's name where not given")
    bands: tuple[float, ...] = Field((), description="upper bounds of the bands of a number")
    names: tuple[str, ...] = Field((), description="of the bands, one more than there are bounds")

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

    table: str
    column: str
    when: str = Field(description="SQL over the row; users.COLUMN for the user's own row, as_of")
    text: str
    share: float = Field(0, ge=0, le=1, description="of the rows, from which on it is said")
    explains_blanks: bool = False
    of_users: bool = False


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

    name: Name
    description: str = ""
    first_month: str = Field(
        pattern=r"^[0-9]{4}-[0-9]{2}$", description="the month of the first drop"
    )
    cadence: Literal["month"] = "month"
    drop_folder: str = Field("month_{n}", description="{n} stands for 000, {month} for 2024-01")
    key: KeyEntry = KeyEntry()
    dialect: DialectEntry = Field(DialectEntry(), description="of every file that gives none")
    files: dict[Name, FileEntry] = {}
    population: str = Field(description="the table that says who is there in a month")
    label: LabelEntry = LabelEntry()
    tenure: str | None = Field(None, description="the column that says how long a user is there")
    customer_value: ValueEntry | None = None
    tables: dict[Name, TableEntry] = Field(min_length=1)
    views: dict[Name, ViewEntry] = {}
    services: dict[Name, ServiceEntry] = {}
    default_service: str = ""
    baseline_service: str = ""
    segments: dict[Name, SegmentEntry] = {}
    oddities: tuple[OddityEntry, ...] = ()

    @field_validator("tables")
    @classmethod
    def _labels_are_apart(cls, tables: dict[str, TableEntry]) -> dict[str, TableEntry]:
        if LABEL_TABLE in tables:
            raise ValueError(f"{LABEL_TABLE} is declared by `label:`; take it out of tables")
        return tables


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **ContractFile.model_json_schema(by_alias=True),
    }


def read_contract(text: str, source: str) -> Contract:
    """Return the contract that a file's text declares.

    Args:
        text: YAML.
        source: where it was read, for messages.

    Raises:
        ChurnError: it is no contract; each mistake with its line, its key and what to do.
    """
    data, lines = _parse(text, source)
    try:
        file = ContractFile.model_validate(data)
    except ValidationError as error:
        mistakes = [_mistake(each, lines) for each in error.errors()]
        raise _refusal(source, mistakes) from None
    return _Builder(file, lines, source, text).contract()


def read_contract_file(path: FilePath) -> Contract:
    """Return the contract that a file declares.

    Raises:
        ChurnError: the file cannot be read, or is no contract.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ChurnError(
            f"the contract cannot be read: {getattr(error, 'strerror', None) or error}",
            where=str(path),
            remedy="give the path of a contract; without one (CHURN_CONTRACT) StreamFlow's own is in force",
        ) from error
    return read_contract(text, str(path))


def _refusal(source: str, mistakes: list[str]) -> ChurnError:
    listed = mistakes[0] if len(mistakes) == 1 else "".join(f"\n  {each}" for each in mistakes)
    return ChurnError(
        listed,
        where=f"contract {source}",
        remedy="correct the file; `churn contract schema` says what may stand in it",
    )


def _parse(text: str, source: str) -> tuple[Any, dict[Path, int]]:
    """Return the data of a YAML text, and the line of each of its keys."""
    try:
        loader = yaml.CSafeLoader(text)
        node = loader.get_single_node()
        lines = dict(_lines(node, ())) if node else {}
        data = loader.construct_document(node) if node else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _refusal(source, [f"line {line}: it is no YAML: {error.problem}"]) from None
    except (yaml.YAMLError, ValueError) as error:
        raise _refusal(source, [f"it is no YAML: {error}"]) from None
    if not isinstance(data, dict):
        raise _refusal(source, ["line 1: a contract is a mapping, as in `name: streamflow`"])
    return data, lines


def _lines(node: yaml.Node, path: Path) -> Iterator[tuple[Path, int]]:
    """Yield the line of everything below a node, and refuse keys that stand twice: one would be lost."""
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            key.tag = yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG  # true, false, null: names here
            if key.value in keys:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value} stands twice", problem_mark=key.start_mark
                )
            keys.add(key.value)
            yield from _lines(value, (*path, key.value))
            yield (*path, key.value), key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*path, index))


def _mistake(error: ErrorDetails, lines: Mapping[Path, int]) -> str:
    """Say where a mistake stands, and what it is, in words."""
    path: Path = tuple(part for part in error["loc"] if part != "[key]")
    key = ".".join(map(str, path))
    words = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        words = "no such key; check its spelling"
    elif error["type"] == "missing":
        words = "is missing"
    elif error["type"] == "string_pattern_mismatch" and path[-1:] != ("first_month",):
        words = f"{error['input']!r} is no name: write small letters, digits and single underscores"
    return f"line {_line(path, lines)}, {key}: {words}"


def _line(path: Path, lines: Mapping[Path, int]) -> int:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


class _Builder:
    """Makes the objects, and holds the names that the parts of a file have for each other together."""

    def __init__(
        self, file: ContractFile, lines: Mapping[Path, int], source: str, text: str
    ) -> None:
        self.file, self.lines, self.source, self.text = file, lines, source, text
        self.mistakes: list[str] = []

    def contract(self) -> Contract:
        """Return the whole; every name that leads nowhere is a mistake."""
        file = self.file
        tables = {name: self._table(name, entry) for name, entry in file.tables.items()}
        self._columns_differ(tables)
        self._leads(file.population, tables, ("population",), "table")
        views = self._views(tables)
        services = self._services(views)
        names = list(dict.fromkeys(service.name for service in services))
        default = file.default_service or (names[-1] if names else "")
        baseline = file.baseline_service or default
        self._leads(default, names, ("default_service",), "service")
        self._leads(baseline, names, ("baseline_service",), "service")
        columns = {c.name: c for table in tables.values() for c in table.values}
        self._other_names(columns, tables)
        if self.mistakes:
            raise _refusal(self.source, self.mistakes)
        return Contract(
            name=file.name,
            description=file.description,
            tables=(*tables.values(), self._labels()),
            source_files=tuple(
                SourceFile(name, entry.files, self._dialect(entry.dialect), entry.optional)
                for name, entry in file.files.items()
            ),
            population=file.population,
            label=LabelRule(file.label.from_, file.label.table, file.label.column, file.label.gone),
            views=tuple(views.values()),
            services=tuple(services),
            default_service=default,
            baseline_service=baseline,
            first_month=Month.parse(file.first_month),
            drop_folder=file.drop_folder,
            tenure=file.tenure,
            customer_value=CustomerValue(**value.model_dump())
            if (value := file.customer_value)
            else None,
            segments=tuple(self._segment(name, e, columns) for name, e in file.segments.items()),
            oddities=tuple(_oddity(entry) for entry in file.oddities),
            fingerprint=_fingerprint(file),
            text=self.text,
            source=self.source,
        )

    def _mistake(self, path: Path, words: str) -> None:
        key = ".".join(map(str, path))
        self.mistakes.append(f"line {_line(path, self.lines)}, {key}: {words}")

    def _leads(
        self, name: str, known: Mapping[str, Any] | list[str], path: Path, kind: str
    ) -> bool:
        if name in known:
            return True
        self._mistake(path, f"there is no {kind} {name!r}; there are {', '.join(known)}")
        return False

    def _dialect(self, entry: DialectEntry | None) -> Dialect:
        """Return a file's dialect: what it does not say itself, the contract's says."""
        if entry is None:
            return self.file.dialect.dialect()
        own = entry.model_dump(exclude_unset=True)
        return DialectEntry(**{**self.file.dialect.model_dump(), **own}).dialect()

    def _key(self, source: str, select: str | None) -> Column:
        source = source or (KEY if select else self.file.key.source)
        return Column(
            KEY,
            "string",
            required=True,
            source="" if source == KEY else source,
            example=self.file.key.example,
        )

    def _table(self, name: str, entry: TableEntry) -> Table:
        columns = [column.column(each) for each, column in entry.columns.items()]
        return Table(
            name,
            entry.snapshot or f"{name}_snapshots",
            (self._key(entry.key, entry.select), *columns),
            files=entry.files,
            dialect=self._dialect(entry.dialect),
            select=entry.select,
            optional=entry.optional,
            window_days=entry.window_days,
            description=entry.description,
        )

    def _labels(self) -> Table:
        entry = self.file.label
        label = Column(LABEL_COLUMN, "bool", required=True, source=entry.source)
        is_derived = entry.from_ != "file"
        return Table(
            LABEL_TABLE,
            f"{LABEL_TABLE}_snapshots",
            (
                Column(KEY, "string", required=True)
                if is_derived
                else self._key(entry.key, entry.select),
                label,
            ),
            files=entry.files,
            dialect=CANONICAL if is_derived else self._dialect(entry.dialect),
            select=entry.select,
            optional=True,
        )

    def _columns_differ(self, tables: Mapping[str, Table]) -> None:
        """Each column is a feature of its own name, whichever table it is of."""
        owners: dict[str, str] = {}
        for table in tables.values():
            for column in table.values:
                if column.name in owners:
                    words = f"{owners[column.name]} has a column of this name, too; give one another name"
                    self._mistake(("tables", table.name, "columns", column.name), words)
                owners[column.name] = table.name

    def _views(self, tables: Mapping[str, Table]) -> dict[str, View]:
        entries = self.file.views or {
            f"{name}_fv": ViewEntry(table=name)
            for name, table in tables.items()
            if any(column.since for column in table.values)
        }
        listed = {name for entry in entries.values() for name in entry.columns}
        views = {}
        for name, entry in entries.items():
            path: Path = ("views", name)
            if not self._leads(entry.table, tables, (*path, "table"), "table"):
                continue
            table = tables[entry.table]
            features = {column.name: column for column in table.values if column.since}
            own = entry.columns or tuple(each for each in features if each not in listed)
            unknown = [each for each in own if each not in features]
            for each in unknown:
                self._mistake((*path, "columns"), f"{each} is no feature of {entry.table}")
            if not unknown:
                chosen = [features[each] for each in own]
                views[name] = View(name, table, _features(chosen))
        self._every_feature_once(views, tables)
        return views

    def _every_feature_once(self, views: Mapping[str, View], tables: Mapping[str, Table]) -> None:
        seen: dict[str, str] = {}
        for view in views.values():
            for feature in view.features:
                if feature.name in seen:
                    words = f"{feature.name} is in {seen[feature.name]} already"
                    self._mistake(("views", view.name), words)
                seen[feature.name] = view.name
        for table in tables.values():
            for column in table.values:
                if column.since and column.name not in seen and len(views) == len(self.file.views):
                    words = "is a feature, but in no view; add it to one, or say feature: false"
                    self._mistake(("tables", table.name, "columns", column.name), words)

    def _services(self, views: Mapping[str, View]) -> list[Service]:
        entries = self.file.services or {f"{self.file.name}_all": ServiceEntry()}
        services = []
        for name, entry in entries.items():
            wanted = entry.views or tuple(views)
            known = [self._leads(e, views, ("services", name, "views"), "view") for e in wanted]
            if not all(known):
                continue
            chosen = tuple(views[each] for each in wanted)
            newest = max((f.since for view in chosen for f in view.features), default=1)
            last = min(newest, entry.version or newest)
            services += [
                Service(name, _until(version, chosen), entry.description, version)
                for version in range(1, last + 1)
            ]
        return services

    def _segment(self, name: str, entry: SegmentEntry, columns: Mapping[str, Column]) -> Segment:
        column = columns[entry.column or name]
        names = entry.names or _band_names(entry.bands, column)
        return Segment(name, column.name, entry.bands, names)

    def _other_names(self, columns: Mapping[str, Column], tables: Mapping[str, Table]) -> None:
        file = self.file
        if file.tenure is not None:
            self._leads(file.tenure, columns, ("tenure",), "column")
        if file.customer_value and file.customer_value.column:
            numbers = [
                name for name, c in columns.items() if c.since and c.kind in ("int", "float")
            ]
            of_value: Path = ("customer_value", "column")
            self._leads(file.customer_value.column, numbers, of_value, "feature that is a number")
        for name, segment in file.segments.items():
            self._leads(segment.column or name, columns, ("segments", name), "column")
        for index, oddity in enumerate(file.oddities):
            path: Path = ("oddities", index)
            if self._leads(oddity.table, tables, (*path, "table"), "table"):
                table = tables[file.population if oddity.of_users else oddity.table]
                known = [column.name for column in table.columns]
                self._leads(oddity.column, known, (*path, "column"), "column")
        if file.label.from_ in ("status", "end_date"):
            where: Path = ("label", "table")
            if self._leads(file.label.table, tables, where, "table"):
                known = [column.name for column in tables[file.label.table].values]
                self._leads(file.label.column, known, ("label", "column"), "column")


def _until(version: int, views: tuple[View, ...]) -> tuple[View, ...]:
    """Return the views as they were at a version; one that came later is left out."""
    return tuple(view for each in views if (view := each.until(version)).features)


def _features(columns: list[Column]) -> tuple[Feature, ...]:
    """Return the features of a view, those that came later behind those that were there."""
    features = [Feature(c.name, c.dtype, c.description, c.since or 1) for c in columns]
    return tuple(sorted(features, key=lambda feature: feature.since))


def _oddity(entry: OddityEntry) -> OddityRule:
    return OddityRule(
        entry.table,
        entry.column,
        entry.when,
        entry.text,
        entry.share,
        entry.explains_blanks,
        entry.of_users,
    )


def _band_names(bands: tuple[float, ...], column: Column) -> tuple[str, ...]:
    """Return what the bands are called: 0-6, 7-12, 13+ for whole numbers."""
    if not bands:
        return ()
    if column.kind != "int":
        between = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(bands)]
        return (f"up to {bands[0]:g}", *between, f"above {bands[-1]:g}")
    lows = [int(column.minimum or 0), *(int(band) + 1 for band in bands)]
    names = [f"{low}-{int(high)}" for low, high in zip(lows, bands, strict=False)]
    return (*names, f"{lows[-1]}+")


def _fingerprint(file: ContractFile) -> str:
    """Return the sha256 of what the file says, whatever it leaves to defaults or in which order."""
    content = file.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for ordered in ("tables", "views", "services"):  # the order of these is part of what they say
        content[ordered] = list(content.get(ordered, {}).items())
    for _, table in content["tables"]:
        table["columns"] = list(table["columns"].items())
    text = re.sub(r"\s+", " ", json.dumps(content, sort_keys=True, ensure_ascii=False))
    return hashlib.sha256(text.encode()).hexdigest()

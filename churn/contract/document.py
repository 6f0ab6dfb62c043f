"""Reading the contract's file: its keys become the objects of structure.py, and each mistake has its line."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from churn.contract.schema import (
    ContractFile,
    DialectEntry,
    OddityEntry,
    SegmentEntry,
    ServiceEntry,
    TableEntry,
    ViewEntry,
)
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
    View,
)
from churn.errors import ChurnError
from churn.months import Month

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# The keys and list indices that lead to an entry of the file.
Path = tuple[str | int, ...]


def read_contract(text: str, source: str) -> Contract:
    """Return the contract that a file's text declares.

    Args:
        text: YAML.
        source: where it was read, for messages.

    Raises:
        ChurnError: the text is no contract; each mistake is listed with its line, its key and what to do.
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
        ChurnError: the file cannot be read, or is not a contract.
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
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise _refusal(source, [f"it is no YAML: {error}"]) from None
    if not isinstance(data, dict):
        raise _refusal(source, ["line 1: a contract is a mapping, as in `name: streamflow`"])
    return data, lines


def _lines(node: yaml.Node, path: Path) -> Iterator[tuple[Path, int]]:
    """Yield the line of everything below a node; refuse duplicate keys, of which one would be lost."""
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            # A key such as true, false or null is a name here.
            key.tag = yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG
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
    """Return a sentence that says where a mistake is, and what it is."""
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
    """Builds the contract's objects, and checks that the names by which they refer to each other exist."""

    def __init__(
        self, file: ContractFile, lines: Mapping[Path, int], source: str, text: str
    ) -> None:
        self.file, self.lines, self.source, self.text = file, lines, source, text
        self.mistakes: list[str] = []

    def contract(self) -> Contract:
        """Return the contract; every name that refers to nothing is a mistake."""
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
                SourceFile(
                    name, entry.files, self._dialect(entry.dialect), entry.optional, entry.key
                )
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
        """Return a file's dialect; what it leaves open is taken from the contract's own."""
        if entry is None:
            return self.file.dialect.dialect()
        own = entry.model_dump(exclude_unset=True)
        try:
            return DialectEntry(**{**self.file.dialect.model_dump(), **own}).dialect()
        except ValidationError as error:
            words = error.errors()[0]["msg"].removeprefix("Value error, ")
            self._mistake(("dialect",), f"together with that of one file: {words}")
            return CANONICAL

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
        )

    def _columns_differ(self, tables: Mapping[str, Table]) -> None:
        """Check that no two columns share a name: each may be a feature, whichever table it is in."""
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
        for name in views:
            if any(name == column.name for table in tables.values() for column in table.values):
                self._mistake(("views", name), "a column has this name, too; choose another")
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
                self._label_column(tables[file.label.table])

    def _label_column(self, table: Table) -> None:
        """Check that the column that says who is gone is one that its rule can read."""
        label, path = self.file.label, ("label", "column")
        if label.from_ == "end_date":
            dates = [column.name for column in table.values if column.kind == "date"]
            self._leads(label.column, dates, path, "column of type date")
        elif self._leads(label.column, [c.name for c in table.values], path, "column"):
            column = table.column(label.column)
            words = ("True", "False") if column.kind == "bool" else column.expected
            for word in label.gone:
                if words and word not in words:
                    self._mistake(("label", "gone"), f"{word!r} is none of {', '.join(words)}")


def _until(version: int, views: tuple[View, ...]) -> tuple[View, ...]:
    """Return the views as they were at a version, without views that came later."""
    return tuple(view for each in views if (view := each.until(version)).features)


def _features(columns: list[Column]) -> tuple[Feature, ...]:
    """Return the features of a view, ordered by the version that they came with."""
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
    """Return the names of the bands; for whole numbers they look like 0-6, 7-12, 13+."""
    if not bands:
        return ()
    if column.kind != "int":
        between = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(bands)]
        return (f"up to {bands[0]:g}", *between, f"above {bands[-1]:g}")
    lows = [int(column.minimum or 0), *(int(band) + 1 for band in bands)]
    names = [f"{low}-{int(high)}" for low, high in zip(lows, bands, strict=False)]
    return (*names, f"{lows[-1]}+")


def _fingerprint(file: ContractFile) -> str:
    """Return the sha256 of the file's content, whatever its order of keys, with or without its defaults."""
    content = file.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    # The order of these is part of what they say.
    for ordered in ("tables", "views", "services"):
        content[ordered] = list(content.get(ordered, {}).items())
    for _, table in content["tables"]:
        table["columns"] = list(table["columns"].items())
    text = re.sub(r"\s+", " ", json.dumps(content, sort_keys=True, ensure_ascii=False))
    return hashlib.sha256(text.encode()).hexdigest()

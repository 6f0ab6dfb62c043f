"""The tables of a drafted contract, with the files that their selects read and a comment at each guess."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from churn.contract.draft.columns import Profile, contract_name, short, unit, words
from churn.contract.draft.entries import (
    DIALECT_KEYS,
    block,
    dialect,
    entry_of,
    flow,
    scalar,
    uncommon,
)
from churn.contract.draft.selects import (
    Selected,
    aggregates,
    counted,
    joined,
    keyed,
    months_since,
    numbered,
    reserved_words,
)
from churn.contract.draft.sources import Business, Part, Source, known_shares, span
from churn.contract.structure import KEY, LABEL_COLUMN, LABEL_TABLE, plain

_TAKEN = frozenset({KEY, LABEL_COLUMN, "as_of", "known_at", "is_withdrawn", "delivery_id"})
_LONGEST_WINDOW_DAYS = 400
_MOST_OF_SEGMENT = 8  # different values
_OF_VALUE = frozenset(["mrr", "fee", "price", "revenue", "charge", "charges", "arpu", "amount"])
_OF_BEGIN = frozenset(
    [
        "start",
        "started",
        "signup",
        "since",
        "created",
        "joined",
        "begin",
        "registration",
        "activation",
    ]
)
_OF_TENURE = frozenset(["tenure", "length", "seniority"])


@dataclass
class TableWriter:
    """Writes the tables, and notes the guesses and decisions that come up."""

    business: Business
    title: str
    names: set[str] = field(default_factory=set)
    guesses: list[str] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    segments: list[str] = field(default_factory=list)
    tenure: str = ""
    value: str = ""
    begin: str = ""

    def _is_file(self, part: Part) -> bool:
        """Say whether a part is a table as it stands in its file."""
        has_label = self.business.label.kind == "file" and self.business.label.source is part.source
        is_keyed = part.role == "state" or (part.role == "population" and bool(self.business.key))
        return is_keyed and not has_label

    def _table_name(self, part: Part) -> str:
        name = contract_name(part.source.name)
        return name if self._is_file(part) and name != LABEL_TABLE else f"{name}_by_user"[-48:]

    def _files(self, shared: dict[str, Any]) -> list[str]:
        entries = []
        for part in self.business.parts:
            if self._is_file(part) or part.role in ("labels", "apart"):
                continue
            source = part.source
            own = self._own_dialect(source, shared)
            more = f", dialect: {flow(own)}" if own else ""
            entries.append(f"  {source.name}: {{files: {scalar(source.export.files)}{more}}}")
        intro = [
            "",
            "# Files that only the selects below read; in a select, every column is text.",
            "files:",
        ]
        return [*intro, *entries] if entries else []

    def _table(self, part: Part, shared: dict[str, Any]) -> list[str]:
        if part.role == "labels":
            return []
        if part.role == "apart":
            self.decisions.append(
                f"{part.source.export.files} has neither the key nor a column that leads to it, so it "
                "is not used"
            )
            return [f"  # {part.source.export.files}: nothing in it leads to a customer", ""]
        if part.role in ("events", "joined_events"):
            return self._events(part)
        columns = [
            column
            for column in part.source.columns
            if column.source != self._label_column(part) and not self._is_key(part, column)
        ]
        named = [(column, self._column_name(part, column)) for column in columns]
        lines = [f"  {self._table_name(part)}:"]
        own = self._own_dialect(part.source, shared)
        if self._is_file(part):
            default = f"{self._table_name(part)}.csv"
            if part.source.export.files != default:
                lines.append(f"    files: {scalar(part.source.export.files)}")
            if part.via and part.via != self.business.key:
                lines.append(f"    key: {scalar(part.via)}")
        else:
            lines += block("select", self._state_select(part, named))
        if own:
            lines.append(f"    dialect: {flow(own)}")
        for note in part.source.notes:
            lines.append(f"    # {note}")
            self.decisions.append(f"{part.source.export.files}: {note}")
        lines.append("    columns:")
        for column, name in named:
            lines += self._column(part, column, name)
        return [*lines, ""]

    def _is_key(self, part: Part, column: Profile) -> bool:
        key = part.via if part.role in ("state", "joined") else self.business.key
        return bool(key) and column.source == key

    def _label_column(self, part: Part) -> str:
        label = self.business.label
        return label.column if label.kind == "file" and label.source is part.source else ""

    def _state_select(self, part: Part, named: list[tuple[Profile, str]]) -> str:
        columns = [(column.source, name) for column, name in named]
        if part.role == "joined":
            text = f"each customer's row of {part.source.export.files}, by {part.via}"
            self.guesses.append(f"{self._table_name(part)}: {text}")
            return joined(self.business, part, columns)
        if not self.business.key:
            return numbered(part.source, columns)
        return keyed(part.source, part.via or self.business.key, columns)

    def _events(self, part: Part) -> list[str]:
        selected = []
        for each in aggregates(part):
            name = self._free(short(each.name), part.source.name)
            selected.append(Selected(name, each.expression, each.kind, each.description))
        self.decisions.append(
            f"{self._table_name(part)}: {part.source.export.files} has several rows per {part.via}. "
            "The select counts them and sums or averages their numbers; keep what tells something"
            + self._unknown_share(part)
        )
        lines = [
            f"  {self._table_name(part)}:",
            *block("select", counted(self.business, part, selected)),
        ]
        window = self._window_days(part.source)
        if window:
            lines.append(f"    window_days: {window}")
        lines.append("    columns:")
        for each in selected:
            entry = {"type": each.kind, "unit": unit(each.name), "description": each.description}
            entry = {key: value for key, value in entry.items() if value}
            lines.append(f"      {each.name}: {flow(entry)}")
        return [*lines, ""]

    def _unknown_share(self, part: Part) -> str:
        population = self.business.population
        via = next(name for name in population.names if plain(name) == plain(part.via))
        unknown = 1 - min(known_shares(part.source, part.via, population, via))
        return (
            f" ({unknown:.0%} of a month's rows lead to nobody, and count for nobody)"
            if unknown > 0
            else ""
        )

    def _window_days(self, source: Source) -> int | None:
        for column in source.columns:
            days = span(source, column) if column.kind == "date" else None
            if days is not None:
                length = (days[1] - days[0]).days + 1
                return length if length <= _LONGEST_WINDOW_DAYS else None
        return None

    # Columns.

    def _column_name(self, part: Part, column: Profile) -> str:
        return self._free(contract_name(column.source), part.source.name)

    def _free(self, name: str, table: str) -> str:
        """Return a name that no other column has."""
        if name in self.names or name in _TAKEN or name in reserved_words():
            name = short(f"{contract_name(table).removesuffix('s')}_{name}")
        number, free = 2, name
        while free in self.names:
            number, free = number + 1, f"{short(name)[:37]}_v{number}"
        self.names.add(free)
        return free

    def _column(self, part: Part, column: Profile, name: str) -> list[str]:
        place = part.source.name, column.source
        reason = self.business.left_out.get(place, "")
        remarks = [*column.notes, *self.business.remarks.get(place, ())]
        entry = entry_of(column, name, self._is_file(part))
        if reason and column.kind != "date":
            entry["feature"] = False
            self.left_out.append(name)
        self._note_use(part, column, name, bool(reason))
        if column.is_unsure:
            self.unsure.append(name)
        comments = [f"      # {remark}" for remark in [*([reason] if reason else []), *remarks]]
        mark = "  # DECIDE" if column.is_unsure else ""
        return [*comments, f"      {name}: {flow(entry)}{mark}"]

    def _note_use(self, part: Part, column: Profile, name: str, is_left_out: bool) -> None:
        """Note what a column of the population may be beside a feature."""
        own = set(words(column.source))
        is_number = column.kind in ("int", "float")
        if column.is_category and not is_left_out and column.distinct <= _MOST_OF_SEGMENT:
            self.segments.append(name)
        if part.role not in ("population", "state") or is_left_out:
            return
        if is_number and own & _OF_TENURE and not self.tenure:
            self.tenure = name
        elif is_number and own & _OF_VALUE and not self.value:
            self.value = name
        elif (
            column.kind == "date"
            and own & _OF_BEGIN
            and not self.begin
            and part.role == "population"
        ):
            self.begin = column.source

    def _of_begin(self) -> list[str]:
        """Return a table of how long each customer is there, to be uncommented."""
        if not self.begin or self.tenure or not self.business.key:
            return []
        population = self.business.population
        self.decisions.append(
            f"tenure: dates are no features. Remove the # of the table tenure_by_user and of tenure: to "
            f"have the months since {self.begin}"
        )
        select = months_since(population, self.business.key, self.begin, "months_there")
        lines = [
            "  tenure_by_user:",
            *block("select", select),
            "    columns:",
            "      months_there: {type: int, trend: counts_months, unit: months, "
            f"description: {scalar('months since ' + self.begin)}}}",
        ]
        return [*(f"  # {line.removeprefix('  ')}" for line in lines), ""]

    def _shared_dialect(self) -> dict[str, Any]:
        """Return the dialect of all files, where none contradicts another."""
        every = [dialect(part.source) for part in self.business.parts]
        shared: dict[str, Any] = {}
        for key in DIALECT_KEYS:
            values = [each[key] for each in every if each[key] is not None]
            if any(value != values[0] for value in values):
                return {}
            shared.update({key: values[0]} if values else {})
        return uncommon(shared)

    def _own_dialect(self, source: Source, shared: dict[str, Any]) -> dict[str, Any]:
        return {} if shared else uncommon(dialect(source))

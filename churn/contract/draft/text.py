"""The text of a drafted contract: YAML with comments that say what was guessed and what is to be decided."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import Any

from churn.contract.draft.business import Business, Part, Source, known_shares, span
from churn.contract.draft.columns import Profile
from churn.contract.draft.entries import (
    DIALECT_KEYS,
    block,
    dialect,
    entry_of,
    flow,
    scalar,
    uncommon,
)
from churn.contract.draft.names import contract_name, plain, short, unit, words
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
from churn.contract.structure import KEY, LABEL_COLUMN, LABEL_TABLE
from churn.months import Month

_WIDTH = 100
_TAKEN = frozenset({KEY, LABEL_COLUMN, "as_of", "known_at", "is_withdrawn", "delivery_id"})
_PLACEHOLDER = "2024-01"
_LONGEST_WINDOW_DAYS = 400
_MOST_SEGMENTS, _MOST_OF_SEGMENT = 3, 8
_OF_VALUE = frozenset({"mrr", "fee", "price", "revenue", "charge", "arpu", "amount", "charges"})
_OF_BEGIN = frozenset(
    {
        "start",
        "started",
        "signup",
        "since",
        "created",
        "joined",
        "begin",
        "registration",
        "activation",
    }
)
_OF_TENURE = frozenset({"tenure", "length", "seniority"})


@dataclass(frozen=True)
class Draft:
    """A drafted contract.

    Args:
        text: of the file.
        guesses: what was taken to be so.
        decisions: what a person must decide, as sentences with what to do.
    """

    text: str
    guesses: tuple[str, ...]
    decisions: tuple[str, ...]


def draft_text(business: Business, name: str = "") -> Draft:
    """Return the contract of a business as far as its exports tell it.

    Args:
        business: what was understood of the exports.
        name: of the contract; that of the folder where not given.
    """
    return _Writer(business, name or business.exports.folder.resolve().stem).draft()


@dataclass
class _Writer:
    """Writes the parts of the file, and notes the guesses and decisions that come up."""

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

    def draft(self) -> Draft:
        """Return the whole."""
        first_month, population = self._first_month(), self._table_name(self.business.parts[0])
        shared = self._shared_dialect()
        self._about_key()
        label = self._label(shared)
        tables = [line for part in self.business.parts for line in self._table(part, shared)]
        files = self._files(shared)
        tables += self._of_begin()
        self._last_decisions()
        head = [
            f"name: {contract_name(self.title)}",
            f"description: {scalar(f'drafted from the exports in {self.folder_name}')}",
            *first_month,
            *self._drop_folder(),
            "",
            f"key: {{source: {scalar(self.business.key or KEY)}, example: {scalar(self._key_example())}}}",
            *(
                ["", "# How every file writes its values.", f"dialect: {flow(shared)}"]
                if shared
                else []
            ),
            *files,
            "",
            "# The table that says who is there in a month; all others speak of these customers.",
            f"population: {population}",
            "",
            *label,
            *self._of_value(),
            "",
            "tables:",
            *tables,
            *self._segments(),
        ]
        comments = self._comments()
        text = "\n".join([*comments, "", *head]).rstrip() + "\n"
        return Draft(text, tuple(self.guesses), tuple(self.decisions))

    @property
    def folder_name(self) -> str:
        """What the exports lie in."""
        return self.business.exports.folder.resolve().name

    # What is known of the whole.

    def _comments(self) -> list[str]:
        lines = [
            f"# Drafted by `churn contract init` from {self.folder_name}. It is yours to edit.",
            "# `churn contract schema` prints what may stand here, for editors.",
        ]
        for title, texts in (("Guessed", self.guesses), ("A person must decide", self.decisions)):
            lines += ["#", f"# {title}:"] if texts else []
            for number, text in enumerate(texts, 1):
                lines += textwrap.wrap(
                    text, _WIDTH, initial_indent=f"# {number:2}. ", subsequent_indent="#     "
                )
        return lines

    def _first_month(self) -> list[str]:
        exports = self.business.exports
        if exports.first_month is not None:
            self.guesses.append(
                f"{exports.months} months, from {exports.first_month} on, as the names say"
            )
            return [f"first_month: {exports.first_month}"]
        latest = [
            day[1]
            for part in self.business.parts
            for column in part.source.columns
            if column.kind == "date" and (day := span(part.source, column)) is not None
        ]
        steps = max(exports.months - 1, 0) if exports.drop_folder or exports.months > 1 else 0
        guess = str(Month(max(latest).replace(day=1)).shift(-steps)) if latest else _PLACEHOLDER
        why = "the latest date in the files says so" if latest else "nothing in the files says it"
        self.decisions.append(
            f"first_month: which month is the {'first folder' if exports.drop_folder else 'export'} of? "
            f"{guess} stands there; {why}"
        )
        return [f"first_month: {guess}  # DECIDE"]

    def _drop_folder(self) -> list[str]:
        pattern = self.business.exports.drop_folder
        return [f"drop_folder: {scalar(pattern)}"] if pattern else []

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

    def _about_key(self) -> None:
        business, population = self.business, self.business.population
        if not business.key:
            self.decisions.append(
                f"key: no column of {population.export.files} tells customers apart, so its rows are "
                "numbered. That serves one export; export the key as well before a second month comes, "
                "or name a column and draft again: --key COLUMN"
            )
            return
        text = f"a customer is one {business.key} of {population.export.files}"
        others = [
            f"{column} of {name}"
            for name, column in business.keys
            if plain(column) != plain(business.key)
        ]
        if others:
            self.decisions.append(
                f"key: {text}. If it is {' or '.join(others)}, draft again with "
                f"--key {others[0].split(' of ')[0]}"
            )
        else:
            self.guesses.append(f"{text}; --key COLUMN says otherwise")

    def _key_example(self) -> str:
        source, key = self.business.population, self.business.key
        return str(source.export.months[-1][key][0].as_py()) if key else "1"

    # Files and tables.

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

    # Labels, and what the business says.

    def _label(self, shared: dict[str, Any]) -> list[str]:
        label = self.business.label
        if label.kind == "absent":
            if label.is_guess:
                self.decisions.append(
                    f"label: {label.text}. `from: absent` stands there: who is missing in the next month's "
                    "export has left. If a file or column says it, name that (from: file, status, end_date)"
                )
            else:
                self.decisions.append(
                    f"label: no column says who left; {label.text}, so who is missing has left"
                )
            return [f"label: {{from: absent}}{'  # DECIDE' if label.is_guess else ''}"]
        assert label.source is not None  # noqa: S101
        part = next(part for part in self.business.parts if part.source is label.source)
        if label.kind == "file":
            return self._label_of_file(part, shared)
        table = self._table_name(part)
        self.decisions.append(f"label: {label.text}. It is read in the next month's export")
        entry: dict[str, Any] = {
            "from": label.kind,
            "table": table,
            "column": contract_name(label.column),
        }
        if label.gone:
            entry["gone"] = list(label.gone)
        return [f"label: {flow(entry)}"]

    def _label_of_file(self, part: Part, shared: dict[str, Any]) -> list[str]:
        label, source = self.business.label, part.source
        self.decisions.append(
            f"label: {label.text}. It must say who left after the month that the other columns tell of; "
            "if it is known in the same month, features and label must come from different months"
        )
        own = self._own_dialect(source, shared)
        own_dialect = [f"  dialect: {flow(own)}"] if own else []
        if part.role == "labels":
            entry = [
                f"  files: {scalar(source.export.files)}",
                f"  source: {scalar(label.column)}",
            ]
            if part.via and part.via != self.business.key:
                entry.append(f"  key: {scalar(part.via)}")
            return ["label:", "  from: file", *entry, *own_dialect]
        columns = [(label.column, LABEL_COLUMN)]
        key = part.via or self.business.key
        select = keyed(source, key, columns) if key else numbered(source, columns)
        lines = [line.removeprefix("  ") for line in block("select", select)]
        return ["label:", "  from: file", *lines, *own_dialect]

    def _of_value(self) -> list[str]:
        lines = []
        if self.tenure:
            self.guesses.append(f"tenure: {self.tenure} says how long a customer is there")
            lines.append(f"tenure: {self.tenure}")
        elif self.begin and self.business.key:
            lines.append("# tenure: months_there")
        if self.value:
            self.decisions.append(
                f"customer_value: what a customer who is kept is worth, as a number of months of "
                f"{self.value}; remove the # and give the months"
            )
            lines.append(f"# customer_value: {{column: {self.value}, months: 6}}")
        return (
            ["", "# How long a customer is there, and what one who is kept is worth.", *lines]
            if lines
            else []
        )

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

    def _last_decisions(self) -> None:
        if self.unsure:
            self.decisions.append(
                f"types: {', '.join(self.unsure)} may be read in two ways; see the comment at each"
            )
        if self.left_out:
            self.decisions.append(
                f"features: every column is one but dates and {', '.join(self.left_out)}. Say feature: false "
                "where a column would not be known at the month's end, or must not be used"
            )
        else:
            self.decisions.append(
                "features: every column is one but dates. Say feature: false where a column would not be "
                "known at the month's end, or must not be used"
            )

    def _segments(self) -> list[str]:
        chosen = self.segments[:_MOST_SEGMENTS]
        if not chosen:
            return []
        self.guesses.append(f"segments: the reports tell customers apart by {', '.join(chosen)}")
        return [
            "# By what the reports tell customers apart.",
            "segments:",
            *(f"  {each}: {{}}" for each in chosen),
        ]

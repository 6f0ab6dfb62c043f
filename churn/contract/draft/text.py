"""The text of a drafted contract: YAML with comments that say what was guessed and what is to be decided."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

from churn.contract.draft.columns import contract_name
from churn.contract.draft.entries import block, flow, scalar
from churn.contract.draft.selects import keyed, numbered
from churn.contract.draft.sources import Business, Part, span
from churn.contract.draft.tables import TableWriter
from churn.contract.structure import KEY, LABEL_COLUMN, plain
from churn.months import Month

_WIDTH = 100
_PLACEHOLDER = "2024-01"
_MOST_SEGMENTS = 3


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
class _Writer(TableWriter):
    """Writes the whole file."""

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

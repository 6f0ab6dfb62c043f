"""What if: the form in which a customer's values are changed by hand, and what somebody wrote into it.

Nothing is kept: the address says what is supposed. What a value may be, the contract says; the API, which
answers, holds each value against it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from churn.contract.in_force import VIEWS
from churn.contract.structure import Column
from console.explained import CustomerExplained

PREFIX = "if."  # of a field's name in the address
_LONGEST = 500
_COLUMNS = {column.name: column for view in VIEWS for column in view.table.values}
_FLAGS = {"yes": True, "no": False}


@dataclass(frozen=True)
class Field:
    """One field of the form.

    Attributes:
        feature: whose value it holds.
        label: what people call it, and its unit.
        choices: what can be chosen; empty where something is written.
        text: what stands in the field, blank where the value is unknown.
        problem: why what was written is no value; blank where it is one.
        is_number, is_whole, minimum, maximum: what a browser is told of a number.
    """

    feature: str
    label: str
    choices: tuple[str, ...]
    text: str
    problem: str
    is_number: bool
    is_whole: bool
    minimum: str
    maximum: str

    @property
    def name(self) -> str:
        """Its name in the address."""
        return f"{PREFIX}{self.feature}"


@dataclass(frozen=True)
class Supposed:
    """The form as it was filled in; `instead` has the values that differ from the customer's own."""

    fields: list[Field]
    instead: dict[str, Any]

    @property
    def problems(self) -> list[str]:
        """What is written into the form and is no value."""
        return [f"{each.label}: {each.problem}" for each in self.fields if each.problem]


def read_form(now: CustomerExplained, sent: Mapping[str, str]) -> Supposed:
    """Return the form of a customer with what an address says of it.

    Args:
        now: the customer as they are.
        sent: the fields of the address; one that is left out holds the customer's own value.
    """
    supposed: list[Field] = []
    instead: dict[str, Any] = {}
    for each in sorted(now.features, key=lambda feature: feature.name):
        column = _COLUMNS.get(each.feature)
        if column is None:
            continue
        own = _written(each.raw)
        text = sent.get(f"{PREFIX}{each.feature}", own).replace("\0", "").strip()[:_LONGEST]
        choices = _choices(column, own)
        value, problem = _value(column, text, choices)
        if not problem and text != own and value != each.raw:
            instead[each.feature] = value
        unit = f" ({column.unit})" if column.unit and column.unit not in each.name else ""
        supposed.append(
            Field(
                feature=each.feature,
                label=f"{each.name}{unit}",
                choices=choices,
                text=text,
                problem=problem,
                is_number=column.kind in ("int", "float"),
                is_whole=column.kind == "int",
                minimum=_bound(column.minimum),
                maximum=_bound(column.maximum),
            )
        )
    return Supposed(supposed, instead)


def _written(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _choices(column: Column, own: str) -> tuple[str, ...]:
    if column.kind == "bool":
        return tuple(_FLAGS)
    if column.kind != "string" or not column.expected:
        return ()
    # A customer may have a value that nobody expected.
    return tuple(dict.fromkeys([*column.expected, *([own] if own else [])]))


def _value(column: Column, text: str, choices: tuple[str, ...]) -> tuple[Any, str]:
    """Return what a text means, and why it means nothing; blank is unknown."""
    if not text:
        return None, ""
    if choices and text not in choices:
        return None, f"choose one of {', '.join(choices)}"
    if column.kind == "bool":
        return _FLAGS[text], ""
    if column.kind == "string":
        return text, ""
    try:
        number = int(text) if column.kind == "int" else float(text)
        is_finite = math.isfinite(number)
    # A whole number of hundreds of digits overflows: no column holds one.
    except (ValueError, OverflowError):
        is_finite = False
    if not is_finite:
        return None, "write a whole number" if column.kind == "int" else "write a number"
    return number, ""


def _bound(value: float | None) -> str:
    return "" if value is None else f"{value:.17g}"

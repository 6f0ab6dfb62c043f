"""What if: a user's features with some values set by hand, each held against the contract."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from api.errors import BadValueError
from churn.contract.in_force import VIEWS
from churn.contract.structure import Column, Service

_COLUMNS = {column.name: column for view in VIEWS for column in view.table.values}
_LARGEST = {"int": 2**63 - 1, "float": 3.4e38}  # of what a feature is held as
_LONGEST_TEXT = 500


def with_values(
    features: Mapping[str, Any], instead: Mapping[str, Any], service: Service
) -> dict[str, Any]:
    """Return a user's features with other values; the contract's rules for a file hold for each of them.

    Raises:
        BadValueError: a feature that the model does not take, or a value that cannot be.
    """
    if faults := dict(_faults(instead, service)):
        raise BadValueError(faults)
    whole = {name for name in instead if _COLUMNS[name].kind == "int"}
    typed = {
        name: int(value) if name in whole and value is not None else value
        for name, value in instead.items()
    }
    return {**features, **typed}


def _faults(instead: Mapping[str, Any], service: Service) -> Iterator[tuple[str, str]]:
    for name, value in instead.items():
        if name not in service.feature_names:
            yield name[:_LONGEST_TEXT], "the model takes no such feature"
        elif fault := _fault(_COLUMNS[name], value):
            yield name, fault


def _fault(column: Column, value: Any) -> str | None:
    if value is None:
        return "it cannot be unknown" if column.required else None
    if column.kind == "string":
        return _fault_of_text(column, value)
    if column.kind == "bool":
        return None if isinstance(value, bool) else "it is true or false"
    return _fault_of_number(column, value)


def _fault_of_text(column: Column, value: Any) -> str | None:
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT:
        return f"it is a text of at most {_LONGEST_TEXT} characters"
    if column.expected and value not in column.expected:
        return f"it is one of {', '.join(column.expected)}"
    return None


def _fault_of_number(column: Column, value: Any) -> str | None:
    if isinstance(value, bool | str):
        return "it is a number"
    if isinstance(value, float) and not math.isfinite(value):
        return "it is a finite number"
    if column.kind == "int" and value != int(value):
        return "it is a whole number"
    largest = _LARGEST[column.kind]
    low = -largest if column.minimum is None else column.minimum
    high = largest if column.maximum is None else column.maximum
    if not low <= value <= high:
        return f"it is from {low:,.15g} to {high:,.15g}"
    return None

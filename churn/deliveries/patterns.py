"""Names that may hold a month, such as `month_{n}` or `billing_{month}.csv`, and which month that is."""

import functools
import re
from dataclasses import dataclass

from churn.contract.structure import SourceFile, Table
from churn.errors import ChurnError
from churn.months import Month

# Python's calendar ends not far beyond.
_LAST_YEAR = 9000
_PACKED = ".gz"


@dataclass(frozen=True)
class NameMatch:
    """A name that fits a pattern, and the month in it; None where the pattern holds no month."""

    month: Month | None


def file_pattern(of: Table | SourceFile) -> str:
    """Return the pattern for the names of a table's own file, or of a file that selects read."""
    return of.files or f"{of.name}.{of.dialect.format}"


def is_dated(pattern: str) -> bool:
    """Return whether names of this pattern hold their month."""
    return "{month}" in pattern or "{n}" in pattern


def filled(pattern: str, month: Month, first: Month) -> str:
    """Return the pattern filled in for a month, where `first` is number 000."""
    return pattern.replace("{month}", str(month)).replace("{n}", f"{month - first:03d}")


def shown(pattern: str) -> str:
    """Return a pattern for people to read: `month_NNN`."""
    return pattern.replace("{month}", "YYYY-MM").replace("{n}", "NNN")


def shown_name(name: str) -> str:
    """Return a name that every screen, log and database accepts, whatever bytes it is made of."""
    return name.encode("utf-8", "backslashreplace").decode()


def read_name(pattern: str, name: str, first: Month) -> NameMatch | None:
    """Return the match of a name with a pattern; None where it does not fit.

    Another spelling of a month's number does not fit, or two names could be of one month.
    """
    fits = _expression(pattern).fullmatch(name)
    if fits is None:
        return None
    if not is_dated(pattern):
        return NameMatch(None)
    groups = fits.groupdict()
    month = _parsed(groups["month"]) if "month" in groups else shifted(first, groups["n"])
    return NameMatch(month) if month and filled(pattern, month, first) == name else None


def read_file_name(pattern: str, name: str, first: Month) -> NameMatch | None:
    """Return the match of a file's name, in any case, compressed or not; None where it does not fit."""
    lower, plain = name.lower(), pattern.lower()
    return read_name(plain, lower.removesuffix(_PACKED), first) or read_name(plain, lower, first)


def shifted(first: Month, digits: str) -> Month | None:
    """Return the month that lies so many months after the first; None beyond the calendar."""
    months = int(digits[-9:]) if not digits[:-9].strip("0") else None
    last = (_LAST_YEAR - first.first_day.year) * 12
    return first.shift(months) if months is not None and months <= last else None


@functools.cache
def _expression(pattern: str) -> re.Pattern[str]:
    holes = {"month": "[0-9]{4}-[0-9]{2}", "n": "[0-9]{3,}"}
    text = re.escape(pattern)
    for name, expression in holes.items():
        hole = re.escape(f"{{{name}}}")
        text = text.replace(hole, f"(?P<{name}>{expression})", 1)
        text = text.replace(hole, f"(?P={name})")
    return re.compile(text, re.DOTALL)


def _parsed(text: str) -> Month | None:
    try:
        return Month.parse(text)
    except ChurnError:
        return None

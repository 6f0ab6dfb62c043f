"""What a column of an export holds, judged by its values and its name: type, spelling, unit, oddities.

Nothing here reads a file. A guess that rests on little says so, and is left to a person.
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from churn.contract.types import Kind

# Snapshots and bands are named after columns, with something added.
_LONGEST = 40
_UNITS = {
    "secs": "seconds", "seconds": "seconds", "mins": "minutes", "minutes": "minutes", "hours": "hours",
    "hrs": "hours", "days": "days", "months": "months", "pct": "percent", "percent": "percent", "gb": "GB",
    "mb": "MB",
}  # fmt: skip


def words(name: str) -> list[str]:
    """Return the words of a name in lower case; `monthlyFee` and `Monthly Fee` have the same."""
    ascii_name = (
        unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode()
    )
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", ascii_name)
    return [word for word in re.split(r"[^a-z0-9]+", parted.lower()) if word]


def contract_name(text: str) -> str:
    """Return a name that a contract accepts: lower-case letters, digits and single underscores."""
    name = "_".join(words(text)) or "column"
    return short(name if name[0].isalpha() else f"n_{name}")


def short(name: str) -> str:
    """Return a name cut to a length that leaves room for the names made from it."""
    return name[:_LONGEST].rstrip("_")


def unit(name: str) -> str:
    """Return the unit in a name; empty where there is none."""
    return next((_UNITS[word] for word in reversed(name.split("_")) if word in _UNITS), "")


# A column with more distinct texts is hardly a category.
MOST_CATEGORIES = 20
# How many distinct texts of a column are tried as dates.
_MOST_DATES = 2_000
# Beyond this, a Float32 cannot tell neighbouring whole numbers apart.
_FLOAT32_WHOLE = 1 << 24
_WORDS_OF_NOTHING = frozenset(
    {"na", "n/a", "#n/a", "null", "none", "nan", "nil", "-", "?", "\\n", "unknown"}
)
# Pairs of words for True and False, in lower case.
_PAIRS = (
    ("true", "false"), ("yes", "no"), ("y", "n"), ("t", "f"), ("1", "0"), ("1.0", "0.0"), ("on", "off"),
    ("ja", "nein"), ("oui", "non"), ("sí", "no"), ("si", "no"),
)  # fmt: skip
_DATE_FORMATS = (
    "%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%Y/%m/%d", "%m-%d-%Y",
    "%d/%m/%y", "%m/%d/%y",
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S.%f",
    "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z",
    "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S",
    "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S",
    "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%d-%b-%y",
)  # fmt: skip
_OF_CODES = frozenset(
    {"plan", "group", "status", "type", "code", "class", "region", "segment", "category", "tariff"}
)
_LIKE_A_DATE = re.compile(r"\d{1,4}[-/. ][\w]{1,9}[-/., ]{1,2}\d{1,4}.*|[A-Z][a-z]+ \d{1,2}, \d{4}")
_WITH_A_UNIT = re.compile(r"(?:[€$£¥]|[A-Z]{3})\s?-?[\d.,]+|-?[\d.,]+\s?(?:[€$£¥%]|[A-Za-z]{1,4})")


@dataclass(frozen=True)
class Marks:
    """How a file writes numbers: the decimal mark, and what separates the thousands."""

    decimal: str = "."
    thousands: str = ""

    @property
    def pattern(self) -> re.Pattern[str]:
        """The pattern of a number."""
        mark, parts = re.escape(self.decimal), re.escape(self.thousands)
        whole = rf"(?:\d{{1,3}}(?:{parts}\d{{3}})+|\d+)" if parts else r"\d+"
        return re.compile(rf"[-+]?(?:{whole}(?:{mark}\d*)?|{mark}\d+)(?:[eE][-+]?\d+)?")

    def number(self, text: str) -> float:
        """Return the value of a text that is a number."""
        digits = text.replace(self.thousands, "") if self.thousands else text
        return float(digits.replace(self.decimal, "."))


# Of these, a file's marks are those by which most columns are numbers; the first, where several are equal.
_MARKS = (Marks(), Marks(","), Marks(".", ","), Marks(",", "."), Marks(",", " "), Marks(".", "'"))


@dataclass(frozen=True)
class Profile:
    """A column as it is in a file.

    Args:
        source: its name in the file.
        kind: the type of its values.
        rows, blanks, distinct: the number of rows, blanks and distinct values; words for unknown are blanks.
        values: the distinct texts where they are few, the most frequent first.
        minimum, maximum, typical: the bounds of its numbers, and the most frequent one.
        has_fraction: whether any number has a fraction.
        true, false: the words of a boolean.
        nulls: the words for unknown, besides the blank.
        formats: the formats of its dates, as for strftime.
        notes: what a person should know about it.
        is_unsure: the type may just as well be another.
    """

    source: str
    kind: Kind
    rows: int
    blanks: int
    distinct: int
    values: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    typical: float | None = None
    has_fraction: bool = False
    true: tuple[str, ...] = ()
    false: tuple[str, ...] = ()
    nulls: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_unsure: bool = False

    @property
    def is_constant(self) -> bool:
        """Whether it has the same value in every row."""
        return self.distinct == 0 or (self.distinct == 1 and not self.blanks)

    @property
    def is_category(self) -> bool:
        """Whether it holds texts of few distinct values."""
        return self.kind == "string" and 2 <= self.distinct <= MOST_CATEGORIES

    @property
    def needs_exact(self) -> bool:
        """Whether its numbers have more digits than a Float32 holds."""
        largest = max(abs(self.minimum or 0), abs(self.maximum or 0))
        return self.kind == "float" and largest * (100 if self.has_fraction else 1) > _FLOAT32_WHOLE


def marks_of(columns: Iterable[Mapping[str, int]]) -> tuple[Marks, bool]:
    """Return how a file writes its numbers, and whether another reading would fit just as well.

    Args:
        columns: the counts of the distinct texts of each column.
    """
    texts = [_known(counts)[0] for counts in columns]
    texts = [each for each in texts if each]
    fitting = [sum(all(map(m.pattern.fullmatch, column)) for column in texts) for m in _MARKS]
    best = max(range(len(_MARKS)), key=lambda index: (fitting[index], -index))
    # 1,234 is a number by either reading; 0,5 and 1,234.5 are numbers by only one.
    is_unsure = best == 1 and fitting[2] == fitting[1]
    return _MARKS[best], is_unsure


def profile(source: str, counts: Mapping[str, int], marks: Marks) -> Profile:
    """Return what a column holds, judged by the counts of its distinct texts."""
    known, nulls = _known(counts)
    rows = sum(counts.values())
    named = sum(counts[text] for text in known)
    values = tuple(sorted(known, key=lambda text: (-counts[text], text))[:MOST_CATEGORIES])

    def of(kind: Kind, **more: object) -> Profile:
        # In a column of texts, a word for nothing is a text like any other.
        words = nulls if kind != "string" else ()
        lost = sum(counts[word] for word in nulls) if kind == "string" else 0
        return Profile(
            source,
            kind,
            rows,
            rows - named - lost,
            len(known) + (len(nulls) if kind == "string" else 0),
            (*values, *nulls)[:MOST_CATEGORIES] if kind == "string" else values,
            nulls=words,
            **more,  # type: ignore[arg-type]
        )

    if not known:
        return of("string", notes=("it is blank everywhere",))
    for guess in (_boolean(known), _number(known, source, marks), _date(known)):
        if guess is not None:
            kind, more = guess
            if kind in ("int", "float"):
                more["typical"] = marks.number(values[0].strip())
            return of(kind, **more)
    return of("string", notes=_notes_of_text(known))


Guess = tuple[Kind, dict[str, object]]


def _known(counts: Mapping[str, int]) -> tuple[list[str], tuple[str, ...]]:
    """Return a column's distinct texts without blanks, and the words among them that mean unknown."""
    texts = [text for text in counts if text.strip()]
    nulls = tuple(text for text in texts if text.strip().lower() in _WORDS_OF_NOTHING)
    return [text for text in texts if text not in nulls], nulls


def _boolean(known: list[str]) -> Guess | None:
    words: dict[str, list[str]] = {}
    for text in sorted({text.strip() for text in known}):
        words.setdefault(text.lower(), []).append(text)
    for true, false in _PAIRS:
        if words.keys() == {true, false}:
            more: dict[str, object] = {"true": tuple(words[true]), "false": tuple(words[false])}
            styles = max(len(words[true]), len(words[false]))
            if styles > 1:
                more["notes"] = (f"{styles} styles of True and False in one column",)
            elif true in ("1", "1.0"):
                more["notes"] = ("only 0 and 1: int if it is a count that may be larger",)
            return "bool", more
    only = next(iter(words)) if len(words) == 1 else ""
    if only not in ("true", "false", "yes", "no"):
        return None
    pair = next(pair for pair in _PAIRS if only in pair)
    [word] = words[only][:1]
    true, false = (each if each == only else _like(word, each) for each in pair)
    shown = {only: tuple(words[only])}
    return "bool", {
        "true": shown.get(pair[0], (true,)),
        "false": shown.get(pair[1], (false,)),
        "notes": (f"only {word} is there",),
    }


def _like(word: str, other: str) -> str:
    """Return the other word, capitalised as the first is."""
    if word.isupper() and len(word) > 1:
        return other.upper()
    return other.title() if word[0].isupper() else other


def _number(known: list[str], source: str, marks: Marks) -> Guess | None:
    stripped = [text.strip() for text in known]
    if not all(map(marks.pattern.fullmatch, stripped)):
        return None
    if any(re.fullmatch(r"0\d+", text) for text in stripped):
        return "string", {"notes": ("digits with leading zeros: a code, not a number",)}
    numbers = [marks.number(text) for text in stripped]
    low, high = min(numbers), max(numbers)
    is_whole = all(
        re.fullmatch(r"[-+]?\d+", text.replace(marks.thousands, "")) for text in stripped
    )
    if is_whole and all(len(text) == 8 for text in stripped) and "date" in source.lower():
        dated = _formats(stripped, ("%Y%m%d",))
        if dated:
            return "date", {"formats": dated[0]}
    more: dict[str, object] = {"minimum": low, "maximum": high}
    more["has_fraction"] = any(number != int(number) for number in numbers)
    if is_whole and len(known) <= MOST_CATEGORIES // 2 and _is_code(source):
        shown = ", ".join(sorted(stripped, key=marks.number))
        more["notes"] = (f"{shown}: string if these numbers are names of something",)
        more["is_unsure"] = True
    return ("int" if is_whole else "float"), more


def _is_code(source: str) -> bool:
    words = set(re.split(r"[^a-z]+", source.lower()))
    return not words.isdisjoint(_OF_CODES)


def _date(known: list[str]) -> Guess | None:
    texts = [text.strip() for text in known[:_MOST_DATES]]
    if not all(map(_LIKE_A_DATE.fullmatch, texts)):
        return None
    dated = _formats(texts, _DATE_FORMATS)
    if dated is None:
        return None
    formats, is_unsure = dated
    notes = []
    if len(formats) > 1:
        notes.append(f"{len(formats)} styles of dates in one column: {', '.join(formats)}")
    if is_unsure:
        notes.append("no day lies beyond the 12th: day and month may be the other way round")
    return "date", {"formats": formats, "notes": tuple(notes), "is_unsure": is_unsure}


def _formats(texts: list[str], formats: Iterable[str]) -> tuple[tuple[str, ...], bool] | None:
    """Return a few formats that read all texts, and whether day and month may be swapped."""
    taken: list[str] = []
    left, is_unsure = texts, False
    while left:
        reads = {each: [text for text in left if _reads(text, each)] for each in formats}
        best = max(reads, key=lambda each: len(reads[each]))
        if not reads[best]:
            return None
        swapped = best.replace("%d", "%_").replace("%m", "%d").replace("%_", "%m")
        is_unsure |= swapped != best and len(reads.get(swapped, ())) == len(reads[best])
        taken.append(best)
        done = set(reads[best])
        left = [text for text in left if text not in done]
    return tuple(taken), is_unsure


def _reads(text: str, form: str) -> bool:
    try:
        return 1900 <= dt.datetime.strptime(text, form).year < 2200
    except ValueError:
        return False


def _notes_of_text(known: list[str]) -> tuple[str, ...]:
    notes = []
    if sum(_WITH_A_UNIT.fullmatch(text.strip()) is not None for text in known) == len(known) > 1:
        notes.append(f"numbers with a unit, as {known[0].strip()!r}: take the unit off in a select")
    plain: dict[str, set[str]] = {}
    for text in known:
        plain.setdefault(" ".join(text.split()).lower(), set()).add(text)
    twice = [sorted(group) for group in plain.values() if len(group) > 1]
    if twice and len(known) <= MOST_CATEGORIES:
        shown = " and ".join(map(repr, twice[0]))
        notes.append(f"{shown} differ in capitals or blanks only: make them one in a select")
    return tuple(notes)

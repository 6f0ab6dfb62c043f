"""Names: what words they are made of, what unit they say, and how a contract writes them."""

from __future__ import annotations

import re
import unicodedata

_LONGEST = 40  # snapshots and bands are called by a name, too
_UNITS = {
    "secs": "seconds", "seconds": "seconds", "mins": "minutes", "minutes": "minutes", "hours": "hours",
    "hrs": "hours", "days": "days", "months": "months", "pct": "percent", "percent": "percent", "gb": "GB",
    "mb": "MB",
}  # fmt: skip


def words(name: str) -> list[str]:
    """Return the words of a name, in small letters: of `monthlyFee` as of `Monthly Fee`."""
    ascii_name = (
        unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode()
    )
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", ascii_name)
    return [word for word in re.split(r"[^a-z0-9]+", parted.lower()) if word]


def contract_name(text: str) -> str:
    """Return a name that a contract takes: small letters, digits and single underscores."""
    name = "_".join(words(text)) or "column"
    return short(name if name[0].isalpha() else f"n_{name}")


def short(name: str) -> str:
    """Return a name that is not too long for what is called by it."""
    return name[:_LONGEST].rstrip("_")


def unit(name: str) -> str:
    """Return the unit that a name says; nothing where it says none."""
    return next((_UNITS[word] for word in reversed(name.split("_")) if word in _UNITS), "")

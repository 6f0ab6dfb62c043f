"""What a person writes on the command line, read before any work begins: months, instants, files to write."""

import datetime as dt
import os
from pathlib import Path

from churn.errors import ChurnError
from churn.months import Month


def month_or_none(text: str | None) -> Month | None:
    """Read a month, where one is given.

    Raises:
        ChurnError: it is none.
    """
    return None if text is None else Month.parse(text)


def instant(text: str) -> dt.datetime:
    """Read an instant: a day means its end in UTC, a time needs its zone.

    Raises:
        ChurnError: it is none.
    """
    remedy = "write 2024-03-05 (the end of that day, UTC) or 2024-03-05T09:00+00:00"
    try:
        when = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ChurnError(f"{text!r} is not a time", remedy=remedy) from None
    if "T" not in text and " " not in text:
        return dt.datetime.combine(when.date(), dt.time.max, dt.UTC)
    if when.tzinfo is None:
        raise ChurnError(f"{text!r} has no time zone", remedy="add +00:00")
    return when


def writable(path: Path | None) -> Path | None:
    """Return the file that is to be written, if any, once it is sure that this can be done.

    Hours of work may lie between the command and its writing.

    Raises:
        ChurnError: it is a folder, its folder is not there, or one of them may not be written.
    """
    if path is None:
        return None
    if path.is_dir():
        raise ChurnError("is a folder, not a file", where=str(path), remedy="name a file in it")
    if not path.parent.is_dir():
        raise ChurnError(
            f"there is no folder {path.parent}", where=str(path), remedy="make it first"
        )
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ChurnError(
            "may not be written", where=str(path), remedy="name a file that you may write"
        )
    return path

"""The calendar: months, when they close, and when their labels mature. Nothing here asks the clock."""

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass

from churn.errors import ChurnError

_TICK = dt.timedelta(microseconds=1)
# Other years are typing errors, or lie near the ends of Python's calendar.
_YEARS = range(1900, 2200)


@dataclass(frozen=True, order=True)
class Month:
    """One calendar month, the unit of a drop and of a Dagster partition."""

    first_day: dt.date

    @classmethod
    def parse(cls, text: str) -> "Month":
        """Read `2024-01` or `2024-01-01`.

        Raises:
            ChurnError: the text is anything else, or the year is implausible.
        """
        digits = re.fullmatch(r"([0-9]{4})-([0-9]{2})(-01)?", text)
        if digits is None or int(digits[1]) not in _YEARS or not 1 <= int(digits[2]) <= 12:
            raise ChurnError(f"{text!r} is not a month", remedy="write a month as 2024-01")
        return cls(dt.date(int(digits[1]), int(digits[2]), 1))

    @classmethod
    def of_as_of(cls, as_of: dt.datetime) -> "Month":
        """Return the month that closes at `as_of`."""
        return cls(as_of.astimezone(dt.UTC).date().replace(day=1))

    @property
    def partition_key(self) -> str:
        """Dagster's partition key: the first day, `2024-01-01`."""
        return self.first_day.isoformat()

    @property
    def as_of(self) -> dt.datetime:
        """The one instant at which the month closes: the last microsecond of its last day, UTC."""
        return dt.datetime.combine(self.next.first_day, dt.time(), dt.UTC) - _TICK

    @property
    def as_of_date(self) -> dt.date:
        """The date of as_of: the month's last day."""
        return self.as_of.date()

    @property
    def matures_at(self) -> dt.datetime:
        """K(M): the instant at which this month's labels are known, which is the next month's as_of."""
        return self.next.as_of

    @property
    def next(self) -> "Month":
        """The month after this one."""
        return self.shift(1)

    def shift(self, months: int) -> "Month":
        """Return the month that is `months` later, or earlier if it is negative."""
        index = self.first_day.year * 12 + self.first_day.month - 1 + months
        return Month(dt.date(index // 12, index % 12 + 1, 1))

    def __sub__(self, other: "Month") -> int:
        a, b = self.first_day, other.first_day
        return (a.year - b.year) * 12 + a.month - b.month

    def __str__(self) -> str:
        return f"{self.first_day:%Y-%m}"

    def folder(self, first: "Month") -> str:
        """Return the name of the drop's folder, which is `month_000` for the first month."""
        return f"month_{self - first:03d}"


def months_between(first: Month, last: Month) -> Iterator[Month]:
    """Yield every month from `first` to `last`, both included."""
    for offset in range(last - first + 1):
        yield first.shift(offset)

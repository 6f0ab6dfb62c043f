"""A month's action list as it is asked for: who is let through, in which order, and from which row on.

A page begins behind the last row of the one before, told by what it is sorted by and by the user's id: no
row is shown twice or left out, and the thousandth page takes as long as the first.
"""

import base64
import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, LiteralString, Self

from psycopg import sql
from pydantic import BaseModel, BeforeValidator, Field, field_validator

from churn.months import Month
from churn.scoring.treatments import OUTCOMES
from churn.scoring.wording import name_of
from console.errors import BadAddressError
from console.queries import Queries

PAGE_ROWS = 50
# What a column is sorted by, its type in Postgres, and whether it is of use from the top down.
_SORTS: dict[str, tuple[LiteralString, LiteralString, bool]] = {
    "rank": ("rank", "bigint", False),
    "user": ("user_id", "text", False),
    "risk": ("probability", "double precision", True),
    "value": ("coalesce(customer_value, '-Infinity')", "double precision", True),
    "profit": ("expected_profit", "double precision", True),
}
SORTS = tuple(_SORTS)
_COLUMNS: LiteralString = (
    "user_id, rank, band, probability, customer_value, expected_profit, treatment_group, reason_1, reason_2,"
    " reason_3, treated_at, channel, offer, outcome, has_left, list_hash"
)
STATES: dict[str, str] = {
    "open": "still to be called",
    "called": "called",
    **{outcome: f"called: {outcome}" for outcome in OUTCOMES},
    "left": "left since",
    "stayed": "stayed",
}
_STATE_CONDITIONS: dict[str, LiteralString] = {
    "open": "treatment_group = 'treated' AND treated_at IS NULL",
    "called": "treated_at IS NOT NULL",
    "left": "has_left",
    "stayed": "NOT has_left",
}
# By what `first` says.
_REASON_CONDITIONS: dict[str, LiteralString] = {
    "1": "starts_with(reason_1, %(reason)s)",
    "": "(starts_with(reason_1, %(reason)s) OR starts_with(reason_2, %(reason)s)"
    " OR starts_with(reason_3, %(reason)s))",
}


def _or_none(value: Any) -> Any:
    """Read a field that was left blank in a form as one that was not sent."""
    return None if value == "" else value


_Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e12, le=1e12)]
_OfHundred = Annotated[float, Field(allow_inf_nan=False, ge=0, le=100)]
Amount = Annotated[_Finite | None, BeforeValidator(_or_none)]
Percent = Annotated[_OfHundred | None, BeforeValidator(_or_none)]
Band = Annotated[Annotated[int, Field(ge=1, le=100)] | None, BeforeValidator(_or_none)]
Text = Annotated[str, Field(max_length=500)]


class ListQuery(BaseModel):
    """What the address of the page says; each field may be left out or blank.

    Attributes:
        month: 2024-05; the newest month with a list where none is named.
        segment: a segment and its level, `contract_type=Two year`.
        band: the fifth of the list.
        risk_from: the least probability of leaving, in per cent.
        reason: a feature that is among the reasons.
        first: 1 where it is to be the first of them.
        group: treated or control.
        state: one of STATES.
        user: how the user's id begins.
        sort: one of rank, user, risk, value, profit; a minus in front turns it round.
        after: the row behind which the page begins; `before` is its counterpart.
    """

    month: Text = ""
    segment: Text = ""
    band: Band = None
    risk_from: Percent = None
    risk_to: Percent = None
    value_from: Amount = None
    value_to: Amount = None
    reason: Text = ""
    first: Literal["", "1"] = ""
    group: Text = ""
    state: Text = ""
    user: Text = ""
    sort: Text = "rank"
    after: Annotated[str, Field(max_length=2_000)] = ""
    before: Annotated[str, Field(max_length=2_000)] = ""

    @field_validator("segment", "reason", "group", "state", "user")
    @classmethod
    def _without_nul(cls, value: str) -> str:
        return value.replace("\0", "")  # Postgres takes none in a text

    @field_validator("sort")
    @classmethod
    def _known_sort(cls, value: str) -> str:
        if value.removeprefix("-") not in _SORTS:
            return "rank"
        return value

    def kept(self, **other: object) -> dict[str, str]:
        """Return the fields that say something, for an address; `other` takes the place of what is there."""
        fields = {**self.model_dump(exclude={"after", "before"}), **other}
        unsaid = {"sort": "rank"}
        return {
            name: str(value)
            for name, value in fields.items()
            if value not in (None, "", unsaid.get(name))
        }


@dataclass(frozen=True)
class ListedUser:
    """A row of the list."""

    user_id: str
    rank: int
    band: int | None
    probability: float
    customer_value: float | None
    expected_profit: float
    treatment_group: str
    reason_1: str | None
    reason_2: str | None
    reason_3: str | None
    treated_at: dt.date | None
    channel: str | None
    offer: str | None
    outcome: str | None
    has_left: bool | None
    list_hash: str | None

    @property
    def reasons(self) -> list[str]:
        """Why, the strongest first."""
        return [each for each in (self.reason_1, self.reason_2, self.reason_3) if each]


@dataclass(frozen=True)
class Totals:
    """What the rows that are let through come to."""

    users: int
    to_call: int
    called: int
    expected_profit: float
    list_hash: str | None


@dataclass(frozen=True)
class ListPage:
    """Some rows, and the keys of the pages around them; None where there is none."""

    rows: list[ListedUser]
    before: str | None
    after: str | None


@dataclass(frozen=True)
class _Key:
    """Where a row stands in an order."""

    value: int | float | str
    user_id: str

    @classmethod
    def read(cls, text: str, sql_type: str) -> Self:
        """Read what `write` returned.

        Raises:
            BadAddressError: it is something else.
        """
        try:
            value, user_id = json.loads(base64.urlsafe_b64decode(text.encode()))
            of_type = {"bigint": int, "double precision": float, "text": str}[sql_type]
            key = cls(of_type(value), str(user_id))
            f"{value}{user_id}".encode()
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise BadAddressError from error
        if "\0" in f"{key.value}{key.user_id}" or (
            isinstance(key.value, int) and abs(key.value) >= 2**63
        ):
            raise BadAddressError
        return key

    def write(self) -> str:
        """Return it as an address has it; a float keeps every bit."""
        return base64.urlsafe_b64encode(json.dumps([self.value, self.user_id]).encode()).decode()


class ShownList:
    """One month's list through the filters of an address."""

    def __init__(self, queries: Queries, month: Month, asked: ListQuery) -> None:
        self._queries = queries
        self._asked = asked
        self.month = month
        self._where, self._parameters = _conditions(month, asked)

    def totals(self) -> Totals:
        """Return what all rows that are let through come to."""
        totals = self._queries.row(
            Totals,
            sql.SQL(
                "SELECT count(*) AS users, count(*) FILTER (WHERE treatment_group = 'treated') AS to_call,"
                " count(treated_at) AS called, (SELECT list_hash FROM retention.action_list"
                " WHERE month = %(month)s LIMIT 1) AS list_hash,"
                " coalesce(sum(expected_profit) FILTER (WHERE treatment_group = 'treated'), 0)"
                " AS expected_profit FROM retention.action_list WHERE {}"
            ).format(self._where),
            self._parameters,
        )
        assert totals is not None  # noqa: S101  (sums always return a row)
        return totals

    def page(self, rows: int = PAGE_ROWS) -> ListPage:
        """Return the rows behind `after`, or those in front of `before`, or the first."""
        asked = self._asked
        is_back = bool(asked.before)
        expression, sql_type, is_falling = self._order()
        condition, parameters = self._where, dict(self._parameters)
        if token := asked.before or asked.after:
            key = _Key.read(token, sql_type)
            parameters |= {"value": key.value, "key_user": key.user_id}
            sign = sql.SQL("<" if is_falling != is_back else ">")
            # Nobody shares a rank, and an index has the ranks of a month in their order.
            behind = (
                "{} AND {} {} %(value)s::{}"
                if expression == "rank"
                else "{} AND ({}, user_id) {} (%(value)s::{}, %(key_user)s)"
            )
            condition = sql.SQL(behind).format(
                condition, sql.SQL(expression), sign, sql.SQL(sql_type)
            )
        users = self._queries.rows(
            ListedUser,
            self._select(condition, is_falling != is_back, limit=rows + 1),
            parameters,
        )
        has_more, shown = len(users) > rows, users[:rows]
        if is_back:
            shown.reverse()
        if not shown:
            return ListPage([], None, None)
        first, last = (self._key(row) for row in (shown[0], shown[-1]))
        has_before = has_more if is_back else bool(asked.after)
        has_after = True if is_back else has_more
        return ListPage(shown, first if has_before else None, last if has_after else None)

    def everything(self) -> Iterator[ListedUser]:
        """Yield all rows that are let through, in order, a few in memory at a time."""
        query = self._select(self._where, self._order()[2])
        return self._queries.stream(ListedUser, query, self._parameters)

    def _order(self) -> tuple[LiteralString, LiteralString, bool]:
        sort = self._asked.sort
        expression, sql_type, is_falling = _SORTS[sort.removeprefix("-")]
        return expression, sql_type, is_falling != sort.startswith("-")

    def _select(
        self, condition: sql.Composable, is_falling: bool, limit: int | None = None
    ) -> sql.Composed:
        way, expression = sql.SQL("DESC" if is_falling else "ASC"), self._order()[0]
        order = "{0} {1}" if expression == "rank" else "{0} {1}, user_id {1}"
        query = sql.SQL("SELECT {} FROM retention.action_list WHERE {} ORDER BY {}").format(
            sql.SQL(_COLUMNS), condition, sql.SQL(order).format(sql.SQL(expression), way)
        )
        return query if limit is None else query + sql.SQL(" LIMIT {}").format(limit)

    def _key(self, row: ListedUser) -> str:
        values: dict[str, int | float | str | None] = {
            "rank": row.rank,
            "user": row.user_id,
            "risk": row.probability,
            "value": row.customer_value,
            "profit": row.expected_profit,
        }
        value = values[self._asked.sort.removeprefix("-")]
        return _Key(float("-inf") if value is None else value, row.user_id).write()


def newest_listed(queries: Queries, month: str) -> tuple[Month | None, list[dt.date]]:
    """Return the month that an address names, or the newest with a list; and all months with a list.

    Args:
        queries: the views.
        month: 2024-05, or blank.

    Raises:
        ChurnError: it is no month.
    """
    months = [
        row.month
        for row in queries.rows(
            _Listed,
            "SELECT month FROM retention.month WHERE listed_users IS NOT NULL ORDER BY month DESC",
        )
    ]
    if month:
        return Month.parse(month), months
    return (Month(months[0]) if months else None), months


@dataclass(frozen=True)
class _Listed:
    month: dt.date


@dataclass(frozen=True)
class Level:
    """A level of a segment that somebody on the list is in."""

    segment: str
    level: str

    @property
    def field(self) -> str:
        """What an address says of it."""
        return f"{self.segment}={self.level}"


def levels_of(queries: Queries, month: Month) -> list[Level]:
    """Return the levels that there are on a month's list."""
    return queries.rows(
        Level,
        "SELECT segment, level FROM retention.segment_month WHERE month = %s AND listed_users > 0"
        " ORDER BY segment, level",
        [month.first_day],
    )


def _conditions(month: Month, asked: ListQuery) -> tuple[sql.Composed, dict[str, Any]]:
    """Return what a row must be like, and the values that it is held against."""
    segment, _, level = asked.segment.partition("=")
    given: list[tuple[LiteralString, dict[str, Any]]] = [
        ("month = %(month)s", {"month": month.first_day})
    ]
    if asked.segment:
        given.append(("segments ->> %(segment)s = %(level)s", {"segment": segment, "level": level}))
    if asked.band is not None:
        given.append(("band = %(band)s", {"band": asked.band}))
    for name, condition, share in (
        ("risk_from", "probability >= %(risk_from)s", 100),
        ("risk_to", "probability <= %(risk_to)s", 100),
        ("value_from", "customer_value >= %(value_from)s", 1),
        ("value_to", "customer_value <= %(value_to)s", 1),
    ):
        value = getattr(asked, name)
        if value is not None:
            given.append((condition, {name: value / share}))
    if asked.reason:
        # A sentence begins with the name of its feature.
        given.append((_REASON_CONDITIONS[asked.first], {"reason": f"{name_of(asked.reason)}: "}))
    if asked.group:
        given.append(("treatment_group = %(group)s", {"group": asked.group}))
    if asked.state in _STATE_CONDITIONS:
        given.append((_STATE_CONDITIONS[asked.state], {}))
    elif asked.state:
        given.append(("outcome = %(outcome)s", {"outcome": asked.state}))
    if asked.user:
        given.append(("starts_with(user_id, %(user)s)", {"user": asked.user}))
    parameters = {name: value for _, each in given for name, value in each.items()}
    return sql.SQL(" AND ").join(sql.SQL(condition) for condition, _ in given), parameters

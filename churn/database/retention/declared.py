"""What a view of the schema `retention` is declared as, and how it is written: as DDL and as a page.

The views themselves are in `months.py`, `customers.py` and `records.py`. Nothing here asks a database.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from churn.contract.structure import Contract
from churn.markdown import table

SCHEMA = "retention"


@dataclass(frozen=True)
class ViewColumn:
    """One column of a view.

    Args:
        name: the same quantity has the same name in every view.
        sql_type: as `format_type` tells it.
        meaning: a sentence.
        unit: of a number; empty where there is none.
    """

    name: str
    sql_type: str
    meaning: str
    unit: str = ""

    @property
    def comment(self) -> str:
        """What its COMMENT says: the meaning, and the unit behind it."""
        return f"{self.meaning} Unit: {self.unit}." if self.unit else self.meaning


@dataclass(frozen=True)
class RetentionView:
    """One view: what a row is, what makes it unique, its columns in order, and the query.

    Args:
        name: in the schema `retention`.
        row: what one row is, a sentence.
        key: the columns that no two rows share; none of them is ever null.
        columns: a later version adds to their end and takes nothing away.
        query: gives the columns in this order; `{labels}` stands for the snapshot table of the labels.
    """

    name: str
    row: str
    key: tuple[str, ...]
    columns: tuple[ViewColumn, ...]
    query: LiteralString

    @property
    def comment(self) -> str:
        """What its COMMENT says: what a row is, and its key."""
        return f"{self.row} Key: {', '.join(self.key)}."

    def statements(self, contract: Contract) -> Iterator[sql.Composed]:
        """Yield its DDL, safe to run again while others read it."""
        view = sql.Identifier(SCHEMA, self.name)
        names = sql.SQL(", ").join(sql.Identifier(column.name) for column in self.columns)
        query = sql.SQL(self.query).format(labels=sql.Identifier(contract.labels.snapshot))
        # Replacing keeps what was granted on it and what others have built on it.
        yield sql.SQL("CREATE OR REPLACE VIEW {} ({}) AS {}").format(view, names, query)
        yield sql.SQL("COMMENT ON VIEW {} IS {}").format(view, sql.Literal(self.comment))
        for column in self.columns:
            yield sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(
                view, sql.Identifier(column.name), sql.Literal(column.comment)
            )

    def page(self) -> Iterator[str]:
        """Yield its part of docs/retention-views.md, line by line."""
        yield from (f"### {SCHEMA}.{self.name}", "", f"{self.row} Key: {_key(self.key)}.", "")
        yield from table(("column", "type", "unit", "meaning"), map(_row, self.columns))


MONTH = ViewColumn("month", "date", "First day of the calendar month.")
USER_ID = ViewColumn("user_id", "text", "The user, as the drops name them.")
UPDATED_AT = ViewColumn(
    "updated_at",
    "timestamp with time zone",
    "When the newest record behind the row was recorded, in UTC.",
)


def _key(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _row(column: ViewColumn) -> tuple[str, ...]:
    return (
        f"`{column.name}`",
        _SHORT.get(column.sql_type, column.sql_type),
        column.unit,
        column.meaning,
    )


_SHORT = {"timestamp with time zone": "timestamptz", "double precision": "float8"}

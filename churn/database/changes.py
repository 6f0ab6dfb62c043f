"""Comparing the tables that exist with those that a contract declares: what to add, and what is in the way.

Nothing here asks a database. The columns of a database are read by churn.database.migrate; the columns that
the tables of a contract would have are `columns_of` that contract.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from psycopg import sql

from churn.contract.structure import Column, Contract, Table, View
from churn.contract.types import COLUMN_TYPES

# The columns of each relation and their SQL types, by names such as raw.users, users_snapshots, online.users.
Columns = Mapping[str, Mapping[str, str]]
ONLINE = "online.users"

_OF_RAW = {"delivery_id": "bigint", "user_id": "text"}
_OF_SNAPSHOT = {
    "user_id": "text",
    "as_of": "timestamp with time zone",
    "known_at": "timestamp with time zone",
    "is_withdrawn": "boolean",
}
_OF_ONLINE = {name: _OF_SNAPSHOT[name] for name in ("user_id", "as_of", "known_at")}
# Pairs of types of which the second holds every value of the first. (bigint, real) is one of them since a
# number that is not `exact` is served in 32 bits, while the tables keep it in 64.
_WIDER = {
    ("bigint", "double precision"),
    ("real", "double precision"),
    ("bigint", "real"),
}
_KEEP = "leave it in the contract: a column may be `optional`, then files may come without it"


@dataclass(frozen=True)
class Alteration:
    """One column of one relation that is to be added, or to be given a wider type."""

    relation: str
    column: str
    sql_type: str
    is_new: bool
    default: str = ""


@dataclass(frozen=True)
class Change:
    """One difference, in words.

    Args:
        kind: an `additive` change loses nothing and is applied to a system with data; a `breaking` one is
            refused.
        what: the difference.
        remedy: what to do about a breaking change.
        alterations: what it means for the columns of existing relations.
    """

    kind: Literal["additive", "breaking"]
    what: str
    remedy: str = ""
    alterations: tuple[Alteration, ...] = field(default=(), repr=False)


def columns_of(declared: Contract) -> Columns:
    """Return the columns that the tables of a contract would have in a database."""
    columns: dict[str, Mapping[str, str]] = {}
    for table in declared.tables:
        values = {column.name: COLUMN_TYPES[column.kind].sql for column in table.values}
        columns[f"raw.{table.name}"] = _OF_RAW | values
        columns[table.snapshot] = _OF_SNAPSHOT | values
    columns[ONLINE] = _OF_ONLINE | {
        name: sql_type for view in declared.views for name, sql_type in _online(view).items()
    }
    return columns


def changes(declared: Contract, present: Columns) -> tuple[Change, ...]:
    """Return how the existing tables differ from the declared ones.

    Args:
        declared: the contract.
        present: the columns of a database, or of another contract.
    """
    return (
        *(change for table in declared.tables for change in _of_table(table, present)),
        *_gone_tables(declared.tables, present),
        *_of_views(declared, present),
    )


def statement(relation: str, alterations: Sequence[Alteration]) -> sql.Composed:
    """Return the one ALTER TABLE that makes all alterations of a relation."""
    actions = sql.SQL(", ").join(
        sql.SQL(
            "ADD COLUMN IF NOT EXISTS {column} {type} {default}"
            if each.is_new
            else "ALTER COLUMN {column} TYPE {type}"
        ).format(
            column=sql.Identifier(each.column),
            type=sql.SQL(each.sql_type),
            default=sql.SQL(each.default),
        )
        for each in alterations
    )
    return sql.SQL("ALTER TABLE {} {}").format(sql.Identifier(*relation.split(".")), actions)


def _of_table(table: Table, present: Columns) -> Iterator[Change]:
    relations = [name for name in (f"raw.{table.name}", table.snapshot) if name in present]
    if not relations:
        yield Change("additive", f"table {table.name} is new")
        return
    for column in table.values:
        yield from _of_column(table, column, relations, present)
    own = {*_OF_RAW, *_OF_SNAPSHOT, *(column.name for column in table.values)}
    for name in dict.fromkeys(name for relation in relations for name in present[relation]):
        if name not in own:
            yield Change("breaking", f"column {name} of table {table.name} is gone", _KEEP)


def _of_column(
    table: Table, column: Column, relations: Sequence[str], present: Columns
) -> Iterator[Change]:
    wanted = COLUMN_TYPES[column.kind].sql
    where = f"column {column.name} of table {table.name}"
    added, altered = [], []
    for relation in relations:
        has = present[relation].get(column.name)
        if has is None:
            added.append(Alteration(relation, column.name, wanted, is_new=True))
        elif has != wanted and (has, wanted) in _WIDER:
            altered.append(Alteration(relation, column.name, wanted, is_new=False))
        elif has != wanted:
            yield Change(
                "breaking",
                f"{where} would become {wanted}, which does not hold every {has}",
                "give the values of the other type a column of their own, under another name",
            )
            return
    if added:
        what = f"{where} is new ({wanted}); it is null in what was delivered before"
        yield Change("additive", what, alterations=tuple(added))
    if altered:
        what = f"{where} becomes {wanted}, which holds every value that is there"
        yield Change("additive", what, alterations=tuple(altered))


def _gone_tables(tables: Sequence[Table], present: Columns) -> Iterator[Change]:
    declared = {ONLINE}.union(*({f"raw.{t.name}", t.snapshot} for t in tables))
    for relation in present:
        if relation not in declared:
            yield Change(
                "breaking",
                f"table {relation.removeprefix('raw.')} is gone",
                "leave it in the contract: a table may be `optional`, then drops may come without it",
            )


def _of_views(declared: Contract, tables: Columns) -> Iterator[Change]:
    if ONLINE not in tables:
        return
    present = tables[ONLINE]
    columns = {column.name for table in declared.tables for column in table.values}
    # For a column that is gone from its table, that was reported already.
    gone = {
        name for relation in tables if relation != ONLINE for name in tables[relation]
    } - columns
    for view in declared.views:
        if view.name not in present:
            flag = Alteration(ONLINE, view.name, "boolean", True, "NOT NULL DEFAULT false")
            yield Change("additive", f"feature view {view.name} is new", alterations=(flag,))
        for feature in view.features:
            has, wanted = present.get(feature.name), feature.type.sql
            where = f"feature {feature.name} of view {view.name}"
            alteration = Alteration(ONLINE, feature.name, wanted, is_new=has is None)
            if has is None:
                yield Change("additive", f"{where} is new", alterations=(alteration,))
            elif has != wanted:
                yield _of_feature_type(where, has, alteration)
    own = _OF_ONLINE.keys() | {name for view in declared.views for name in _online(view)}
    for name in present:
        if name not in own and name not in gone:
            yield Change(
                "breaking",
                f"{name} is no feature view or feature any more",
                "leave it in the contract: a release that was fitted on it may be in force",
            )


def _of_feature_type(where: str, has: str, alteration: Alteration) -> Change:
    what = f"{where} becomes {alteration.sql_type}, served as {has} so far"
    if (has, alteration.sql_type) in _WIDER:
        return Change("additive", what, alterations=(alteration,))
    return Change("breaking", what, "give the new values a column of their own in the contract")


def _online(view: View) -> dict[str, str]:
    return {view.name: "boolean"} | {f.name: f.type.sql for f in view.features}

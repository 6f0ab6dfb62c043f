"""The types of values, each defined once: as a kind of column, and as the type of a feature made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, LiteralString

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

# What a column of a drop may hold.
Kind = Literal["string", "date", "int", "float", "bool"]
# What a feature may be, by Feast's names.
DType = Literal["Int64", "Float64", "Float32", "Bool", "String"]


@dataclass(frozen=True)
class ValueType:
    """How values are held in memory and in Postgres."""

    arrow_alias: str
    sql: LiteralString

    @property
    def arrow(self) -> pa.DataType:
        """The type of an Arrow column; Arrow is imported late, since not every command needs it."""
        import pyarrow as pa

        return pa.type_for_alias(self.arrow_alias)


@dataclass(frozen=True)
class ColumnType(ValueType):
    """How a kind of column is held: as typed rows, and in the tables of raw rows and snapshots."""

    # None where such a column cannot be a feature.
    feature: DType | None
    # In words, for people.
    text: str


@dataclass(frozen=True)
class FeatureType(ValueType):
    """How a feature is held: in the lake, in the row of online features, in Feast's protobuf, in JSON."""

    proto_field: str
    python: type


COLUMN_TYPES: Final[Mapping[Kind, ColumnType]] = {
    "string": ColumnType("string", "text", "String", "text"),
    "date": ColumnType("date32", "date", None, "date"),
    "int": ColumnType("int64", "bigint", "Int64", "whole number"),
    "float": ColumnType("double", "double precision", "Float32", "number"),
    "bool": ColumnType("bool", "boolean", "Bool", "True or False"),
}
FEATURE_TYPES: Final[Mapping[DType, FeatureType]] = {
    "Int64": FeatureType("int64", "bigint", "int64_val", int),
    "Float64": FeatureType("double", "double precision", "double_val", float),
    "Float32": FeatureType("float", "real", "float_val", float),
    "Bool": FeatureType("bool", "boolean", "bool_val", bool),
    "String": FeatureType("string", "text", "string_val", str),
}

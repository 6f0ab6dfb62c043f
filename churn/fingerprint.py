"""The canonical order of a table's rows, and the fingerprint of its content: the same on every machine.

Rows are ordered by their keys, text bytewise. The fingerprint is the sha256 of the sorted, typed content in a
canonical encoding of our own: the order of rows and columns, file names, the spelling of numbers, platforms
and library versions do not change it.
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from churn.arrays import Bools
from churn.errors import ChurnError

_WORD = 8
# In bytes; longer texts are ranked by Arrow instead.
_LONGEST = 4 * _WORD
_Words = list[npt.NDArray[Any]]


@dataclass(frozen=True)
class Order:
    """The sort order of a table by its key columns.

    Args:
        indices: the row indices that sort the table, stable for equal keys; None where it is sorted already.
        has_repeats: two rows share a key.
    """

    indices: pa.Array | None
    has_repeats: bool

    def sort(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return a column of the table in this order."""
        if self.indices is None:
            return column
        return pa.chunked_array([column.combine_chunks().take(self.indices)])

    def sort_table(self, table: pa.Table) -> pa.Table:
        """Return the table in this order."""
        return table if self.indices is None else table.combine_chunks().take(self.indices)


@dataclass(frozen=True)
class ByUser:
    """A table with one row per user, and its order by user_id, which is computed when first asked for."""

    rows: pa.Table

    @functools.cached_property
    def order(self) -> Order:
        """The order of the rows by user_id."""
        return order_by(self.rows, ["user_id"])

    @functools.cached_property
    def ids(self) -> pa.ChunkedArray:
        """The sorted user_ids."""
        return self.sorted("user_id")

    def sorted(self, column: str) -> pa.ChunkedArray:
        """Return a column in the order of user_id."""
        return self.order.sort(self.rows[column])


def order_by(table: pa.Table, key: Sequence[str]) -> Order:
    """Return the order of the rows by `key`, the first column first.

    Args:
        table: a table whose key columns hold text, integers or instants, and no nulls.
        key: the columns to sort by.
    """
    words = [word for name in key for word in _words(table[name])]
    falls, same = _neighbours(words)
    if not falls.any():
        return Order(None, bool(same.any()))
    first = words[0]
    order = np.argsort(first).astype(np.int32 if len(first) < 2**31 else np.int64)
    ordered = first[order]
    tied = np.zeros(len(order), dtype=bool)
    tied[1:] = ordered[1:] == ordered[:-1]
    tied[:-1] |= tied[1:]
    # There are few of these where the first eight bytes tell most rows apart.
    places = np.flatnonzero(tied)
    among = order[places]
    order[places] = among[np.lexsort((among, *(word[among] for word in reversed(words))))]
    among = order[places]
    _, same = _neighbours([word[among] for word in words])
    return Order(pa.array(order), bool(same.any()))


def _neighbours(words: _Words) -> tuple[Bools, Bools]:
    """Return, for each row but the first, whether its key is smaller than the one before, or the same."""
    falls = np.zeros(max(len(words[0]) - 1, 0), dtype=bool)
    same = np.ones_like(falls)
    for word in words:
        falls |= same & (word[1:] < word[:-1])
        same &= word[1:] == word[:-1]
    return falls, same


def _words(column: pa.ChunkedArray) -> _Words:
    """Return a key column as arrays of numbers, the most significant first, that compare as its values do."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return [column.cast(pa.int64()).to_numpy()]
    lengths = pc.binary_length(column).to_numpy()
    longest = int(lengths.max(initial=0))
    if longest > _LONGEST:
        return [pc.rank(column, sort_keys="ascending", tiebreaker="dense").to_numpy()]
    words = np.empty((max(-(-longest // _WORD), 1), len(column)), np.uint64)
    begin = 0
    for chunk in column.chunks:
        end = begin + len(chunk)
        words[:, begin:end] = _chunk_words(chunk, lengths[begin:end], len(words)).T
        begin = end
    return [*words] if lengths.min(initial=longest) == longest else [*words, lengths]


def _chunk_words(
    chunk: pa.StringArray | pa.LargeStringArray, lengths: npt.NDArray[Any], count: int
) -> npt.NDArray[np.uint64]:
    """Return the bytes of each text, padded with zeros, as numbers of eight bytes: [rows, words]."""
    _, offsets, content = chunk.buffers()
    width = np.int64 if pa.types.is_large_string(chunk.type) else np.int32
    starts = np.frombuffer(offsets, width)[chunk.offset : chunk.offset + len(chunk)]
    data = np.frombuffer(content or b"", np.uint8)
    padded = np.zeros((len(chunk), count * _WORD), np.uint8)
    longest = int(lengths.max(initial=0))
    if longest and lengths.min() == longest:
        begin = int(starts[0])
        padded[:, :longest] = data[begin : begin + len(chunk) * longest].reshape(-1, longest)
    else:
        for place in range(longest):
            there = np.flatnonzero(lengths > place)
            padded[there, place] = data[starts[there] + place]
    return padded.view(">u8").astype(np.uint64)


_FORMAT = b"churn fingerprint 1\n"
# Arrow's own names of types may change between versions, so the canonical ones are defined here.
_NUMBERS: dict[pa.DataType, tuple[str, str]] = {
    pa.bool_(): ("bool", "u1"),
    pa.int8(): ("int8", "i1"),
    pa.int16(): ("int16", "<i2"),
    pa.int32(): ("int32", "<i4"),
    pa.int64(): ("int64", "<i8"),
    pa.float32(): ("float32", "<f4"),
    pa.float64(): ("float64", "<f8"),
    pa.date32(): ("date", "<i4"),
}


def fingerprint(
    table: pa.Table, key: Sequence[str] = ("user_id",), order: Order | None = None
) -> str:
    """Return the sha256 (hex) of the table's content, sorted by `key`.

    Columns are sorted and hashed one at a time, so that memory holds only one of them twice.

    Args:
        table: columns of text, boolean, integer, float, date or timestamp type; nulls are content.
        key: the columns that identify a row, so that the sort order is unique.
        order: the rows' order by `key`, where it is known already.

    Raises:
        ChurnError: two rows share a key, or a key is null.
    """
    for name in key:
        if table[name].null_count:
            raise ChurnError(f"{table[name].null_count} rows have no {name}", where="fingerprint")
    order = order or order_by(table, key)
    if order.has_repeats:
        raise ChurnError(f"two rows share one key ({', '.join(key)})", where="fingerprint")
    digest = hashlib.sha256(_FORMAT)
    digest.update(f"{table.num_rows} rows, {table.num_columns} columns\n".encode())
    for name in sorted(table.column_names):
        column = order.sort(table[name])
        _add(digest, name, column.cast(_widest(column.type)).combine_chunks())
    return digest.hexdigest()


def _widest(kind: pa.DataType) -> pa.DataType:
    """Return one type for the several in which Arrow may hold the same content."""
    if pa.types.is_dictionary(kind):
        return _widest(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.large_string()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz=kind.tz and "UTC")
    return kind


def _add(digest: "hashlib._Hash", name: str, column: pa.Array) -> None:
    if pa.types.is_large_string(column.type):
        kind, values = "string", _text_bytes(column)
    elif pa.types.is_timestamp(column.type):
        kind = "timestamp[us, UTC]" if column.type.tz else "timestamp[us]"
        values = [_number_bytes(column.cast(pa.int64()), "<i8")]
    elif column.type in _NUMBERS:
        kind, layout = _NUMBERS[column.type]
        values = [_number_bytes(column, layout)]
    else:
        raise TypeError(f"column {name}: no canonical bytes are defined for {column.type}")
    encoded = name.encode()
    digest.update(f"{len(encoded)}:".encode() + encoded + f" {kind}\n".encode())
    digest.update(_array(column.is_valid(), "u1").data)
    for part in values:
        digest.update(part.data)


def _number_bytes(column: pa.Array, layout: str) -> np.ndarray:
    if pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    values = _array(column.fill_null(False if pa.types.is_boolean(column.type) else 0), layout)
    if values.dtype.kind == "f":
        # -0.0 and 0.0 are one number.
        values = values + values.dtype.type(0)
        # All NaNs are written alike.
        values[np.isnan(values)] = np.nan
    return values


def _text_bytes(column: pa.Array) -> list[np.ndarray]:
    filled = column.fill_null("")
    lengths = _array(pc.binary_length(filled), "<i8")
    total = int(lengths.sum())
    _, offsets, data = filled.buffers()
    if data is None or total == 0:
        return [lengths]
    start = int(np.frombuffer(offsets, dtype=np.int64)[filled.offset])
    return [lengths, np.frombuffer(data, dtype=np.uint8)[start : start + total]]


def _array(column: pa.Array, layout: str) -> np.ndarray:
    return np.ascontiguousarray(column.to_numpy(zero_copy_only=False), dtype=np.dtype(layout))

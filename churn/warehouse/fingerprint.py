"""The fingerprint of a table: a sha256 of its sorted, typed content, in canonical bytes of our own.

Row order, column order, file name, number spelling, platform and library version do not enter it.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from churn.errors import ChurnError
from churn.warehouse.row_order import Order, order_by

_FORMAT = b"churn fingerprint 1\n"
# Arrow's own type names may change between versions, so the canonical ones are written here.
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

    Columns are sorted and read one at a time, so that memory holds one of them twice, not all.

    Args:
        table: columns of text, boolean, integer, float, date or timestamp type; nulls are content.
        key: the columns that tell the rows apart; without that, "sorted" would mean nothing.
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
        values = values + values.dtype.type(0)  # -0.0 and 0.0 are one number
        values[np.isnan(values)] = np.nan  # and NaN has one spelling
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



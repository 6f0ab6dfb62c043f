"""Copying Arrow tables into and out of Postgres by COPY, the fastest way in both directions."""

import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pyarrow as pa
import pyarrow.csv as pa_csv
from psycopg import sql


def copy_in(
    connection: psycopg.Connection, table: sql.Composable, rows: pa.Table, chunk_rows: int = 250_000
) -> None:
    """Append `rows` to `table`; columns are matched by name, nulls stay null."""
    columns = sql.SQL(", ").join(sql.Identifier(name) for name in rows.column_names)
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(table, columns)
    options = pa_csv.WriteOptions(include_header=False, quoting_style="needed")
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for start in range(0, rows.num_rows, chunk_rows):
            buffer = io.BytesIO()
            pa_csv.write_csv(_quoted_blanks(rows.slice(start, chunk_rows)), buffer, options)
            copy.write(buffer.getbuffer())


def copy_batches_in(
    connection: psycopg.Connection,
    table: sql.Composable,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    *,
    freeze: bool = False,
) -> int:
    """Append batches of `schema`, whose types must be the table's own, in binary; return how many rows.

    Columns are matched by name. Values are copied as they are: an empty text stays empty. `freeze` is for a
    table that was created in this transaction: its rows need no later vacuum. While Postgres takes in one
    batch, the next is encoded in another thread.
    """
    from pgpq import ArrowToPostgresBinaryEncoder

    columns = sql.SQL(", ").join(map(sql.Identifier, schema.names))
    options = sql.SQL("FORMAT binary, FREEZE" if freeze else "FORMAT binary")
    statement = sql.SQL("COPY {} ({}) FROM STDIN ({})").format(table, columns, options)
    encoder = ArrowToPostgresBinaryEncoder(schema)
    header = encoder.write_header()
    blocks = map(encoder.write_batch, batches)
    with connection.cursor() as cursor:
        with cursor.copy(statement) as copy, ThreadPoolExecutor(1) as ahead:
            copy.write(header)
            coming = ahead.submit(next, blocks, None)
            while (block := coming.result()) is not None:
                coming = ahead.submit(next, blocks, None)
                copy.write(block)
            copy.write(encoder.finish())
        return cursor.rowcount


def copy_out(connection: psycopg.Connection, query: sql.Composable, schema: pa.Schema) -> pa.Table:
    """Return the rows of `query` as an Arrow table of `schema`: its columns in the same order.

    Text must be selected under its name in the schema, timestamps as microseconds since the epoch (bigint).
    """
    # Quotes tell an empty text from a null; nothing else needs them.
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    quoted = sql.SQL(", ").join(map(sql.Identifier, texts))
    options = sql.SQL("FORMAT csv, FORCE_QUOTE ({})" if texts else "FORMAT csv").format(quoted)
    statement = sql.SQL("COPY ({}) TO STDOUT ({})").format(query, options)
    buffer = io.BytesIO()
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for block in copy:
            buffer.write(block)
    read_types = {
        field.name: pa.int64() if pa.types.is_timestamp(field.type) else field.type
        for field in schema
    }
    if buffer.tell() == 0:
        return schema.empty_table()
    buffer.seek(0)
    table = pa_csv.read_csv(
        buffer,
        read_options=pa_csv.ReadOptions(column_names=schema.names),
        convert_options=pa_csv.ConvertOptions(
            column_types=read_types,
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    return table.cast(schema)


def _quoted_blanks(rows: pa.Table) -> pa.Table:
    """Return the rows as they are; refuse empty texts, which would be read back as nulls."""
    for name in rows.column_names:
        column = rows[name]
        if pa.types.is_string(column.type) and pa.compute.any(pa.compute.equal(column, "")).as_py():
            raise ValueError(f"column {name} holds an empty text; blanks must be null")
    return rows

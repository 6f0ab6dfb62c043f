"""One file of the lake, opened for a join: which versions it holds, and where each user's row is."""

import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from churn.errors import ChurnError
from churn.lake import microseconds, read_columns
from churn.months import Month

Instants = npt.NDArray[np.int64]  # microseconds since 1970, UTC
Numbers = npt.NDArray[np.int64]  # of rows in a file
ABSENT = -1  # the number of no row
_NEVER = np.iinfo(np.int64).min
_REMEDY = "write the month again: materialize the feature view"


class MonthFile:
    """A month of one view: the rows of one as_of, in one or several versions by known_at.

    Raises:
        ChurnError: the file holds rows of another as_of.
    """

    def __init__(self, path: Path, month: Month) -> None:
        self._source = pa.memory_map(str(path))
        self._file = pq.ParquetFile(self._source)
        self._column = {name: i for i, name in enumerate(self._file.schema_arrow.names)}
        end = microseconds(month.as_of)
        if self._file.metadata.num_rows and self._bounds("as_of") != (end, end):
            raise ChurnError(
                f"not every row is of as_of {month.as_of_date}", where=str(path), remedy=_REMEDY
            )

    @functools.cached_property
    def versions(self) -> Instants:
        """Every known_at in the file, ascending; where all rows share one, the footer says so."""
        if self._file.metadata.num_rows:
            first, last = self._bounds("known_at")
            if first == last:
                return np.array([first])
        return np.unique(self._known_at)

    def locate(self, users: pa.Array, known_by: Instants) -> Numbers:
        """Return for each user the number of the newest row that was known by then, else ABSENT."""
        found = np.full(len(users), ABSENT)
        visible = np.searchsorted(self.versions, known_by, side="right")
        for count in np.flatnonzero(np.bincount(visible)[1:]) + 1:
            rows = np.flatnonzero(visible == count)
            asked = users if len(rows) == len(users) else users.take(pa.array(rows))
            found[rows] = self._newest_of(asked, int(count))
        return found

    def same_keys(self, other: "MonthFile") -> bool:
        """Say whether both files have the same users and versions row by row, as equal bytes prove."""
        return all(
            len(ours := self._stored(name)) == len(theirs := other._stored(name))
            and all(a.equals(b) for a, b in zip(ours, theirs, strict=True))
            for name in ("user_id", "known_at")
        )

    def read(self, schema: pa.Schema) -> pa.Table:
        """Read some columns of every row: null where the file was written before there was such a column."""
        return read_columns(self._file, schema, use_threads=False).combine_chunks()

    def _newest_of(self, users: pa.Array, versions: int) -> Numbers:
        """Return the newest row of each user among the oldest `versions` versions."""
        if len(self.versions) == 1:
            return _first_places(users, self._users)
        rows = np.flatnonzero(self._known_at <= self.versions[versions - 1])
        if versions > 1:
            rows = rows[np.argsort(-self._known_at[rows], kind="stable")]
        at = _first_places(users, self._users.take(pa.array(rows)))
        return np.where(at == ABSENT, ABSENT, rows[at])

    @functools.cached_property
    def _users(self) -> pa.Array:
        return _whole(self._key("user_id"))

    @functools.cached_property
    def _known_at(self) -> Instants:
        return instants(self._key("known_at"))

    def _key(self, name: str) -> pa.ChunkedArray:
        return self._file.read([name], use_threads=False)[name]

    def _bounds(self, name: str) -> tuple[int, int]:
        """Return the least and the greatest value of a column, by the footer."""
        found = [chunk.statistics for chunk in self._chunks(name)]
        return min(s.min_raw for s in found), max(s.max_raw for s in found)

    def _stored(self, name: str) -> list[pa.Buffer]:
        """Return a column as it lies in the file, a buffer per row group; nothing is copied."""
        buffers = []
        for chunk in self._chunks(name):
            self._source.seek(
                min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset)))
            )
            buffers.append(self._source.read_buffer(chunk.total_compressed_size))
        return buffers

    def _chunks(self, name: str) -> list[pq.ColumnChunkMetaData]:
        metadata = self._file.metadata
        return [
            metadata.row_group(group).column(self._column[name])
            for group in range(metadata.num_row_groups)
        ]


def instants(times: pa.Array | pa.ChunkedArray) -> Instants:
    """Return instants as numbers; what has no zone is UTC, and null is before everything."""
    whole = times.cast(pa.timestamp("us", times.type.tz), safe=False).cast(pa.int64())
    return np.asarray(whole.fill_null(_NEVER).to_numpy())


def _first_places(users: pa.Array, values: pa.Array) -> Numbers:
    places = pc.index_in(users, value_set=values)
    return np.asarray(places.fill_null(ABSENT).to_numpy(zero_copy_only=False), dtype=np.int64)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)

"""The point-in-time join: each entity row gets the newest row of the lake that was known at its time.

Every row of the lake belongs to a month's end, and a file holds one month. So the entity rows fall into
groups with the same newest month; each group opens that month's files alone and looks its users up in them.
Nothing is sorted by time, and an older month is opened only where a user was not in the newer ones. The idea:
https://docs.feast.dev/getting-started/concepts/point-in-time-joins
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from churn.arrays import Ints
from churn.errors import ChurnError
from churn.lake.files import microseconds, months_of, read_columns
from churn.months import Month

# Microseconds since 1970, UTC.
Instants = Ints
# Indices of rows in a file; ABSENT stands for no row.
RowIndices = Ints
ABSENT = -1
_NEVER = np.iinfo(np.int64).min
_REMEDY = "write the month again: materialize the feature view"


class MonthFile:
    """A month of one view: the rows of one as_of, in one or more versions by known_at.

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
        """Every known_at in the file, ascending; read from the footer where all rows share one."""
        if self._file.metadata.num_rows:
            first, last = self._bounds("known_at")
            if first == last:
                return np.array([first])
        return np.unique(self._known_at)

    def locate(self, users: pa.Array, known_by: Instants) -> RowIndices:
        """Return, for each user, the index of the newest row known by that instant, else ABSENT."""
        newest = np.full(len(users), ABSENT)
        visible = np.searchsorted(self.versions, known_by, side="right")
        for count in np.flatnonzero(np.bincount(visible)[1:]) + 1:
            rows = np.flatnonzero(visible == count)
            asked = users if len(rows) == len(users) else users.take(pa.array(rows))
            newest[rows] = self._newest_of(asked, int(count))
        return newest

    def same_keys(self, other: "MonthFile") -> bool:
        """Return whether both files have the same users and versions, row by row, as equal bytes prove."""
        return all(
            len(ours := self._stored(name)) == len(theirs := other._stored(name))
            and all(a.equals(b) for a, b in zip(ours, theirs, strict=True))
            for name in ("user_id", "known_at")
        )

    def read(self, schema: pa.Schema) -> pa.Table:
        """Read some columns of every row; a column that is newer than the file is null."""
        return read_columns(self._file, schema, use_threads=False).combine_chunks()

    def _newest_of(self, users: pa.Array, versions: int) -> RowIndices:
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
        """Return the least and the greatest value of a column, from the footer."""
        statistics = [chunk.statistics for chunk in self._chunks(name)]
        return min(s.min_raw for s in statistics), max(s.max_raw for s in statistics)

    def _stored(self, name: str) -> list[pa.Buffer]:
        """Return a column's bytes as they are in the file, one buffer per row group; nothing is copied."""
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
    """Return instants as numbers; those without a zone are UTC, and null comes before all others."""
    whole = times.cast(pa.timestamp("us", times.type.tz), safe=False).cast(pa.int64())
    return np.asarray(whole.fill_null(_NEVER).to_numpy())


def _first_places(users: pa.Array, values: pa.Array) -> RowIndices:
    places = pc.index_in(users, value_set=values)
    return np.asarray(places.fill_null(ABSENT).to_numpy(zero_copy_only=False), dtype=np.int64)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


_FOREVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class ViewRequest:
    """What is asked of one view.

    Attributes:
        folder: the folder of the view's files.
        columns: the name that each column of the files gets in the answer.
        schema: the types of these columns, by their names in the files.
        user: the column of the entity rows that names the user.
        life_us: how long after its as_of a row remains valid, in microseconds; None for ever.
        may_be_empty: the folder need not hold a file, for instance where no drop has had the table yet.
    """

    folder: Path
    columns: Mapping[str, str]
    schema: pa.Schema
    user: str
    life_us: int | None
    may_be_empty: bool = False


@dataclass(frozen=True)
class _EntityGroup:
    """Entity rows that see the same months: those that had ended by then, the newest first."""

    rows: pa.Table
    at: Instants
    known_by: Instants
    months: Sequence[Month]


@dataclass(frozen=True)
class _LocatedUsers:
    """Where a group's users are in a file."""

    file: MonthFile
    user: str
    indices: RowIndices


def join(
    entities: pa.Table, views: Sequence[ViewRequest], at: str, known_by: str | None
) -> pa.Table:
    """Return the entity rows, with all their columns, and the columns of each view.

    The rows are ordered by newest month, then as they were given. A user without a row gets nulls.

    Args:
        entities: one row per answer; a user may have any number of them.
        views: what is asked of each view.
        at: a column of instants: a row of the lake answers if its as_of is not later, and it is still valid.
        known_by: a column of instants: versions known later do not count; None where all versions count.

    Raises:
        ChurnError: a view has no file, or a file holds rows of another month.
    """
    lake = [_files(view) for view in views]
    months = sorted(set[Month]().union(*lake))
    times = instants(entities[at])
    known = instants(entities[known_by]) if known_by else np.full(len(times), _FOREVER)
    ended = np.searchsorted([microseconds(month.as_of) for month in months], times, side="right")

    def answer(part: tuple[int, slice | RowIndices]) -> pa.Table:
        count, rows = part
        if isinstance(rows, slice):
            chosen = entities.slice(rows.start, rows.stop - rows.start)
        else:
            chosen = entities.take(pa.array(rows))
        group = _EntityGroup(chosen, times[rows], known[rows], months[:count][::-1])
        return _answer(group, views, lake)

    with ThreadPoolExecutor(pa.cpu_count()) as pool:
        return pa.concat_tables(pool.map(answer, _parts(ended)), promote_options="permissive")


def _files(view: ViewRequest) -> dict[Month, Path]:
    months = months_of(view.folder)
    if not months and not view.may_be_empty:
        raise ChurnError(
            "there is no month of this view",
            where=str(view.folder),
            remedy="materialize the feature view for at least one month",
        )
    return months


def _parts(numbers: npt.NDArray[np.intp]) -> Iterator[tuple[int, slice | RowIndices]]:
    """Yield each number with the rows that have it, in their order; adjacent rows come as a slice."""
    in_order = bool((numbers[1:] >= numbers[:-1]).all())
    # numpy sorts small integers by radix, in one pass.
    order = None if in_order else np.argsort(numbers.astype(np.int16), kind="stable")
    counts = np.bincount(numbers, minlength=1)
    ends = np.cumsum(counts)
    for number in np.flatnonzero(counts) if len(numbers) else [0]:
        rows = slice(int(ends[number] - counts[number]), int(ends[number]))
        yield int(number), rows if order is None else order[rows]


def _answer(
    group: _EntityGroup, views: Sequence[ViewRequest], lake: Sequence[Mapping[Month, Path]]
) -> pa.Table:
    located: list[_LocatedUsers] = []
    tables = [group.rows]
    for view, files in zip(views, lake, strict=True):
        tables.append(_columns(group, view, files, located))
    names = [name for table in tables for name in table.column_names]
    return pa.Table.from_arrays([c for table in tables for c in table.columns], names=names)


def _columns(
    group: _EntityGroup,
    view: ViewRequest,
    files: Mapping[Month, Path],
    located: list[_LocatedUsers],
) -> pa.Table:
    """Return a view's columns, one row for each row of the group; months are tried newest first."""
    chosen = np.full(len(group.at), ABSENT)
    parts: list[pa.Table] = []
    for month in (month for month in group.months if month in files):
        pending = chosen == ABSENT
        if view.life_us is not None:
            pending &= group.at <= microseconds(month.as_of) + view.life_us
        if not pending.any():
            break
        file = MonthFile(files[month], month)
        indices = _locate(file, group, view.user, located)
        is_located = pending & (indices != ABSENT)
        if is_located.any():
            chosen[is_located] = indices[is_located] + sum(part.num_rows for part in parts)
            parts.append(file.read(view.schema))
    if not files:
        parts.append(view.schema.empty_table())
    elif not parts:
        month, path = next(iter(files.items()))
        parts.append(MonthFile(path, month).read(view.schema).slice(0, 0))
    table = parts[0] if len(parts) == 1 else pa.concat_tables(parts).combine_chunks()
    rows = pa.array(chosen, mask=chosen == ABSENT)
    return pc.take(table, rows, boundscheck=False).rename_columns(list(view.columns.values()))


def _locate(
    file: MonthFile, group: _EntityGroup, user: str, located: list[_LocatedUsers]
) -> RowIndices:
    """Find the group's users in a file; the files of several views often have the same keys."""
    for known in located:
        if known.user == user and file.same_keys(known.file):
            return known.indices
    users = group.rows[user].cast(pa.string()).combine_chunks()
    located_here = _LocatedUsers(file, user, file.locate(users, group.known_by))
    located.append(located_here)
    return located_here.indices

"""The population on disk: a `month_NNN/` folder per month, and the oracle beside them."""

import filecmp
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from churn.contract.structure import Table
from churn.contract.types import COLUMN_TYPES
from churn.errors import ChurnError
from churn.months import Month
from churn.population.base import SIZE, TABLES
from churn.population.process import DEFAULT_BASE_RATE
from churn.population.scenario import Scenario
from churn.population.simulate import PlayedMonth, play

ORACLE = "oracle"
_REMEDY = "choose another folder, or tell it to overwrite"
_LABELS = TABLES["labels"]
_PLAIN = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")


def write_drops(
    out: Path,
    *,
    first: Month,
    users: int = SIZE,
    months: int = 12,
    seed: int = 42,
    base_rate: float = DEFAULT_BASE_RATE,
    scenario: Scenario | None = None,
    label_last_month: bool = False,
    overwrite: bool = False,
    on_month: Callable[[Month], None] | None = None,
) -> list[Path]:
    """Write the drops of a population, and return their folders, oldest first.

    The same arguments give the same bytes. A folder appears complete or not at all, so a sensor may watch
    `out`. Drops that are there already stay if their content is the same, so a longer run adds to a shorter
    one. `oracle/month_NNN.parquet` holds what no model may see: probabilities and labels of every month.

    Args:
        out: the folder of the drops.
        first: the first month, `month_000`.
        users: in the first month.
        months: how many to write.
        seed: of the population.
        base_rate: the churn rate that the process is set to, between 0 and 1.
        scenario: what changes along the way.
        label_last_month: write labels.csv of the newest month, too.
        overwrite: first remove the drops in `out`.
        on_month: called after each month.

    Raises:
        ChurnError: drops with other content are there, and `overwrite` is not set.
    """
    played = play(
        first=first, months=months, users=users, seed=seed, base_rate=base_rate, scenario=scenario
    )
    names = [first.shift(number).folder(first) for number in range(months)]
    if overwrite:
        _clear(out)
    _refuse_others(out, names, label_last_month=label_last_month)
    folders = []
    for name, month in zip(names, played, strict=True):
        labelled = label_last_month or name != names[-1]
        folders.append(_write_month(out, name, month, labelled=labelled))
        if on_month:
            on_month(month.month)
    return folders


def _write_month(out: Path, name: str, played: PlayedMonth, *, labelled: bool) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=f".{name}_") as folder:
        staging = Path(folder) / name
        staging.mkdir()
        for table in TABLES.values():
            if table is not _LABELS or labelled:
                write_csv(played.tables[table.name], table, staging / table.file)
        oracle = Path(folder) / f"{name}.parquet"
        pa.parquet.write_table(pa.Table.from_pandas(played.oracle, preserve_index=False), oracle)
        _put([oracle], out / ORACLE)
        if (out / name).exists():
            _put(sorted(staging.iterdir()), out / name)
        else:
            staging.rename(out / name)
    return out / name


def write_csv(frame: pd.DataFrame, table: Table, path: Path) -> None:
    """Write one file of a drop: the table's columns, True or False, and blanks for unknown."""
    schema = pa.schema([(column.name, COLUMN_TYPES[column.kind].arrow) for column in table.columns])
    columns = [
        pc.if_else(values, "True", "False") if pa.types.is_boolean(values.type) else values
        for values in pa.Table.from_pandas(frame, schema=schema, preserve_index=False).columns
    ]
    with path.open("wb") as file:
        file.write((",".join(schema.names) + "\n").encode())
        pyarrow.csv.write_csv(pa.table(columns, names=schema.names), file, _PLAIN)


def _put(files: list[Path], folder: Path) -> None:
    """Move files into a folder, unless it has them with the same content; other content is an error."""
    folder.mkdir(exist_ok=True)
    for file in files:
        there = folder / file.name
        if not there.exists():
            file.replace(there)
        elif not filecmp.cmp(file, there, shallow=False):
            raise ChurnError(
                "is there already, with other content", where=str(there), remedy=_REMEDY
            )


def _refuse_others(out: Path, names: list[str], *, label_last_month: bool) -> None:
    others = [path for path in sorted(out.glob("month_*")) if path.name not in names]
    if not label_last_month:
        others += (out / names[-1]).glob(_LABELS.file)
    if others:
        raise ChurnError("is not part of these drops", where=str(others[0]), remedy=_REMEDY)


def _clear(out: Path) -> None:
    for folder in (*out.glob("month_*"), *out.glob(".month_*"), out / ORACLE):
        shutil.rmtree(folder, ignore_errors=True)


def correct_some_fees(drop: Path, users: int = 50) -> None:
    """Change some users' fee in a drop, in place, as a billing system does that has corrected them."""
    path = drop / TABLES["subscriptions"].file
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    some = frame.index[:users]
    frame.loc[some, "monthly_fee"] = [
        f"{float(fee) + 2:.2f}" for fee in frame.loc[some, "monthly_fee"]
    ]
    frame.to_csv(path, index=False)

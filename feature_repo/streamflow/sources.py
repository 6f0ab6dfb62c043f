"""The sources: one folder of monthly Parquet files per view, in the lake."""

from pathlib import Path

from feast import FileSource
from feast.data_format import ParquetFormat

from churn.contract.features import View
from churn.lake import lake_folder


def lake_source(view: View, lake: Path) -> FileSource:
    """Return the source of a view: every version of every month, one file per as_of."""
    return FileSource(
        name=f"{view.name}_lake",
        path=str(lake_folder(view, lake)),
        file_format=ParquetFormat(),  # without it, the duckdb store cannot read a folder
        timestamp_field="as_of",
        created_timestamp_column="known_at",
        description=f"{view.table.snapshot}, every version, one file per as_of.",
    )

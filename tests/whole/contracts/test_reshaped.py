"""StreamFlow under other names and in another shape gives the same models, to the last bit.

Another key, other names of columns, one wide file a month in one flat folder (semicolons, decimal commas,
German words and dates, cp1252), every table a select over it, and labels derived from who is missing.
"""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
import yaml

from churn.contract.structure import Table
from churn.months import Month
from churn.population.drops import write_drops
from churn.settings import Settings, default_contract
from tests.kit.reshaped_files import GERMAN, text_in
from tests.kit.walk_from_exports import walked

STREAMFLOW = default_contract()
PROFILES = [table for table in STREAMFLOW.tables if table != STREAMFLOW.labels]
USERS = 300


@pytest.fixture(scope="module")
def drops(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """January, with labels, and February."""
    folder = tmp_path_factory.mktemp("canonical")
    return write_drops(folder, first=Month.parse("2024-01"), users=USERS, months=2)


def outside(name: str) -> str:
    """What a column is called in the wide file."""
    return "Kunde" if name == "user_id" else f"Feld {name}"


def wide_file(drop: Path) -> bytes:
    """The tables of a drop, but for its labels, side by side."""
    rows: dict[str, dict[str, str]] = {}
    for table in PROFILES:
        with (drop / table.file).open(newline="") as file:
            for row in csv.DictReader(file):
                texts = {
                    outside(name): text_in(value, table.column(name), GERMAN)
                    for name, value in row.items()
                }
                rows.setdefault(row["user_id"], {}).update(texts)
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, [*next(iter(rows.values()))], delimiter=GERMAN.delimiter)
    writer.writeheader()
    writer.writerows(rows.values())
    return out.getvalue().encode(GERMAN.encoding)


def reshaped_contract() -> str:
    """StreamFlow's contract over the wide file."""
    document: dict[str, Any] = yaml.safe_load(STREAMFLOW.text)
    for name, entry in document["tables"].items():
        entry["select"] = select_of(STREAMFLOW.table_by_name[name])
    document["dialect"] = {
        "delimiter": GERMAN.delimiter,
        "encoding": GERMAN.encoding,
        "decimal": GERMAN.decimal,
        "thousands": GERMAN.thousands,
        "true": list(GERMAN.true_words),
        "false": list(GERMAN.false_words),
        "null": list(GERMAN.null_words),
        "dates": list(GERMAN.date_formats),
    }
    document["files"] = {"export": {"files": "export_{month}.csv"}}
    document["key"] = {"source": "Kunde"}
    document["label"] = {"from": "absent"}
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def select_of(table: Table) -> str:
    columns = ", ".join(f'"{outside(column.name)}" AS {column.name}' for column in table.columns)
    return f"SELECT {columns} FROM export"


@pytest.mark.parametrize(
    "has_full_models", [False, pytest.param(True, marks=pytest.mark.whole)], ids=["small", "full"]
)
def test_it_gives_the_same_models_to_the_last_bit(
    drops: list[Path],
    settings: Settings,
    mlflow_url: str,
    tmp_path: Path,
    *,
    has_full_models: bool,
) -> None:
    """The form with small models is the short one of that with models as a user's: the rows are the same."""
    contract, exports = tmp_path / "contract.yaml", tmp_path / "exports"
    contract.write_text(reshaped_contract(), encoding="utf-8")
    exports.mkdir()
    for drop, month in zip(drops, ("2024-01", "2024-02"), strict=True):
        (exports / f"export_{month}.csv").write_bytes(wide_file(drop))
    user = "7590-VHVEG"
    canonical, reshaped = (
        walked(
            its,
            folder,
            user,
            settings,
            mlflow_url,
            tmp_path / name,
            has_full_models=has_full_models,
        )
        for its, folder, name in (
            (None, drops[0].parent, "canonical"),
            (contract, exports, "reshaped"),
        )
    )
    assert canonical["failed"] == reshaped["failed"] == {}
    assert canonical["labelled"] == reshaped["labelled"] == ["2024-01"]
    assert canonical["rows"] == reshaped["rows"] == [USERS]
    # Service, month, fingerprint of the training set and sha256 of the ONNX file of every version.
    assert len(canonical["models"]) == 3
    assert reshaped["models"] == canonical["models"]
    assert reshaped["predict"] == canonical["predict"]
    assert reshaped["features"] == canonical["features"]

"""A customer who is everywhere: delivered and corrected, in all tables, online, scored, called, looked at."""

import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.contract.in_force import LABELS
from churn.database import connect
from churn.deliveries import deliver
from churn.months import Month
from churn.scoring.scores import scores_path
from churn.scoring.treatments import Treatment, report_treatments
from churn.settings import Settings
from churn.training.dataset import build_training_set
from churn.warehouse.raw import load_raw
from churn.warehouse.snapshots import build_snapshot
from console.acts import Act, record
from feature_repo.store import apply_features
from tests.kit.action_lists import put_list
from tests.kit.close_month import close
from tests.kit.small_drop import CORRECTED, FEBRUARY, JANUARY, NOW, write_drop

GONE, STAYS = "4711-XQZRT", "4711-XQZRT-2"
IDS = {"a": GONE, "b": STAYS, "c": "5575-GNVDE"}


def write_named_drop(folder: Path, *changes: object) -> Path:
    """Write the drop of three users under ids that are no part of other words, save of one another."""
    write_drop(folder, *changes)  # type: ignore[arg-type]
    for path in folder.iterdir():
        path.write_text(
            re.sub(r"^([abc])(?=,)", lambda match: IDS[match[1]], path.read_text(), flags=re.M)
        )
    return folder


@dataclass(frozen=True)
class Kept:
    """A state in which the customers of two months are kept everywhere."""

    settings: Settings
    folder: Path

    @property
    def drop(self) -> Path:
        """January, as it was delivered first."""
        return self.folder / "month_000"

    @property
    def months(self) -> tuple[Month, Month]:
        return JANUARY, FEBRUARY


@pytest.fixture
def kept(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    apply_features()
    folder = tmp_path_factory.mktemp("delivered")
    drops = [
        write_named_drop(folder / "month_000"),
        write_named_drop(folder / "month_001"),
        write_named_drop(folder / "later" / "month_000", CORRECTED),
    ]
    for drop in drops:
        deliver(drop, now=NOW, history=drop != drops[-1])
    for month in (JANUARY, FEBRUARY):
        close(month)
        load_raw(month, LABELS)
        build_snapshot(month, LABELS)
    build_training_set(JANUARY)
    put_list(JANUARY, list(IDS.values()))
    report_treatments(JANUARY, [Treatment(GONE, FEBRUARY.first_day, "phone")], actor="ann")
    rows = pa.table({"user_id": list(IDS.values()), "probability": [0.1, 0.2, 0.3]})
    path = scores_path(JANUARY)
    path.parent.mkdir(parents=True)
    pq.write_table(rows, path)
    (settings.home / "actions").mkdir()
    listed = "".join(f"2024-01,{user},treated\n" for user in IDS.values())
    (settings.home / "actions" / "2024-01.csv").write_text(f"month,user_id,group\n{listed}")
    (settings.home / "logs").mkdir()
    (settings.home / "logs" / "code.log").write_text(f"user {GONE} is odd, {STAYS} is not\n")
    with connect() as connection:
        record(connection, Act.CUSTOMER_SEEN, "ann", subject=GONE)
        record(connection, Act.CUSTOMER_SEEN, "ann", subject=STAYS)
        record(connection, Act.CALLS_REPORTED, "ann", subject="2024-01", breaches=[GONE, STAYS])
        connection.execute(
            "INSERT INTO console.drop_outcomes (name, state, report) VALUES ('month_002', 'refused', %s)",
            [f"users.csv, row 3: '{GONE}' stands in several rows, as does '{STAYS}'"],
        )
    return Kept(settings, folder)

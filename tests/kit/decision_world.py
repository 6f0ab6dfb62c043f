"""A world for decisions: deliveries in a real Postgres, training sets on disk, a registry of formulas."""

import datetime as dt
import threading
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from churn.contract.in_force import LABELS, TABLES
from churn.contract.structure import Service
from churn.database import connect
from churn.deliveries.ledger import record
from churn.months import Month
from churn.promotion.decide import Taken, take_due_decisions
from churn.promotion.ledger import Release
from churn.training.dataset import training_set_path
from tests.kit.releases import release, sha

USERS = 2_000


def deliver(month: Month, *, late: dt.timedelta | None = None, labels: bool = True) -> None:
    """Accept a whole drop: on time, or so much after its instants."""
    for table in TABLES:
        due = month.matures_at if table == LABELS else month.as_of
        if labels or table != LABELS:
            _accept(month, table.name, due + (late or dt.timedelta()))


def deliver_labels(month: Month, *, late: dt.timedelta | None = None) -> None:
    _accept(month, LABELS.name, month.matures_at + (late or dt.timedelta()))


def _accept(month: Month, file: str, known_at: dt.datetime) -> None:
    with connect() as connection:
        record(
            connection,
            {
                "month": month.first_day,
                "file": file,
                "sha256": sha(f"{month} {file} {known_at}"),
                "fingerprint": sha(f"{month} {file} {known_at}"),
                "rows": 1,
                "accepted_at": known_at,
                "known_at": known_at,
                "stored_path": "nowhere",
            },
        )


@dataclass
class World:
    """What each month's model is worth, and which months have been materialised."""

    qualities: dict[Month, float] = field(default_factory=dict)  # 1 knows the risk, 0 nothing
    turned: set[Month] = field(default_factory=set)  # months in which those leave who used to stay
    materialised: set[Month] = field(default_factory=set)
    served: list[str | None] = field(default_factory=list)
    alterations: dict[Month, int] = field(default_factory=dict)  # another content of a month

    def materialise(self, month: Month) -> Taken:
        """Do what the graph does with a month whose labels are there, the champion included."""
        self.write_training_set(month)
        self.materialised.add(month)
        return take_due_decisions(month, self)

    def write_training_set(self, month: Month) -> None:
        frame = self.users(month)
        path = training_set_path(month)
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_suffix(f".{threading.get_ident()}")
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), half)
        half.replace(path)

    def users(self, month: Month) -> pd.DataFrame:
        random = np.random.default_rng(
            [month.first_day.toordinal(), self.alterations.get(month, 0)]
        )
        risk = random.beta(0.6, 0.9, USERS)
        leaves = random.random(USERS) < (1 - risk if month in self.turned else risk)
        return pd.DataFrame(
            {
                "user_id": [f"{n:04d}" for n in range(USERS)],
                "months_active": np.rint(60 * random.random(USERS) * (2 - risk)).astype("int64"),
                "risk": risk,
                "churn_label": leaves,
            }
        )

    # the registry

    def challenger(self, month: Month) -> Release | None:
        if month not in self.materialised:
            return None
        content = f"{month} {self.alterations.get(month, 0)}"
        return release(
            content, month, fingerprint=sha(content), version=str(len(self.materialised))
        )

    def probabilities(self, chosen: Release, frame: pd.DataFrame) -> np.ndarray:
        quality = self.qualities.get(chosen.month, 0.5)
        noise = np.random.default_rng(int(chosen.onnx_sha256[:8], 16)).random(len(frame))
        risk = frame["risk"].to_numpy()
        knows = 1 - risk if chosen.month in self.turned else risk
        return np.asarray(quality * knows + (1 - quality) * noise)

    def service(self, chosen: Release) -> Service:
        raise NotImplementedError

    def serve(self, chosen: Release | None) -> None:
        served = chosen.release_id if chosen else None
        if self.served[-1:] != [served]:
            self.served.append(served)

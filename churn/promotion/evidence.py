"""What a decision rests on: the figures of both releases on one month's hold-out users. Plain values."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from churn.evaluation.bootstrap import Interval
from churn.months import Month

Trigger = Literal["first release", "monthly", "performance below floor", "alarm"]
BASE_RATE, TENURE = "auc against the base rate", "auc against tenure alone"


@dataclass(frozen=True)
class Figures:
    """How one release did on the users that judged it."""

    release_id: str
    version: str
    candidate: str
    service: str
    as_of: dt.date
    fingerprint: str  # of the training set it was fitted on
    threshold: float
    auc: Interval
    profit: Interval  # per user of the hold-out, in currency units
    empc: float


@dataclass(frozen=True)
class Evidence:
    """Everything that the gate looks at; what could not be made says so in `problem`."""

    month: str
    month_end: dt.date
    rows: int = 0
    left: int = 0  # of the rows, users who left
    fingerprint: str = ""  # of the training set whose hold-out users judged
    trigger: Trigger = "monthly"
    challenger: Figures | None = None
    champion: Figures | None = None
    differences: Mapping[str, Interval] = field(default_factory=dict)  # challenger less the other
    problem: str = ""

    @classmethod
    def none(cls, month: Month) -> "Evidence":
        """Nothing was known of the month."""
        return cls(str(month), month.as_of_date, problem="nothing was known of the month")

    def as_json(self) -> dict[str, Any]:
        """Return what the ledger keeps of it."""
        said = asdict(self)
        said["month_end"] = self.month_end.isoformat()
        for who in ("challenger", "champion"):
            if said[who]:
                said[who]["as_of"] = said[who]["as_of"].isoformat()
        return said

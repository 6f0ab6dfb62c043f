"""The gate: evidence in, verdict out. Pure; whatever is missing or wrong with the evidence, no one passes.

`Evidence` is what a decision rests on: the figures of both releases on one month's hold-out users. It is
measured in `measure.py`. The margin that a challenger must win by is a setting, `GateSettings` in
`churn.settings`.
"""

import datetime as dt
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from churn.evaluation.bootstrap import Interval
from churn.months import Month
from churn.settings import GateSettings

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


Rule = Literal["first release", "better", "below its floor", "none"]


@dataclass(frozen=True)
class Verdict:
    """Whether the challenger becomes champion, by which rule, and why or why not."""

    is_promoted: bool
    rule: Rule
    reasons: tuple[str, ...]


def judge(evidence: Evidence, gate: GateSettings) -> Verdict:
    """Decide between challenger and champion, or on the first release.

    Every comparison is written so that NaN fails it.
    """
    try:
        problems = list(_problems(evidence))
        if problems:
            return Verdict(False, "none", tuple(problems))
        if evidence.champion is None:
            return _first_release(evidence)
        return _against_champion(evidence, gate)
    except Exception as error:  # whatever was handed in: an exception must not promote
        what = f"the evidence cannot be judged: {type(error).__name__}: {error}"
        return Verdict(False, "none", (what,))


def _first_release(evidence: Evidence) -> Verdict:
    """Beat the base rate beyond chance, and a model of tenure alone by what is known.

    Without a release nobody is told anything; of a few hundred users, chance explains most of the
    distance to tenure alone, however good the model.
    """
    base_rate, tenure = evidence.differences[BASE_RATE], evidence.differences[TENURE]
    beats_base_rate, beats_tenure = base_rate.low > 0, tenure.estimate > 0
    said = (
        f"{_beats(beats_base_rate)} the base rate beyond chance: AUC {_interval(base_rate)}",
        f"{_beats(beats_tenure)} tenure alone: AUC {_interval(tenure)}",
    )
    beaten = beats_base_rate and beats_tenure
    return Verdict(beaten, "first release" if beaten else "none", said)


def _beats(beaten: bool) -> str:
    return "beats" if beaten else "does not beat"


def _against_champion(evidence: Evidence, gate: GateSettings) -> Verdict:
    assert evidence.champion is not None  # noqa: S101  (asked before)
    profit, auc = evidence.differences["profit"], evidence.differences["auc"]
    earns_more = profit.low > gate.profit_margin
    ranks_as_well = auc.low > gate.auc_margin
    said: tuple[str, ...] = (
        f"profit per user {_interval(profit)}, must lie above {gate.profit_margin:g}",
        f"AUC {_interval(auc)}, must lie above {gate.auc_margin:g}",
    )
    if earns_more and ranks_as_well:
        return Verdict(True, "better", said)
    realised = evidence.champion.auc.estimate
    if realised < gate.auc_floor:
        said += (f"the champion's AUC {realised:.4f} is below its floor {gate.auc_floor:g}",)
        if auc.low > 0:
            return Verdict(True, "below its floor", (*said, "the challenger beats it"))
        said += ("the challenger does not beat it beyond chance",)
    return Verdict(False, "none", said)


def _problems(evidence: Evidence) -> Iterator[str]:
    """Yield what keeps the evidence from being judged at all."""
    if evidence.problem:
        yield evidence.problem
        return
    if evidence.challenger is None:
        yield "there is no challenger"
        return
    rows, left = evidence.rows, evidence.left
    if not (_is_count(rows) and _is_count(left)):
        yield f"{rows} users, {left} who left: not counts"
    elif not 0 < left < rows:
        yield f"{left} of {rows} users left: both classes are needed"
    needed = ("profit", "auc") if evidence.champion else (BASE_RATE, TENURE)
    for name in needed:
        yield from _unsound(f"difference in {name}", evidence.differences.get(name))
    for who, figures in (("challenger", evidence.challenger), ("champion", evidence.champion)):
        if figures is not None:
            for name in ("auc", "profit"):
                yield from _unsound(f"{name} of the {who}", getattr(figures, name))
    yield from _seen(evidence)


def _seen(evidence: Evidence) -> Iterator[str]:
    """Yield who was trained on the month that should judge them; only a first release may be."""
    if not isinstance(evidence.month_end, dt.date):
        yield f"{evidence.month_end!r} is no date"
    elif evidence.champion is not None:
        for who, figures in (("challenger", evidence.challenger), ("champion", evidence.champion)):
            if figures is not None and not figures.as_of < evidence.month_end:
                yield f"the {who} was trained on {figures.as_of}, not before {evidence.month_end}"


def _unsound(what: str, interval: Any) -> Iterator[str]:
    if interval is None:
        yield f"{what}: missing"
        return
    values = (interval.low, interval.estimate, interval.high)
    if not all(_is_number(value) for value in values):
        yield f"{what}: {values} are not numbers"
    elif not interval.low <= interval.estimate <= interval.high:
        yield f"{what}: {values} are no interval"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _interval(interval: Any) -> str:
    return f"{interval.estimate:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"

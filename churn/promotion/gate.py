"""The gate: evidence in, verdict out. A pure function; evidence that is missing or unsound promotes nobody.

`Evidence` is what a decision rests on: the figures of both releases on one month's hold-out users, measured
in `measure.py`. The margins that a challenger must win by are settings, `GateSettings` in `churn.settings`.
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
    """The figures of one release on the users that it was judged on.

    `fingerprint` is that of the training set it was fitted on. Profit and EMPC are per hold-out user, in
    currency units.
    """

    release_id: str
    version: str
    candidate: str
    service: str
    as_of: dt.date
    fingerprint: str
    threshold: float
    auc: Interval
    profit: Interval
    empc: float


@dataclass(frozen=True)
class Evidence:
    """Everything that the gate looks at; where it could not be measured, `problem` says why.

    `left` of the `rows` hold-out users left. `fingerprint` is that of the training set they are from.
    `differences` are the challenger's figures less those it is compared with.
    """

    month: str
    month_end: dt.date
    rows: int = 0
    left: int = 0
    fingerprint: str = ""
    trigger: Trigger = "monthly"
    challenger: Figures | None = None
    champion: Figures | None = None
    differences: Mapping[str, Interval] = field(default_factory=dict)
    problem: str = ""

    @classmethod
    def none(cls, month: Month) -> "Evidence":
        """Return the evidence of a month of which nothing was known."""
        return cls(str(month), month.as_of_date, problem="nothing was known of the month")

    def as_json(self) -> dict[str, Any]:
        """Return the evidence as the ledger keeps it, in JSON values."""
        fields = asdict(self)
        fields["month_end"] = self.month_end.isoformat()
        for who in ("challenger", "champion"):
            if fields[who]:
                fields[who]["as_of"] = fields[who]["as_of"].isoformat()
        return fields


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
    except Exception as error:
        # Whatever was handed in, an exception must not promote.
        what = f"the evidence cannot be judged: {type(error).__name__}: {error}"
        return Verdict(False, "none", (what,))


def _first_release(evidence: Evidence) -> Verdict:
    """Require that the base rate is beaten beyond chance, and a model of tenure alone by the estimate.

    Without a release nothing is served at all. On a few hundred users, chance explains most of the distance
    to tenure alone, however good the model is.
    """
    base_rate, tenure = evidence.differences[BASE_RATE], evidence.differences[TENURE]
    beats_base_rate, beats_tenure = base_rate.low > 0, tenure.estimate > 0
    reasons = (
        f"{_beats(beats_base_rate)} the base rate beyond chance: AUC {_interval(base_rate)}",
        f"{_beats(beats_tenure)} tenure alone: AUC {_interval(tenure)}",
    )
    beaten = beats_base_rate and beats_tenure
    return Verdict(beaten, "first release" if beaten else "none", reasons)


def _beats(beaten: bool) -> str:
    return "beats" if beaten else "does not beat"


def _against_champion(evidence: Evidence, gate: GateSettings) -> Verdict:
    assert evidence.champion is not None  # noqa: S101  (asked before)
    profit, auc = evidence.differences["profit"], evidence.differences["auc"]
    earns_more = profit.low > gate.profit_margin
    ranks_as_well = auc.low > gate.auc_margin
    reasons: tuple[str, ...] = (
        f"profit per user {_interval(profit)}, must lie above {gate.profit_margin:g}",
        f"AUC {_interval(auc)}, must lie above {gate.auc_margin:g}",
    )
    if earns_more and ranks_as_well:
        return Verdict(True, "better", reasons)
    realised = evidence.champion.auc.estimate
    if realised < gate.auc_floor:
        reasons += (f"the champion's AUC {realised:.4f} is below its floor {gate.auc_floor:g}",)
        if auc.low > 0:
            return Verdict(True, "below its floor", (*reasons, "the challenger beats it"))
        reasons += ("the challenger does not beat it beyond chance",)
    return Verdict(False, "none", reasons)


def _problems(evidence: Evidence) -> Iterator[str]:
    """Yield the problems for which the evidence cannot be judged at all."""
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
    """Yield releases that were trained on the month they should be judged on; only a first release may be."""
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

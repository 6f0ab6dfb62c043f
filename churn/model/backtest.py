"""The backtest: models of the months before, judged on a month and on users that they never saw."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from churn.contract.features import BASELINE
from churn.evaluation.bootstrap import Interval, intervals, mean_interval
from churn.evaluation.inputs import Floats, Labels
from churn.evaluation.money import Campaign, earned_per_user, profit_threshold
from churn.model.baseline import fit_baseline
from churn.model.candidates import fit_candidate, forest, tuned
from churn.model.kinds import POOLED
from churn.model.kinds.forest import N_ESTIMATORS
from churn.model.split import SAMPLE_LIMIT
from churn.model.windows import Judges, months_with_training_set, service_within, window
from churn.months import Month
from churn.settings import get_settings
from churn.training.dataset import read_training_set

Span = Literal["one month", "all months"]
ONE_MONTH: Span = "one month"
ALL_MONTHS: Span = "all months"
RANKED = ("auc", "average_precision", "brier", "lift_10")
PROFIT = "profit"
METRICS = (*RANKED, PROFIT)


@dataclass(frozen=True)
class BacktestRow:
    """One model of a window of months, judged on the hold-out users of the month after it."""

    month: Month  # judged
    candidate: str  # the name of its kind
    service: str
    span: Span
    first: Month  # of the window
    last: Month
    months: int  # in the window; fewer than from first to last where there are holes
    training_rows: int
    users: int  # who judge
    left: int  # of them
    figures: dict[str, Interval]  # by METRICS; profit is per user

    @property
    def model(self) -> str:
        """What tables and pictures call it."""
        return f"{self.candidate} on {self.service}, {self.span}"


@dataclass(frozen=True)
class _Trained:
    candidate: str
    service: str
    span: Span
    months: Sequence[Month]
    rows: int
    labels: Labels  # of the judges
    probabilities: Floats
    threshold: float


def backtest(
    judged: Month, *, limit: int = SAMPLE_LIMIT, n_estimators: int = N_ESTIMATORS
) -> list[BacktestRow]:
    """Train on windows that end a month before `judged`, and judge on its hold-out users.

    The baseline's forest on the month before; and the candidate of the pooled kind and richer service on
    the month before and on all months so far. Nothing where no month before has a training set; a hole just
    before leaves out what is trained on one month.

    Args:
        judged: the label period to judge on.
        limit: above this many training rows, a fixed sample of users.
        n_estimators: the client's 300; tests take fewer.

    Raises:
        ChurnError: the judged month has no training set, or users of one class only.
    """
    read_training_set(judged)  # says what to do where there is none
    before = months_with_training_set(get_settings().first_month, judged.shift(-1))
    if not before:
        return []
    judges = Judges.of(judged)
    campaign = Campaign.of(get_settings().campaign)
    # The judges are a share of all users, and so is what may be spent on them.
    affordable = replace(campaign, budget=campaign.budget * judges.share)
    return [
        _row(judged, made, affordable) for made in _trained(judges, before, limit, n_estimators)
    ]


def _trained(
    judges: Judges, before: list[Month], limit: int, n_estimators: int
) -> Iterator[_Trained]:
    is_hole = before[-1] != judges.month.shift(-1)
    if not is_hole:
        yield _baseline(judges, before[-1], limit, n_estimators)
        yield _candidate(judges, before[-1:], ONE_MONTH, limit)
    yield _candidate(judges, before, ALL_MONTHS, limit)


def _baseline(judges: Judges, month: Month, limit: int, n_estimators: int) -> _Trained:
    service = service_within([month, judges.month], BASELINE.name)
    rows = window([month], judges, service, limit=limit)
    frame = read_training_set(month).rows.to_pandas()
    baseline = fit_baseline(frame, service, n_estimators=n_estimators, sample_limit=limit)
    # Calibrated, or its money and its Brier could not be held beside the other's.
    calibration = forest(baseline).calibration
    raw = baseline.kind.log_odds(baseline.pipeline, rows.holdout)
    campaign = Campaign.of(get_settings().campaign)
    return _Trained(
        baseline.kind.name, service.recorded_name, ONE_MONTH, [month], baseline.training_rows,
        rows.holdout_labels,
        calibration.probabilities(raw), profit_threshold(campaign),
    )  # fmt: skip


def _candidate(judges: Judges, months: Sequence[Month], span: Span, limit: int) -> _Trained:
    service = service_within([*months, judges.month])
    rows = window(months, judges, service, limit=limit)
    fitted = fit_candidate(tuned(POOLED, rows), rows)
    return _Trained(
        POOLED.name, service.recorded_name, span, months, len(rows.labels), rows.holdout_labels,
        fitted.probabilities, fitted.threshold,
    )  # fmt: skip


def _row(judged: Month, made: _Trained, campaign: Campaign) -> BacktestRow:
    earned = earned_per_user(made.labels, made.probabilities, made.threshold, campaign)
    return BacktestRow(
        judged,
        made.candidate,
        made.service,
        made.span,
        made.months[0],
        made.months[-1],
        len(made.months),
        made.rows,
        len(made.labels),
        int(made.labels.sum()),
        {**intervals(made.labels, made.probabilities, RANKED), PROFIT: mean_interval(earned)},
    )

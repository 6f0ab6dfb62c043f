"""The backtest: models of the months before, judged on a month and on users that they never saw.

Its rows are kept in Postgres month by month, and read again for the table in Markdown and the picture.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from churn.arrays import Floats, Labels
from churn.contract.in_force import BASELINE
from churn.database import connect
from churn.evaluation.bootstrap import Interval, intervals, mean_interval
from churn.evaluation.money import Campaign, earned_per_user, profit_threshold
from churn.evaluation.plots import by_month_png
from churn.model.candidates import fit_candidate, forest, tuned
from churn.model.kinds import POOLED
from churn.model.kinds.forest import N_ESTIMATORS
from churn.model.rows import SAMPLE_LIMIT
from churn.model.train import fit_baseline
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


_INSERT = (
    "INSERT INTO monitoring.backtests (as_of, candidate, service, span, first_as_of, last_as_of,"
    " months, training_rows, users, leavers) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
_INSERT_FIGURES = (
    "INSERT INTO monitoring.backtest_figures (as_of, candidate, service, span, metric, estimate,"
    " low, high) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
)
_SELECT = (
    "SELECT as_of, candidate, service, span, first_as_of, last_as_of, months, training_rows, users,"
    " leavers FROM monitoring.backtests WHERE as_of <= %s ORDER BY as_of, candidate, service, span"
)
_SELECT_FIGURES = (
    "SELECT as_of, candidate, service, span, metric, estimate, low, high"
    " FROM monitoring.backtest_figures WHERE as_of <= %s"
)


def keep_rows(judged: Month, rows: Sequence[BacktestRow]) -> None:
    """Keep the rows of one judged month, in the place of what was there."""
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM monitoring.backtests WHERE as_of = %s", [judged.as_of])
        cursor.executemany(_INSERT, [_cells(row) for row in rows])
        cursor.executemany(
            _INSERT_FIGURES,
            [[*_key(row), name, *row.figures[name]] for row in rows for name in METRICS],
        )


def kept_rows(until: Month) -> list[BacktestRow]:
    """Read the rows of every judged month up to one, oldest first; of a month in a steady order."""
    figures: dict[tuple[Any, ...], dict[str, Interval]] = {}
    with connect() as connection:
        for *key, metric, estimate, low, high in connection.execute(_SELECT_FIGURES, [until.as_of]):
            figures.setdefault(tuple(key), {})[metric] = Interval(estimate, low, high)
        found = connection.execute(_SELECT, [until.as_of]).fetchall()
    return [_kept_row(cells, figures[cells[:4]]) for cells in found]


def _key(row: BacktestRow) -> list[Any]:
    return [row.month.as_of, row.candidate, row.service, row.span]


def _cells(row: BacktestRow) -> list[Any]:
    counted = [row.months, row.training_rows, row.users, row.left]
    return [*_key(row), row.first.as_of, row.last.as_of, *counted]


def _kept_row(cells: tuple[Any, ...], figures: dict[str, Interval]) -> BacktestRow:
    as_of, candidate, service, span, first, last, months, training_rows, users, left = cells
    return BacktestRow(
        Month.of_as_of(as_of),
        candidate,
        service,
        span,
        Month.of_as_of(first),
        Month.of_as_of(last),
        months,
        training_rows,
        users,
        left,
        {name: figures[name] for name in METRICS},
    )


_PANELS = {"auc": "AUC", "lift_10": "lift at 10 %", "profit": "profit per user"}
_HEAD = (
    "| judged | model | trained on | rows | AUC | average precision | Brier | lift at 10 % |"
    " profit per user |\n|---|---|---|---|---|---|---|---|---|\n"
)


def backtest_table(rows: Sequence[BacktestRow]) -> str:
    """Return the rows as a Markdown table, the newest month first."""
    newest_first = sorted(rows, key=lambda row: row.month, reverse=True)
    return _HEAD + "\n".join(_line(row) for row in newest_first)


def backtest_png(rows: Sequence[BacktestRow]) -> bytes:
    """Draw each model's figures over the judged months."""
    months = sorted({row.month for row in rows})
    found = {(row.model, row.month): row.figures for row in rows}
    models = sorted({row.model for row in rows})
    panels = {
        name: {
            model: [found[model, m][metric] if (model, m) in found else None for m in months]
            for model in models
        }
        for metric, name in _PANELS.items()
    }
    title = "Trained up to a month, judged on the next one's hold-out users"
    return by_month_png([str(month) for month in months], panels, title)


def backtest_json(rows: Sequence[BacktestRow]) -> str:
    """Return the rows as JSON: the same rows give the same text."""
    return json.dumps([_record(row) for row in rows], indent=1)


def backtest_fingerprint(rows: Sequence[BacktestRow]) -> str:
    """Return the sha256 of the rows."""
    return hashlib.sha256(backtest_json(rows).encode()).hexdigest()


def _record(row: BacktestRow) -> dict[str, object]:
    return {
        "judged": str(row.month),
        "model": row.model,
        "trained_on": [str(row.first), str(row.last)],
        "months": row.months,
        "training_rows": row.training_rows,
        "users": row.users,
        "left": row.left,
        "figures": {name: row.figures[name]._asdict() for name in METRICS},
    }


def _line(row: BacktestRow) -> str:
    trained = str(row.last) if row.months == 1 else f"{row.first} to {row.last}"
    cells = [_figure(row.figures[name], 4 if name != "profit" else 2) for name in METRICS]
    return (
        f"| {row.month} | {row.model} | {trained} | {row.training_rows:,} | {' | '.join(cells)} |"
    )


def _figure(interval: Interval, digits: int) -> str:
    estimate, low, high = (f"{value:.{digits}f}" for value in interval)
    return f"{estimate} ({low} to {high})"

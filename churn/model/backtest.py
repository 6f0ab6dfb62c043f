"""The backtest: models of earlier months, judged on a month and on users that they never saw.

Its rows are kept in Postgres month by month, and read back for the Markdown table and the picture.
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
from churn.markdown import table
from churn.model.candidates import fit_candidate, forest, tuned
from churn.model.kinds import POOLED
from churn.model.kinds.forest import N_ESTIMATORS
from churn.model.rows import SAMPLE_LIMIT
from churn.model.train import fit_baseline
from churn.model.windows import HeldOut, months_with_training_set, service_within, window
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
    """One model of a window of months, judged on the hold-out users of the month after it.

    `month` is the one it is judged on, and `candidate` the name of its kind. The window is `first` to `last`;
    `months` of them have a training set. `users` are those it is judged on, of whom `left` left. The
    figures are by the names of METRICS; profit is per user.
    """

    month: Month
    candidate: str
    service: str
    span: Span
    first: Month
    last: Month
    months: int
    training_rows: int
    users: int
    left: int
    figures: dict[str, Interval]

    @property
    def model(self) -> str:
        """Its name in tables and pictures."""
        return f"{self.candidate} on {self.service}, {self.span}"


@dataclass(frozen=True)
class _Trained:
    """A model trained on some months; labels and probabilities are those of the hold-out users."""

    candidate: str
    service: str
    span: Span
    months: Sequence[Month]
    rows: int
    labels: Labels
    probabilities: Floats
    threshold: float


def backtest(
    judged: Month, *, limit: int = SAMPLE_LIMIT, n_estimators: int = N_ESTIMATORS
) -> list[BacktestRow]:
    """Train on windows that end a month before `judged`, and judge on its hold-out users.

    Three models are judged: the baseline's forest, trained on the month before; and the candidate of the
    pooled kind on the richer service, trained once on the month before and once on all months so far. Where
    the month before has no training set, only the last of them; where no earlier month has one, none.

    Args:
        judged: the label period to judge on.
        limit: above this many training rows, a fixed sample of users.
        n_estimators: trees of the baseline, which is fixed at 300; tests take fewer.

    Raises:
        ChurnError: the judged month has no training set, or users of one class only.
    """
    # Its error says what to do where the judged month has none.
    read_training_set(judged)
    before = months_with_training_set(get_settings().first_month, judged.shift(-1))
    if not before:
        return []
    held_out = HeldOut.of(judged)
    campaign = Campaign.of(get_settings().campaign)
    # The hold-out users are a share of all users, and so is what may be spent on them.
    affordable = replace(campaign, budget=campaign.budget * held_out.share)
    return [
        _row(judged, trained, affordable)
        for trained in _trained(held_out, before, limit, n_estimators)
    ]


def _trained(
    held_out: HeldOut, before: list[Month], limit: int, n_estimators: int
) -> Iterator[_Trained]:
    is_hole = before[-1] != held_out.month.shift(-1)
    if not is_hole:
        yield _baseline(held_out, before[-1], limit, n_estimators)
        yield _candidate(held_out, before[-1:], ONE_MONTH, limit)
    yield _candidate(held_out, before, ALL_MONTHS, limit)


def _baseline(held_out: HeldOut, month: Month, limit: int, n_estimators: int) -> _Trained:
    service = service_within([month, held_out.month], BASELINE.name)
    rows = window([month], held_out, service, limit=limit)
    frame = read_training_set(month).rows.to_pandas()
    baseline = fit_baseline(frame, service, n_estimators=n_estimators, sample_limit=limit)
    # Uncalibrated, its profit and its Brier score could not be compared with those of the others.
    calibration = forest(baseline).calibration
    raw = baseline.kind.log_odds(baseline.pipeline, rows.holdout)
    campaign = Campaign.of(get_settings().campaign)
    return _Trained(
        baseline.kind.name, service.recorded_name, ONE_MONTH, [month], baseline.training_rows,
        rows.holdout_labels,
        calibration.probabilities(raw), profit_threshold(campaign),
    )  # fmt: skip


def _candidate(held_out: HeldOut, months: Sequence[Month], span: Span, limit: int) -> _Trained:
    service = service_within([*months, held_out.month])
    rows = window(months, held_out, service, limit=limit)
    fitted = fit_candidate(tuned(POOLED, rows), rows)
    return _Trained(
        POOLED.name, service.recorded_name, span, months, len(rows.labels), rows.holdout_labels,
        fitted.probabilities, fitted.threshold,
    )  # fmt: skip


def _row(judged: Month, trained: _Trained, campaign: Campaign) -> BacktestRow:
    earned = earned_per_user(trained.labels, trained.probabilities, trained.threshold, campaign)
    return BacktestRow(
        judged,
        trained.candidate,
        trained.service,
        trained.span,
        trained.months[0],
        trained.months[-1],
        len(trained.months),
        trained.rows,
        len(trained.labels),
        int(trained.labels.sum()),
        {**intervals(trained.labels, trained.probabilities, RANKED), PROFIT: mean_interval(earned)},
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
    """Store the rows of one judged month, replacing those stored before."""
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM monitoring.backtests WHERE as_of = %s", [judged.as_of])
        cursor.executemany(_INSERT, [_cells(row) for row in rows])
        cursor.executemany(
            _INSERT_FIGURES,
            [[*_key(row), name, *row.figures[name]] for row in rows for name in METRICS],
        )


def kept_rows(until: Month) -> list[BacktestRow]:
    """Read the rows of every judged month up to and including one, oldest first, in a fixed order."""
    figures: dict[tuple[Any, ...], dict[str, Interval]] = {}
    with connect() as connection:
        for *key, metric, estimate, low, high in connection.execute(_SELECT_FIGURES, [until.as_of]):
            figures.setdefault(tuple(key), {})[metric] = Interval(estimate, low, high)
        rows = connection.execute(_SELECT, [until.as_of]).fetchall()
    return [_kept_row(cells, figures[cells[:4]]) for cells in rows]


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
_FIGURES = ("AUC", "average precision", "Brier", "lift at 10 %", "profit per user")


def backtest_table(rows: Sequence[BacktestRow]) -> str:
    """Return the rows as a Markdown table, the newest month first."""
    newest_first = sorted(rows, key=lambda row: row.month, reverse=True)
    return "\n".join(
        table(("judged", "model", "trained on", "rows", *_FIGURES), map(_table_row, newest_first))
    )


def backtest_png(rows: Sequence[BacktestRow]) -> bytes:
    """Draw each model's figures over the judged months."""
    months = sorted({row.month for row in rows})
    figures = {(row.model, row.month): row.figures for row in rows}
    models = sorted({row.model for row in rows})
    panels = {
        name: {
            model: [figures[model, m][metric] if (model, m) in figures else None for m in months]
            for model in models
        }
        for metric, name in _PANELS.items()
    }
    title = "Trained up to a month, judged on the next one's hold-out users"
    return by_month_png([str(month) for month in months], panels, title)


def backtest_json(rows: Sequence[BacktestRow]) -> str:
    """Return the rows as JSON; the same rows give the same text."""
    return json.dumps([_record(row) for row in rows], indent=1)


def backtest_fingerprint(rows: Sequence[BacktestRow]) -> str:
    """Return the sha256 (hex) of the rows' JSON."""
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


def _table_row(row: BacktestRow) -> list[str]:
    trained = str(row.last) if row.months == 1 else f"{row.first} to {row.last}"
    figures = [_figure(row.figures[name], 4 if name != PROFIT else 2) for name in METRICS]
    return [str(row.month), row.model, trained, f"{row.training_rows:,}", *figures]


def _figure(interval: Interval, digits: int) -> str:
    estimate, low, high = (f"{value:.{digits}f}" for value in interval)
    return f"{estimate} ({low} to {high})"

"""The backtest in words and pictures: its table in Markdown, its plot, its fingerprint."""

import hashlib
import json
from collections.abc import Sequence

from churn.evaluation.bootstrap import Interval
from churn.evaluation.months_plot import by_month_png
from churn.model.backtest import METRICS, BacktestRow

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

"""The second table of a run: by month, what was decided, what was served, and what it was worth."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from churn.monitoring.performance import JUDGES
from churn.monitoring.store import read_drift, read_performance
from churn.months import Month
from churn.promotion.ledger import entries, release_in_force
from churn.promotion.show import NO_RELEASE
from churn.promotion.timeline import decisions

_COLUMNS = ("month", "decision", "served", "AUC estimated", "AUC realised", "profit estimated")


def show_served(console: Console, months: Sequence[Month]) -> None:
    """Print a row per month: the gate's decision, the release that scored it, and its worth.

    The AUC is that of hold-out users in a month after the one trained on; profit is of the whole
    action list, in currency units.
    """
    table = Table(title="Served, out of time", caption="AUC on users held out; profit of the month")
    for name in (*_COLUMNS, "profit realised", "drift"):
        table.add_column(name, justify="right" if "AUC" in name or "profit" in name else "left")
    decided = decisions(entries())
    for month in months:
        entry, release = decided.get(month), release_in_force(month.as_of)
        figures = {(row["users"], row["metric"]): row for row in read_performance(month)}
        auc, profit = figures.get((JUDGES, "auc")), figures.get(("all", "profit"))
        drifted = sum(row["is_drifted"] for row in read_drift(month))
        table.add_row(
            str(month),
            entry.outcome if entry else "waits",
            f"version {release.version}" if release else NO_RELEASE,
            _said(auc, "estimated"),
            _said(auc, "realised"),
            _total(profit, "estimated"),
            _total(profit, "realised"),
            f"{drifted} columns" if drifted else "",
        )
    console.print(table)


def _said(row: dict[str, Any] | None, name: str) -> str:
    return f"{row[name]:.4f}" if row and row[name] is not None else ""


def _total(row: dict[str, Any] | None, name: str) -> str:
    return f"{row[name] * row['rows']:,.0f}" if row and row[name] is not None else ""

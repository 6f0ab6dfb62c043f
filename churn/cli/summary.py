"""The two tables that a run ends with: each month's models, and how well the served release did."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from churn.model.champion import champion_version
from churn.monitoring.performance import JUDGES
from churn.monitoring.store import read_drift, read_performance
from churn.months import Month
from churn.promotion.entry import NO_RELEASE, decisions
from churn.promotion.ledger import entries, release_in_force
from churn_assets.batch import RunOutcome
from churn_assets.event_texts import CheckState
from churn_assets.run import JobResult

_COLUMNS = ("month", "decision", "served", "AUC estimated", "AUC realised", "profit estimated")


def show_served(console: Console, months: Sequence[Month]) -> None:
    """Print a row per month: the gate's decision, the release that scored it, and how well it did.

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
            _figure(auc, "estimated"),
            _figure(auc, "realised"),
            _total(profit, "estimated"),
            _total(profit, "realised"),
            f"{drifted} columns" if drifted else "",
        )
    console.print(table)


def _figure(row: dict[str, Any] | None, name: str) -> str:
    return f"{row[name]:.4f}" if row and row[name] is not None else ""


def _total(row: dict[str, Any] | None, name: str) -> str:
    return f"{row[name] * row['rows']:,.0f}" if row and row[name] is not None else ""


# A longer failure is cut in the table; all of it is printed below.
_LONGEST = 60
_FIGURES = ("rows", "AUC", "F1", "accuracy")


def show_summary(console: Console, outcome: RunOutcome) -> None:
    """Print one row per month and model, then what failed, if anything did."""
    console.print(months_table(outcome, champion_version()))
    show_served(console, outcome.months)
    console.print(f"champion: {_in_force()}")
    for job in outcome.jobs:
        for warning in job.warnings:
            console.print(f"[yellow]{job.month} {job.job}[/yellow] {escape(warning)}")
    show_failed(console, outcome.failed, [*outcome.behind, *outcome.left])


def months_table(outcome: RunOutcome, champion: str | None) -> Table:
    """Return one row per month and model; a month without models says why."""
    table = Table(title="StreamFlow churn", caption=_caption(outcome))
    for name in ("month", "service", "rows", "AUC", "F1", "accuracy", "version", "checks"):
        table.add_column(
            name,
            justify="right" if name in _FIGURES else "left",
            # On a narrow screen, only the reasons in this column are wrapped.
            no_wrap=name != "service",
        )
    for month in outcome.months:
        checks = _checks(outcome, month)
        models = [m for m in outcome.models if m["month"] == str(month)]
        if not models:
            table.add_row(str(month), escape(why_no_model(outcome, month)), *[""] * 5, checks)
        for model in models:
            table.add_row(*_model_cells(model, champion), checks if model is models[0] else "")
    return table


def show_failed(console: Console, failed: Iterable[JobResult], behind: Iterable[str]) -> None:
    """Print what failed, and what waits behind it: since when, and what to do."""
    for job in failed:
        for failure in job.failures:
            console.print(f"[red]{job.month} {job.job}[/red] {escape(failure)}")
    for text in behind:
        console.print(f"[yellow]{escape(text)}[/yellow]")


def why_no_model(outcome: RunOutcome, month: Month) -> str:
    """Return what a month without models waits for, or what went wrong."""
    if month in outcome.waiting:
        return f"waits for labels ({month.matures_at.date()})"
    for what, name in (("training", "train_month"), ("closing", "month_close")):
        for job in outcome.failed:
            if job.month == month and job.job == name and not job.succeeded:
                return f"{what} failed: {_first_line(job)}"
    return "its labels came too late to train on"


def _first_line(job: JobResult) -> str:
    text = job.failures[0].splitlines()[0] if job.failures else "no reason was recorded"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _in_force() -> str:
    release = release_in_force()
    if release is None:
        return f"{NO_RELEASE}; `churn ledger` says why"
    return (
        f"version {release.version}, {release.candidate} on {release.service}, trained on"
        f" {release.month} (release {release.short_id}, threshold {release.threshold:.2f})"
    )


def _model_cells(model: dict[str, Any], champion: str | None) -> list[str]:
    is_champion = model["model_version"] == champion
    return [
        model["month"],
        model["service"],
        f"{model['rows']:,}",
        f"{model['auc']:.4f}",
        f"{model['f1']:.4f}",
        f"{model['accuracy']:.4f}",
        f"{model['model_version']}{' champion' if is_champion else ''}",
    ]


def _checks(outcome: RunOutcome, month: Month) -> str:
    states = Counter(s for j in outcome.jobs if j.month == month for s in j.checks.values())
    colours: dict[CheckState, str] = {"passed": "green", "warned": "yellow", "failed": "red"}
    return ", ".join(f"[{c}]{states[s]} {s}[/{c}]" for s, c in colours.items() if states[s])


def _caption(outcome: RunOutcome) -> str:
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in outcome.seconds.items())
    return f"{len(outcome.months)} months in {outcome.elapsed:.1f} s, of work: {stages}"

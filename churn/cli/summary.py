"""The table that a run ends with: months, rows, figures, champion, checks."""

from collections import Counter
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from churn.cli.served import show_served
from churn.model.champion import champion_version
from churn.months import Month
from churn.promotion.ledger import release_in_force
from churn.promotion.show import NO_RELEASE
from churn_assets.batch import RunOutcome
from churn_assets.run import CheckState

_FIGURES = ("rows", "AUC", "F1", "accuracy")


def show_summary(console: Console, outcome: RunOutcome) -> None:
    """Print one row per month and model, then what failed, if anything did."""
    champion = champion_version()
    table = Table(title="StreamFlow churn", caption=_caption(outcome))
    for name in ("month", "service", "rows", "AUC", "F1", "accuracy", "version", "checks"):
        table.add_column(name, justify="right" if name in _FIGURES else "left", no_wrap=True)
    for month in outcome.months:
        checks = _checks(outcome, month)
        models = [m for m in outcome.models if m["month"] == str(month)]
        if not models:
            waits = f"waits for labels ({month.matures_at.date()})"
            table.add_row(str(month), waits, "", "", "", "", "", checks)
        for model in models:
            table.add_row(*_model_cells(model, champion), checks if model is models[0] else "")
    console.print(table)
    show_served(console, outcome.months)
    console.print(f"champion: {_in_force()}")
    for job in outcome.jobs:
        for warning in job.warnings:
            console.print(f"[yellow]{job.month} {job.job}[/yellow] {escape(warning)}")
    for job in outcome.jobs:
        for failure in job.failures:
            console.print(f"[red]{job.month} {job.job}[/red] {escape(failure)}")


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

"""Group `scores`: what a month's calls brought, once its labels are there."""

from dataclasses import asdict
from typing import Any

import dagster as dg

from churn.contract.tables import LABELS
from churn.evaluation.bootstrap import Interval
from churn.promotion.canonical import canonical, sha256
from churn.scoring.uplift import NotClaimed, Uplift, measure_uplift, sentence
from churn_assets.monthly import MonthResult, MonthStep, monthly_asset


def uplift_assets() -> list[dg.AssetsDefinition]:
    """Return the asset that measures what the calls of a month brought."""
    return [
        monthly_asset(
            "uplift",
            uplift,
            group="scores",
            kinds={"postgres"},
            deps=["action_list", LABELS.snapshot],
        )
    ]


def uplift(step: MonthStep) -> MonthResult:
    """What the month's calls brought: churn of those due a call against the control group left alone.

    By intent to treat, within the bands in which the control group was drawn, with its interval, and in
    money. Where there was no action list, no control group, too few users or no report of a treatment,
    nothing is claimed, and the reason is said.
    """
    found = measure_uplift(step.month)
    said = sentence(found)
    if isinstance(found, NotClaimed):
        return MonthResult(0, sha256(said), {"finding": said, "listed_users": found.listed})
    facts = _facts(found)
    return MonthResult(
        found.treated + found.control, sha256(canonical(facts)), {"finding": said, **facts}
    )


def _facts(found: Uplift) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for name, value in asdict(found).items():
        if isinstance(value, Interval):
            bounds = zip(("", "_low", "_high"), value, strict=True)
            facts |= {f"{name}{which}": bound for which, bound in bounds}
        elif name != "month":
            facts[name] = value
    return facts

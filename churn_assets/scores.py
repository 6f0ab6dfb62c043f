"""Group `scores`: a month's scores, its action list, and the effect of its calls, from `churn.scoring`."""

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from churn.arrays import Bools, Floats
from churn.contract.in_force import LABELS, VIEWS
from churn.promotion.entry import NO_RELEASE, canonical, sha256
from churn.scoring.action_file import COLUMNS, CONTROL, TREATED
from churn.scoring.actions import list_actions
from churn.scoring.scores import Scored, score_month
from churn.scoring.uplift import NotClaimed, facts, record_uplift, sentence
from churn_assets.monthly import (
    Check,
    MonthResult,
    MonthStep,
    Outcome,
    arrow_schema,
    monthly_asset,
    preview,
    preview_of_rows,
    previous,
    refuse_failed,
)

EVERYBODY = Check(
    "everybody",
    "One row per active user of the month, ranked from 1; none before the first release.",
)
PROBABILITIES = Check(
    "probabilities",
    "Every score is a probability, from 0 to 1, and not all users have the same one; checked, like "
    "`everybody`, before anything is written.",
)
UNSATURATED = Check(
    "unsaturated",
    "No score is exactly 0 or 1, to which float32 rounds only the scores of values far beyond all others. "
    "The users are named; everybody else is scored as usual.",
    blocking=False,
)
_CHECKS = (EVERYBODY, PROBABILITIES, UNSATURATED)
_SHOWN = 5


def score_assets() -> list[dg.AssetsDefinition]:
    """Return the assets of a month's scores."""
    from churn.scoring.scores import SCHEMA

    return [
        monthly_asset(
            "churn_scores",
            churn_scores,
            group="scores",
            kinds={"onnx", "postgres", "parquet"},
            deps=[*(view.name for view in VIEWS), previous("champion")],
            checks=_CHECKS,
            metadata=arrow_schema(SCHEMA),
        ),
        monthly_asset(
            "action_list",
            action_list,
            group="scores",
            kinds={"postgres", "csv"},
            deps=["churn_scores"],
        ),
    ]


def churn_scores(step: MonthStep) -> MonthResult:
    """Every active user's probability of leaving, by the release in force when the month closed.

    Each comes with the rank, the expected profit of a contact, and whether the campaign's budget reaches the
    user: that of the campaign saved for the month, or CHURN_CAMPAIGN_... The scores are in the table
    `churn_scores` and in Parquet. The release is the one in force at this as_of by the promotion ledger, in
    whatever order months are filled in; before the first release, nobody is scored.
    """
    month_scores = score_month(
        step.month, judge=lambda scored: refuse_failed(outcomes(scored), _CHECKS)
    )
    metadata = {
        "dagster/uri": month_scores.path.as_uri(),
        "as_of": str(step.month.as_of_date),
        "release": month_scores.release.release_id if month_scores.release else NO_RELEASE,
        "version": month_scores.release.version if month_scores.release else NO_RELEASE,
        "active_users": month_scores.active_users,
        "actions": pc.sum(month_scores.rows["is_action"]).as_py() or 0,
        "preview": preview(month_scores.rows.slice(0, _SHOWN)),
    }
    return MonthResult(
        month_scores.rows.num_rows, month_scores.fingerprint, metadata, outcomes(month_scores)
    )


def outcomes(scored: Scored) -> list[Outcome]:
    """Return the outcomes of the checks of a month's scores."""
    if scored.release is None:
        return [
            Outcome(EVERYBODY.name, scored.rows.num_rows == 0, _counts(scored), NO_RELEASE),
            Outcome(PROBABILITIES.name, True, description=NO_RELEASE),
            Outcome(UNSATURATED.name, True, description=NO_RELEASE),
        ]
    ranks, scores = (scored.rows[name].to_numpy() for name in ("rank", "probability"))
    active = scored.active_users
    is_ranked = np.array_equal(np.sort(ranks), np.arange(1, active + 1))
    is_everybody = len(scores) == active and is_ranked
    few = (
        f"{len(scores):,} users are scored and ranked, {active:,} are active\n"
        "  -> materialize the feature views of this month, then this"
    )
    wrong = _wrong(scored, scores)
    saturated = (scores == 0) | (scores == 1)
    edge = _named(scored, saturated, "exactly 0 or 1")
    look = (
        "a value far beyond all others does this: `churn predict` shows it, a correction mends it"
    )
    return [
        Outcome(EVERYBODY.name, is_everybody, _counts(scored), None if is_everybody else few),
        Outcome(PROBABILITIES.name, not wrong, {"distinct": len(np.unique(scores))}, wrong or None),
        Outcome(
            UNSATURATED.name,
            not edge,
            {"saturated": int(saturated.sum())},
            f"{edge}\n  -> {look}" if edge else None,
        ),
    ]


def _counts(scored: Scored) -> dict[str, int]:
    return {"active_users": scored.active_users, "rows": scored.rows.num_rows}


def _wrong(scored: Scored, scores: Floats) -> str:
    """Return what is wrong with a month's scores, and the remedy; an empty text if nothing is."""
    assert scored.release is not None  # noqa: S101  (asked before)
    by = f"by release {scored.release.short_id}, version {scored.release.version}"
    # Written so that NaN is among them.
    is_none = ~((scores >= 0) & (scores <= 1))
    if is_none.any():
        return (
            f"{_named(scored, is_none, 'no probability')}, {by}\n"
            "  -> look at these users' values in the drop, correct them and deliver it again"
        )
    if len(scores) > 1 and len(np.unique(scores)) == 1:
        return (
            f"all {len(scores):,} users have the same score, {scores[0]:g}, {by}\n  -> that model tells"
            " nobody apart: `churn rollback --reason TEXT`, then score the month again"
        )
    return ""


def _named(scored: Scored, chosen: Bools, what: str) -> str:
    """Return a sentence that names the first few of these users and their scores, empty if there are none."""
    if not chosen.any():
        return ""
    rows = scored.rows.filter(pa.array(chosen)).slice(0, _SHOWN).select(["user_id", "probability"])
    shown = ", ".join(f"{row['user_id']} {row['probability']:g}" for row in rows.to_pylist())
    more = ", ..." if chosen.sum() > _SHOWN else ""
    return f"{int(chosen.sum()):,} of {len(chosen):,} scores {what}: {shown}{more}"


def action_list(step: MonthStep) -> MonthResult:
    """Whom to call this month, ranked, each with up to three reasons; a tenth is left alone.

    The list has the users whom the budget reaches. In each fifth of it, the same share is a random control
    group, without which the effect of calling could not be measured: the share of the campaign saved for the
    month, or CHURN_CAMPAIGN_CONTROL_SHARE. The list is in the table `action_list` and in CSV. The reasons are
    exact for the model that scored.
    """
    actions = list_actions(step.month)
    metadata = {
        "dagster/uri": actions.path.as_uri(),
        "as_of": str(step.month.as_of_date),
        TREATED: actions.count(TREATED),
        CONTROL: actions.count(CONTROL),
        "campaign": "the settings" if actions.campaign_id is None else actions.campaign_id,
        "preview": preview_of_rows(COLUMNS, actions.rows[:_SHOWN]),
    }
    return MonthResult(len(actions.rows), actions.fingerprint, metadata)


def uplift_assets() -> list[dg.AssetsDefinition]:
    """Return the asset that measures the effect of a month's calls."""
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
    """The effect of the month's calls: churn of those due a call, compared with the control group left alone.

    By intent to treat, within the bands in which the control group was drawn, with its interval, and in
    money. Where there was no action list, no control group, too few users or no report of a treatment,
    nothing is claimed, and the reason is said. In `monitoring.uplift`.
    """
    measured = record_uplift(step.month)
    finding = sentence(measured)
    if isinstance(measured, NotClaimed):
        return MonthResult(
            0, sha256(finding), {"finding": finding, "listed_users": measured.listed}
        )
    figures = facts(measured)
    return MonthResult(
        measured.treated + measured.control,
        sha256(canonical(figures)),
        {"finding": finding, **figures},
    )

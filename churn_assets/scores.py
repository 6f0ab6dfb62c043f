"""Group `scores`: every active user scored, whom to call, and what a month's calls brought."""

import dagster as dg
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from churn.contract.in_force import LABELS, VIEWS
from churn.markdown import plain
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
    previous,
    refuse_failed,
)

EVERYBODY = Check(
    "everybody",
    "One row per active user of the month, ranked from 1; none before the first release.",
)
PROBABILITIES = Check(
    "probabilities",
    "Every score is a probability, from 0 to 1, and not all users have the same; looked at, as "
    "`everybody` is, before anything is written.",
)
UNSATURATED = Check(
    "unsaturated",
    "No score is exactly 0 or 1: a float32 cannot come nearer, and only values far beyond all others "
    "take it there. The users are named; everybody else is scored as ever.",
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

    With the rank, the expected profit of a contact and whether the campaign's budget reaches the user
    (CHURN_CAMPAIGN_...); in the table `churn_scores` and as Parquet. The release is the promotion
    ledger's at this as_of, in whatever order months are filled; before the first one nobody is scored.
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
    """Return what the checks say of a month's scores."""
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


def _wrong(scored: Scored, scores: npt.NDArray[np.float64]) -> str:
    """Return what no month's scores can be, and the remedy; nothing where all is well."""
    assert scored.release is not None  # noqa: S101  (asked before)
    by = f"by release {scored.release.short_id}, version {scored.release.version}"
    is_none = ~((scores >= 0) & (scores <= 1))  # NaN among them
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


def _named(scored: Scored, chosen: npt.NDArray[np.bool_], what: str) -> str:
    """Return the first few of these users with their scores; nothing where there are none."""
    if not chosen.any():
        return ""
    rows = scored.rows.filter(pa.array(chosen)).slice(0, _SHOWN).select(["user_id", "probability"])
    shown = ", ".join(f"{row['user_id']} {row['probability']:g}" for row in rows.to_pylist())
    more = ", ..." if chosen.sum() > _SHOWN else ""
    return f"{int(chosen.sum()):,} of {len(chosen):,} scores {what}: {shown}{more}"


def action_list(step: MonthStep) -> MonthResult:
    """Whom to call this month, ranked, each with up to three reasons; a tenth is left alone.

    The users whom the budget reaches. In each fifth of the list the same share (CHURN_CAMPAIGN_CONTROL_SHARE)
    is a random control group: without it nobody can say what calling brought. In the table `action_list`
    and as CSV; the reasons are exact for the model that scored.
    """
    actions = list_actions(step.month)
    shown = actions.rows[:_SHOWN]
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    lines += [
        f"| {' | '.join('' if v is None else plain(v) for v in row.values())} |" for row in shown
    ]
    metadata = {
        "dagster/uri": actions.path.as_uri(),
        "as_of": str(step.month.as_of_date),
        TREATED: actions.count(TREATED),
        CONTROL: actions.count(CONTROL),
        "preview": dg.MetadataValue.md("\n".join(lines)),
    }
    return MonthResult(len(actions.rows), actions.fingerprint, metadata)


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
    nothing is claimed, and the reason is said. In `monitoring.uplift`.
    """
    found = record_uplift(step.month)
    said = sentence(found)
    if isinstance(found, NotClaimed):
        return MonthResult(0, sha256(said), {"finding": said, "listed_users": found.listed})
    figures = facts(found)
    return MonthResult(
        found.treated + found.control, sha256(canonical(figures)), {"finding": said, **figures}
    )

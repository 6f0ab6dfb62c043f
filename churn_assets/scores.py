"""Group `scores`: every active user scored, and whom to call."""

import dagster as dg
import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from churn.contract.features import VIEWS
from churn.promotion.show import NO_RELEASE
from churn.scoring.actions import COLUMNS, CONTROL, TREATED, list_actions
from churn.scoring.scores import Scored, score_month
from churn_assets.describe import arrow_schema, preview
from churn_assets.monthly import (
    Check,
    MonthResult,
    MonthStep,
    Outcome,
    monthly_asset,
    previous,
)

EVERYBODY = Check(
    "everybody",
    "One row per active user of the month, ranked from 1; none before the first release.",
)
PROBABILITIES = Check(
    "probabilities", "Every score lies strictly between 0 and 1, and not all users have the same."
)
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
            checks=[EVERYBODY, PROBABILITIES],
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
    made = score_month(step.month)
    metadata = {
        "dagster/uri": made.path.as_uri(),
        "as_of": str(step.month.as_of_date),
        "release": made.release.release_id if made.release else NO_RELEASE,
        "version": made.release.version if made.release else NO_RELEASE,
        "active_users": made.active_users,
        "actions": pc.sum(made.rows["is_action"]).as_py() or 0,
        "preview": preview(made.rows.slice(0, _SHOWN)),
    }
    return MonthResult(made.rows.num_rows, made.fingerprint, metadata, outcomes(made))


def outcomes(made: Scored) -> list[Outcome]:
    """Return what the checks say of a month's scores."""
    ranks, scores = (made.rows[name].to_numpy() for name in ("rank", "probability"))
    expected = made.active_users if made.release else 0
    is_everybody = made.rows.num_rows == expected and np.array_equal(
        np.sort(ranks), np.arange(1, expected + 1)
    )
    valid = (scores > 0) & (scores < 1)  # NaN is neither
    same = expected > 1 and len(np.unique(scores)) == 1
    are_valid = bool(valid.all()) and not same
    return [
        Outcome(
            EVERYBODY.name,
            is_everybody,
            {"active_users": made.active_users, "rows": made.rows.num_rows},
            f"{made.rows.num_rows:,} users are scored and ranked, {expected:,} are active\n"
            "  -> materialize the feature views of this month, then this"
            if not is_everybody
            else None
            if made.release
            else NO_RELEASE,
        ),
        Outcome(
            PROBABILITIES.name,
            are_valid,
            {"invalid": int((~valid).sum()), "distinct": len(np.unique(scores))},
            _not_probabilities(made, valid)
            if not are_valid
            else None
            if made.release
            else NO_RELEASE,
        ),
    ]


def _not_probabilities(made: Scored, valid: npt.NDArray[np.bool_]) -> str:
    """Name the users whose score is none, with the score; or say that all have the same."""
    release = (
        f"release {made.release.short_id}, version {made.release.version}" if made.release else ""
    )
    if valid.all():
        return (
            f"all {made.rows.num_rows:,} users have the same score, by {release}\n"
            "  -> that model tells nobody apart: `churn rollback --reason TEXT`, then score the month again"
        )
    bad = made.rows.filter(~valid)
    users = bad.select(["user_id", "probability"]).slice(0, _SHOWN).to_pylist()
    named = ", ".join(f"{row['user_id']} {row['probability']!r}" for row in users)
    more = f" and {bad.num_rows - _SHOWN:,} more" if bad.num_rows > _SHOWN else ""
    return (
        f"{bad.num_rows:,} of {made.rows.num_rows:,} scores do not lie between 0 and 1, by {release}:"
        f" {named}{more}\n"
        "  -> look at these users' values in the drop, correct them and deliver it again"
    )


def action_list(step: MonthStep) -> MonthResult:
    """Whom to call this month, ranked, each with up to three reasons; a tenth is left alone.

    The users whom the budget reaches. In each fifth of the list the same share (CHURN_CAMPAIGN_CONTROL_SHARE)
    is a random control group: without it nobody can say what calling brought. In the table `action_list`
    and as CSV; the reasons are exact for the model that scored.
    """
    made = list_actions(step.month)
    shown = made.rows[:_SHOWN]
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    lines += [
        f"| {' | '.join('' if v is None else str(v) for v in row.values())} |" for row in shown
    ]
    metadata = {
        "dagster/uri": made.path.as_uri(),
        "as_of": str(step.month.as_of_date),
        TREATED: made.count(TREATED),
        CONTROL: made.count(CONTROL),
        "preview": dg.MetadataValue.md("\n".join(lines)),
    }
    return MonthResult(len(made.rows), made.fingerprint, metadata)

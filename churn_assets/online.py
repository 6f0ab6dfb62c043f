"""Group `online`: the month that the API serves."""

import dagster as dg

from churn.contract.features import VIEWS
from churn.online import publish
from churn.online_state import online_state
from churn.verification.parity import SAMPLE, parity
from churn_assets.monthly import Check, MonthResult, MonthStep, Outcome, monthly_asset

WHOLE = Check("whole", "Every user of the month is online with this month, or with a newer one.")

PARITY = Check(
    "parity",
    f"The vectors that Feast serves equal the offline rows, value by value, for {SAMPLE:,} users of the "
    "month who are not online with a newer one; not one value may differ.",
)


def online_assets() -> list[dg.AssetsDefinition]:
    """Return the asset that publishes a month."""
    return [
        monthly_asset(
            "online_features",
            online_features,
            group="online",
            kinds={"feast", "postgres"},
            deps=[view.name for view in VIEWS],
            checks=[WHOLE, PARITY],
        )
    ]


def online_features(step: MonthStep) -> MonthResult:
    """All feature views of the month in the online store, published in one transaction.

    A user's rows are replaced only by a version (as_of, known_at) that is not older, in every view at
    once: filling an old month never takes the API back in time, and no answer mixes two months. Users
    whom a correction withdraws go. Readers are never held up.
    """
    done = publish(step.month)
    state = online_state(step.month)
    is_whole = state.behind == 0 and state.mixed == 0
    outcome = Outcome(
        WHOLE.name,
        is_whole,
        {"users": done.users, "behind": state.behind, "mixed": state.mixed},
        None
        if is_whole
        else f"of {done.users:,} users {state.behind:,} are online with an older month and {state.mixed:,}"
        " lack a view: materialize the feature views of this month, then this",
    )
    compared = parity(step.month)
    superseded = done.published == 0  # everybody is online with a newer month by now
    parity_outcome = Outcome(
        PARITY.name,
        compared.mismatches == 0 and (compared.none or superseded),
        {
            "users_compared": compared.users,
            "values_compared": compared.values,
            "mismatches": compared.mismatches,
        },
        "\n".join(compared.examples)
        or ("every user is online with a newer month" if superseded else None),
    )
    metadata = {
        "as_of": str(step.month.as_of_date),
        "known_at": done.known_at.isoformat(),
        "published_users": done.published,
        "kept_newer_users": done.kept,
        "withdrawn_users": done.withdrawn,
        "newest_published": str(state.newest.date()),
    }
    return MonthResult(done.users, done.fingerprint, metadata, [outcome, parity_outcome])

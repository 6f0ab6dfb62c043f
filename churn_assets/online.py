"""Group `online`: publishing a month for the API, and the smoke test of the running features API."""

import dagster as dg

from churn.contract.in_force import VIEWS
from churn.database import connect
from churn.database.migrate import refuse_other_tables
from churn.markdown import plain
from churn.online.publish import Publication, publish
from churn.online.read import OnlineState, online_state
from churn.records import record_check
from churn.verification.differences import Differences
from churn.verification.parity import SAMPLE, parity
from churn.verification.smoke import smoke_test
from churn_assets.monthly import (
    OWNER,
    Check,
    MonthResult,
    MonthStep,
    Outcome,
    monthly_asset,
    refuse_failed,
)

WHOLE = Check(
    "whole",
    "Every user of the month is online with this month or a newer one; checked before readers get the"
    " publication.",
)
PARITY = Check(
    "parity",
    f"The vectors that Feast serves equal the offline rows, value by value, for {SAMPLE:,} users of the "
    "month who are not online with a newer one; not one value may differ. Feast is asked before readers get "
    "the publication.",
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
    """All feature views of the month in the online store: built aside, then switched in, in one transaction.

    A user's rows are replaced only by a version (as_of, known_at) that is not older, in all views at once:
    filling in an old month never takes the API back in time, and no answer mixes two months. Users whom a
    correction withdraws are removed. Readers wait for the moment of the switch at most.
    """
    outcomes: list[Outcome] = []
    states: list[OnlineState] = []

    def judge(publication: Publication, table: str) -> None:
        """Check what readers are about to get."""
        states.append(online_state(step.month, table))
        compared = parity(step.month, table=table)
        outcomes.extend([_whole(publication, states[0]), _parity(publication, compared)])
        refuse_failed(outcomes, [WHOLE, PARITY])

    # A process that was started before a contract was applied would publish by the old one.
    with connect() as connection:
        refuse_other_tables(connection)
    publication = publish(step.month, judge)
    before = states[0].newest or step.month.as_of
    metadata = {
        "as_of": str(step.month.as_of_date),
        "known_at": publication.known_at.isoformat(),
        "published_users": publication.published,
        "kept_newer_users": publication.kept,
        "withdrawn_users": publication.withdrawn,
        "newest_published": str(max(before, step.month.as_of).date()),
    }
    return MonthResult(publication.users, publication.fingerprint, metadata, outcomes)


def _whole(publication: Publication, state: OnlineState) -> Outcome:
    is_whole = state.behind == 0 and state.mixed == 0
    few = (
        f"of {publication.users:,} users {state.behind:,} would be online with an older month and"
        f" {state.mixed:,} would lack a view: materialize the feature views of this month, then this"
    )
    figures = {"users": publication.users, "behind": state.behind, "mixed": state.mixed}
    return Outcome(WHOLE.name, is_whole, figures, None if is_whole else few)


def _parity(publication: Publication, compared: Differences) -> Outcome:
    # Where nobody was published, everybody is online with a newer month by now.
    is_superseded = publication.published == 0
    figures = {
        "users_compared": compared.users,
        "values_compared": compared.values,
        "mismatches": compared.mismatches,
    }
    return Outcome(
        PARITY.name,
        compared.mismatches == 0 and (compared.none or is_superseded),
        figures,
        "\n".join(compared.examples)
        or ("every user is online with a newer month" if is_superseded else None),
    )


SAMPLE = 20


@dg.asset_check(
    asset="online_features",
    name="features_api_answers",
    description=(
        f"The running API answers /health, returns {SAMPLE} known users of the newest month with exactly the "
        "values that were delivered, and answers 404 for an unknown user."
    ),
    metadata={"owner": OWNER},
)
def features_api_answers() -> dg.AssetCheckResult:
    """Ask the running API as a client does, and compare with what was delivered."""
    result = smoke_test(SAMPLE)
    record_check("online_features", None, "features_api_answers", passed=result.passed)
    return dg.AssetCheckResult(
        passed=result.passed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=result.summary,
        metadata={
            "api": result.url,
            "as_of": result.as_of or "-",
            "users_compared": result.users_compared,
            "values_compared": result.values_compared,
            "problems": dg.MetadataValue.md(
                "\n".join(f"- {plain(p)}" for p in result.problems) or "none"
            ),
        },
    )

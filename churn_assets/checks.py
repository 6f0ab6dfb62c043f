"""Checks that need more than one asset at hand: the smoke test of the running features API."""

import dagster as dg

from churn.markdown import plain
from churn.records import record_check
from churn.smoke import smoke_test
from churn_assets.monthly import OWNER

SAMPLE = 20


@dg.asset_check(
    asset="online_features",
    name="features_api_answers",
    description=(
        "The running API answers /health, gives known users of the newest month value by value as "
        f"they were delivered ({SAMPLE} users), and an unknown user 404."
    ),
    metadata={"owner": OWNER},
)
def features_api_answers() -> dg.AssetCheckResult:
    """Ask the running API as a client does and compare with what was delivered."""
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

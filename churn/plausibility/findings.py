"""What a comparison with other months finds: a rule, a sentence with counts, possible or not."""

from collections.abc import Iterable
from dataclasses import dataclass

from churn.contract.tables import PROFILE_TABLES

RULES = (
    "same_content",
    "same_rows",
    "users_stay",
    # The columns whose contract says how they move from month to month.
    *(
        f"{column.name}_grows"
        for table in PROFILE_TABLES
        for column in table.values
        if column.trend
    ),
    "labels_cover",
    "leavers_share",
    "labels_agree",
)


@dataclass(frozen=True)
class Finding:
    """One rule that a file does not keep.

    Args:
        rule: its name, which a confirmation repeats.
        what: the fact with its counts.
        is_impossible: it blocks until a person confirms it; otherwise it is odd and only shown.
    """

    rule: str
    what: str
    is_impossible: bool


def impossible(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that block."""
    return [finding for finding in findings if finding.is_impossible]

"""What a comparison with other months finds: a rule, a sentence with counts, possible or not."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

Rule = Literal[
    "same_content",
    "same_rows",
    "users_stay",
    "months_active_grows",
    "total_paid_grows",
    "labels_cover",
    "leavers_share",
    "labels_agree",
]
RULES: tuple[Rule, ...] = get_args(Rule)


@dataclass(frozen=True)
class Finding:
    """One rule that a file does not keep.

    Args:
        rule: its name, which a confirmation repeats.
        what: the fact with its counts.
        is_impossible: it blocks until a person confirms it; otherwise it is odd and only shown.
    """

    rule: Rule
    what: str
    is_impossible: bool


def impossible(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that block."""
    return [finding for finding in findings if finding.is_impossible]

"""The words for a reason: what the API, the action list and the console say of a feature's part in a risk.

Only the words live here, apart from the arithmetic in `reasons.py`: the API makes its examples with them, and
starts without the libraries that a model needs.
"""

from typing import Any

from churn.contract.in_force import VIEWS

_FEATURES = [feature for view in VIEWS for feature in view.features]
# What stands before a colon names the feature; behind it are its values.
_NAMES = {feature.name: feature.description.partition(": ")[0] for feature in _FEATURES}
_FLAGS = {feature.name for feature in _FEATURES if feature.dtype == "Bool"}


def name_of(feature: str) -> str:
    """Return what people call a feature, as each reason about it begins."""
    return _NAMES.get(feature) or feature


def shown(feature: str, value: Any) -> str:
    """Return a feature's value as a person writes it.

    Args:
        feature: a flag is yes or no, whatever number the model takes it for.
        value: None is unknown.
    """
    if value is None:
        return "unknown"
    if feature in _FLAGS:
        return "yes" if value else "no"
    if isinstance(value, float) and abs(value) < 1e6:
        return f"{value:g}"
    return f"{value:.0f}" if isinstance(value, float) else str(value)  # never 1.2e+06


def reason_words(feature: str, value: Any, usual: Any, contribution: float) -> str:
    """Say which way a value moves a user's risk, and against what.

    A contribution is counted from the mean training user on, so that a value can be the usual one and raise
    the risk all the same; then the sentence says that the average customer is what it is compared with.

    Args:
        feature: its name in the contract.
        value: the user's; None is unknown.
        usual: the median, or the most frequent value, of the training users.
        contribution: to the score; above 0 it raises the risk.
    """
    effect = "raises" if contribution > 0 else "lowers"
    subject = f"{name_of(feature)}: {shown(feature, value)}"
    against = f"compared with the average customer it {effect} the risk"
    # Half of the users have a flag and half have not: neither is usual.
    if feature in _FLAGS and usual is not None and usual not in (0, 1):
        return f"{subject}; {against}"
    if shown(feature, value) == shown(feature, usual):
        return f"{subject}, which is usual; {against}"
    return f"{subject}, {_beside(feature, value, usual)}, {effect} the risk"


def _beside(feature: str, value: Any, usual: Any) -> str:
    is_number = all(isinstance(each, int | float) for each in (value, usual))
    if is_number and feature not in _FLAGS:
        side = "above" if value > usual else "below"
        return f"{side} the usual {shown(feature, usual)}"
    return f"where {shown(feature, usual)} is usual"

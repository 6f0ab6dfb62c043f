"""The errors of a route, for its `responses=`: the OpenAPI page shows each code with its meaning."""

from typing import Any

from api.errors import (
    MissingFeaturesError,
    NoExplainerError,
    NotCurrentError,
    NotReadyError,
    UnknownUserError,
)
from api.schemas import ErrorAnswer

_MEANINGS = {
    404: f"{UnknownUserError.code}: no published month names this user",
    409: f"{NotCurrentError.code}: the user is not in the newest published month",
    422: f"invalid_request, or {MissingFeaturesError.code}: a view has no row for this user",
    500: "internal_error: unexpected; the log has the details",
    503: f"{NotReadyError.code}: the feature store or the model cannot answer now",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses=` entries of some statuses."""
    return {s: {"model": ErrorAnswer, "description": _MEANINGS[s]} for s in statuses}


def explain_errors() -> dict[int | str, dict[str, Any]]:
    """Return those of /explain: it has one more reason for a 409."""
    described = errors(404, 409, 422, 503)
    described[409]["description"] += f"; or {NoExplainerError.code}: the champion has no explainer"
    return described

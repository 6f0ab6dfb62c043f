"""The responses of routes: JSON, and the meaning of each error code for the OpenAPI page."""

from typing import Any

import orjson
from fastapi import Response

from api.errors import (
    BadValueError,
    MissingFeaturesError,
    NoExplainerError,
    NotCurrentError,
    NotReadyError,
    OverloadedError,
    UnknownUserError,
)
from api.schemas import ErrorAnswer

_MEANINGS = {
    400: "bad_request: the body is not JSON in UTF-8",
    404: f"{UnknownUserError.code}: no published month names this user",
    409: f"{NotCurrentError.code}: the user is not in the newest published month",
    422: f"invalid_request, or {MissingFeaturesError.code}: a view has no row for this user",
    500: "internal_error: unexpected; the log has the details",
    503: f"{NotReadyError.code}: the feature store or the model cannot answer now;"
    f" or {OverloadedError.code}: too many requests wait",
}


class JsonResponse(Response):
    """A dataclass of api.schemas as JSON; mypy checks its types, so it is not validated again."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the content as bytes of JSON."""
        return orjson.dumps(content)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses=` entries of these statuses."""
    return {s: {"model": ErrorAnswer, "description": _MEANINGS[s]} for s in statuses}


def explain_errors() -> dict[int | str, dict[str, Any]]:
    """Return the `responses=` entries of /explain, which has one more reason for a 409 and for a 422."""
    described = errors(400, 404, 409, 422, 503)
    described[409]["description"] += f"; or {NoExplainerError.code}: the champion has no explainer"
    described[422]["description"] += f"; or {BadValueError.code}: a value of `instead` cannot be"
    return described

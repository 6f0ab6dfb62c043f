"""The examples of the OpenAPI page, made of those that the contract gives for its columns."""

from typing import Any

from churn.contract.features import DEFAULT_SERVICE
from churn.contract.structure import Column
from churn.contract.tables import CONTRACT, PROFILE_TABLES, USER_ID

USER = str(USER_ID.example)
AS_OF = CONTRACT.first_month.as_of_date.isoformat()
_SERVICE = DEFAULT_SERVICE.versioned_name
_COLUMNS = {column.name: column for table in PROFILE_TABLES for column in table.values}
_PLACEHOLDERS: dict[str, Any] = {"int": 1, "float": 1.5, "bool": True, "string": "A"}


def _example(column: Column) -> Any:
    """Return the contract's example of a column; one that its type allows where it gives none."""
    if column.example is not None:
        return column.example
    return column.expected[0] if column.expected else _PLACEHOLDERS[column.kind]


_USED = {name: _example(_COLUMNS[name]) for name in DEFAULT_SERVICE.feature_names}


def _shown(value: Any) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _reasons() -> list[dict[str, Any]]:
    """Return as many reasons as are answered unasked, of the first features."""
    contributions = (0.68394625, 0.6437562, -0.32584321)
    return [
        {
            "feature": feature.name,
            "value": _USED[feature.name],
            "usual": _USED[feature.name],
            "contribution": contribution,
            "words": f"{feature.description or feature.name}: {_shown(_USED[feature.name])}"
            f" (usual {_shown(_USED[feature.name])})"
            f" {'raises' if contribution > 0 else 'lowers'} the risk",
        }
        for feature, contribution in zip(DEFAULT_SERVICE.features, contributions, strict=False)
    ]


FEATURES: dict[str, Any] = {
    "user_id": USER,
    "features": {"user_id": USER, **_USED},
    "as_of": AS_OF,
    "current": True,
    "feature_service": _SERVICE,
    "missing_views": [],
}
PREDICTION: dict[str, Any] = {
    "user_id": USER,
    "prediction": 1,
    "probability": 0.62,
    "threshold": 0.5,
    "model_version": "2",
    "feature_service": _SERVICE,
    "as_of": AS_OF,
    "features_used": _USED,
}
EXPLANATION: dict[str, Any] = {
    "user_id": USER,
    "probability": 0.48298997,
    "score": -0.06806651,
    "base": -1.6043873,
    "unit": "log_odds",
    "reasons": _reasons(),
    "model_version": "3",
    "feature_service": _SERVICE,
    "as_of": AS_OF,
}
ERROR: dict[str, Any] = {
    "error": {
        "code": "unknown_user",
        "message": "no published month names user 0000-NOBODY",
        "detail": {"user_id": "0000-NOBODY"},
    }
}
BATCH: dict[str, Any] = {
    "model_version": "2",
    "results": [
        {"user_id": USER, "status": 200, "prediction": PREDICTION, "error": None},
        {"user_id": "0000-NOBODY", "status": 404, "prediction": None, "error": ERROR["error"]},
    ],
}
HEALTH: dict[str, Any] = {
    "live": True,
    "ready": True,
    "store": {"ready": True, "problem": None, "newest_as_of": AS_OF},
    "model": {
        "ready": True,
        "problem": None,
        "version": "2",
        "feature_service": _SERVICE,
        "as_of": AS_OF,
        "ledger_problem": None,
    },
    "months_behind": [],
}

"""The example of the OpenAPI page: user 7590-VHVEG of the public base population."""

from typing import Any

USER = "7590-VHVEG"
AS_OF = "2024-01-31"

_USED: dict[str, Any] = {
    "months_active": 1,
    "monthly_fee": 29.85,
    "paperless_billing": True,
    "plan_stream_tv": False,
    "plan_stream_movies": False,
    "net_service": "DSL",
    "watch_hours_30d": 41.5,
    "avg_session_mins_7d": 38.2,
    "unique_devices_30d": 2,
    "skips_7d": 5,
    "rebuffer_events_7d": 1,
    "failed_payments_90d": 0,
    "support_tickets_90d": 1,
    "ticket_avg_resolution_hrs_90d": 12.5,
    "contract_type": "Month-to-month",
    "total_paid": 29.85,
    "add_on_security": False,
    "add_on_backup": True,
    "add_on_device_protect": False,
    "add_on_support": False,
    "user_gender": "Female",
    "user_is_senior": False,
    "has_family": True,
    "has_dependents": False,
}

FEATURES: dict[str, Any] = {
    "user_id": USER,
    "features": {"user_id": USER, **_USED},
    "as_of": AS_OF,
    "current": True,
    "feature_service": "churn_rich",
    "missing_views": [],
}
PREDICTION: dict[str, Any] = {
    "user_id": USER,
    "prediction": 1,
    "probability": 0.62,
    "threshold": 0.5,
    "model_version": "2",
    "feature_service": "churn_rich",
    "as_of": AS_OF,
    "features_used": _USED,
}
EXPLANATION: dict[str, Any] = {
    "user_id": USER,
    "probability": 0.48298997,
    "score": -0.06806651,
    "base": -1.6043873,
    "unit": "log_odds",
    "reasons": [
        {
            "feature": "contract_type",
            "value": "Month-to-month",
            "usual": "Month-to-month",
            "contribution": 0.68394625,
            "words": "contract: Month-to-month (usual Month-to-month) raises the risk",
        },
        {
            "feature": "months_active",
            "value": 4,
            "usual": 29,
            "contribution": 0.6437562,
            "words": "months since the subscription began: 4 (usual 29) raises the risk",
        },
        {
            "feature": "net_service",
            "value": "DSL",
            "usual": "Fiber optic",
            "contribution": -0.32584321,
            "words": "internet service: DSL (usual Fiber optic) lowers the risk",
        },
    ],
    "model_version": "3",
    "feature_service": "churn_rich",
    "as_of": "2024-04-30",
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
        "feature_service": "churn_rich",
        "as_of": AS_OF,
        "ledger_problem": None,
    },
    "months_behind": [],
}

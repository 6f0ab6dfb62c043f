"""What the API says of one customer of the newest month: each feature beside what is usual, and its part.

The API has the release in force and its explainer open, exact and verified; the console asks it, over HTTP
as anybody may, and keeps no model of its own.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx

from churn.contract.in_force import SERVICE_VERSIONS
from churn.scoring.wording import name_of, shown
from churn.settings import get_settings

_TIMEOUT = httpx.Timeout(20, connect=2)  # the first answer after a start opens the explainer
_MOST_REASONS = max(len(service.features) for service in SERVICE_VERSIONS)


@dataclass(frozen=True)
class FeatureNow:
    """One feature of a customer.

    Attributes:
        part: what it adds to the score, in the unit of the explanation; above 0 it raises the risk.
        share: that part beside the largest one, -1 to 1.
    """

    feature: str
    name: str
    value: str
    usual: str
    part: float
    share: float
    words: str
    raw: Any


@dataclass(frozen=True)
class CustomerExplained:
    """A customer as the release in force sees them; features by their part, the largest first.

    Attributes:
        own_probability: by the customer's own values, where others were supposed.
    """

    probability: float
    own_probability: float
    as_of: dt.date
    model_version: str
    features: list[FeatureNow]


@dataclass(frozen=True)
class NotExplained:
    """Why there is nothing to show, for a person."""

    reason: str


def explain(
    user_id: str, instead: Mapping[str, Any] | None = None
) -> CustomerExplained | NotExplained:
    """Ask the API what moves a customer's risk, and which way.

    Args:
        user_id: the customer.
        instead: values to suppose in place of the customer's own, by feature.
    """
    body = {"user_id": user_id, "top": _MOST_REASONS, "instead": dict(instead or {})}
    try:
        settings = get_settings()
        answer = _client().post(
            f"{settings.smoke_url}/explain", json=body, headers=settings.api_headers
        )
        told: dict[str, Any] = answer.json()
        if answer.status_code == 200:
            return _explained(told)
        return NotExplained(_reason(told["error"]))
    except (httpx.HTTPError, httpx.InvalidURL):
        return NotExplained("the API does not answer; `churn status` says which part is not well")
    except (ValueError, KeyError, TypeError, AttributeError):
        return NotExplained(f"something else than the API answers at {get_settings().smoke_url}")


@cache
def _client() -> httpx.Client:
    """Return the one client of this process: its connections are kept, which no page has to wait for."""
    return httpx.Client(timeout=_TIMEOUT, trust_env=False)


def _reason(error: dict[str, Any]) -> str:
    if error["code"] == "bad_value":
        faults = error["detail"]["faults"].items()
        return "; ".join(f"{name_of(feature)}: {fault}" for feature, fault in faults)
    return str(error["message"])


def _explained(told: dict[str, Any]) -> CustomerExplained:
    largest = max((abs(each["contribution"]) for each in told["reasons"]), default=0.0) or 1.0
    return CustomerExplained(
        probability=told["probability"],
        own_probability=told["own_probability"],
        as_of=dt.date.fromisoformat(told["as_of"]),
        model_version=told["model_version"],
        features=[
            FeatureNow(
                feature=each["feature"],
                name=name_of(each["feature"]),
                value=shown(each["feature"], each["value"]),
                usual=shown(each["feature"], each["usual"]),
                part=each["contribution"],
                share=each["contribution"] / largest,
                words=each["words"],
                raw=each["value"],
            )
            for each in told["reasons"]
        ],
    )

"""Requests and answers, with examples made from those that the contract gives for its columns.

Requests are validated by pydantic. Answers that must be quick are dataclasses: mypy checks them where they
are made, and orjson writes them as they are.
"""

import datetime as dt
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from churn.contract.in_force import (
    CONTRACT,
    DEFAULT_SERVICE,
    PROFILE_TABLES,
    SERVICE_VERSIONS,
    USER_ID,
)
from churn.contract.structure import Column
from churn.contract.user_ids import LONGEST, fault_of
from churn.scoring.wording import reason_words

USER = str(USER_ID.example)
AS_OF = CONTRACT.first_month.as_of_date.isoformat()
_SERVICE = DEFAULT_SERVICE.versioned_name
_COLUMNS = {column.name: column for table in PROFILE_TABLES for column in table.values}
_PLACEHOLDERS: dict[str, Any] = {"int": 1, "float": 1.5, "bool": True, "string": "A"}


def _example(column: Column) -> Any:
    """Return the contract's example of a column or, if it gives none, a value of its type."""
    if column.example is not None:
        return column.example
    return column.expected[0] if column.expected else _PLACEHOLDERS[column.kind]


_USED = {name: _example(_COLUMNS[name]) for name in DEFAULT_SERVICE.feature_names}


def _reasons() -> list[dict[str, Any]]:
    """Return as many reasons as an answer has by default, about the first features."""
    contributions = (0.68394625, 0.6437562, -0.32584321)
    return [
        {
            "feature": feature.name,
            "value": _USED[feature.name],
            "usual": _USED[feature.name],
            "contribution": contribution,
            "words": reason_words(
                feature.name, _USED[feature.name], _USED[feature.name], contribution
            ),
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
    "own_probability": 0.48298997,
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


BATCH_LIMIT = 1000
# Any batch within the limits, even if a client writes each character as two \uXXXX.
MAX_BODY_BYTES = 4 * 1024 * 1024
_SHOWN_UNKNOWN_KEYS = 10


def _sound(user_id: str) -> str:
    """Refuse an id that no delivery can contain, by the same rule."""
    if rule := fault_of(user_id):
        raise PydanticCustomError("user_id", "{fault}", {"fault": f"{rule.what}; {rule.remedy}"})
    return user_id


UserId = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST), AfterValidator(_sound)]
FeatureValue = bool | int | float | str | None


class Asked(BaseModel):
    """The body of a request; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_unknown_keys(cls, body: Any) -> Any:
        """Keep only a few unknown keys: each is an error of its own, and a body may have a million."""
        if not isinstance(body, dict) or len(body) <= _SHOWN_UNKNOWN_KEYS:
            return body
        unknown = islice((key for key in body if key not in cls.model_fields), _SHOWN_UNKNOWN_KEYS)
        known = {key: body[key] for key in cls.model_fields if key in body}
        return known | dict.fromkeys(unknown)


@dataclass(slots=True)
class FeaturesAnswer:
    """What the online store has about one user."""

    __pydantic_config__ = ConfigDict(json_schema_extra={"examples": [FEATURES]})

    user_id: str
    features: Annotated[dict[str, FeatureValue], Field(description="null is a stored unknown")]
    as_of: Annotated[dt.date, Field(description="the month end at which this was so")]
    current: Annotated[
        bool, Field(description="false: the user is not in the newest published month")
    ]
    feature_service: Annotated[str, Field(description="the service and its version")]
    missing_views: Annotated[list[str], Field(description="views that have no row for this user")]


class PredictRequest(Asked):
    """One user."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user_id": USER}]})

    user_id: UserId


@dataclass(slots=True)
class Prediction:
    """The champion's prediction for one user."""

    __pydantic_config__ = ConfigDict(json_schema_extra={"examples": [PREDICTION]})

    user_id: str
    prediction: Annotated[
        int, Field(description="1: leaves within the following month", ge=0, le=1)
    ]
    probability: Annotated[float, Field(description="of leaving")]
    threshold: Annotated[float, Field(description="from which probability on the prediction is 1")]
    model_version: str
    feature_service: Annotated[
        str, Field(description="the service and version whose features the model takes")
    ]
    as_of: Annotated[dt.date, Field(description="the month end of the features")]
    features_used: dict[str, FeatureValue]


class ExplainRequest(Asked):
    """One user, how many reasons, and values to suppose in place of the user's own."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"user_id": USER, "top": 3, "instead": {}}]}
    )

    user_id: UserId
    top: int = Field(
        default=3,
        ge=1,
        le=max(len(service.features) for service in SERVICE_VERSIONS),
        description="how many reasons",
    )
    instead: dict[str, FeatureValue] = Field(
        default={},
        max_length=max(len(service.features) for service in SERVICE_VERSIONS),
        description="values in place of the user's own, by feature: what the model would say then,"
        " not what would happen; null is unknown",
    )


class ReasonOut(BaseModel):
    """What one feature does to a user's score."""

    feature: str
    value: FeatureValue = Field(description="the user's; null is a stored unknown")
    usual: FeatureValue = Field(description="median, or most frequent, of the training users")
    contribution: float = Field(description="to the score; above 0 it raises the risk")
    words: str = Field(description="the same as a sentence for people")


class Explanation(BaseModel):
    """Why the champion predicts what it does for one user."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXPLANATION]})

    user_id: str
    probability: float = Field(description="of leaving; with `instead`, what the model would say")
    own_probability: float = Field(description="of the user's own values, as /predict answers it")
    score: float = Field(description="base and every feature's contribution added up")
    base: float = Field(description="the mean score of the training users")
    unit: Literal["log_odds", "share_of_votes"] = Field(
        description="of score, base and contributions: log odds, or a forest's share of votes"
    )
    reasons: list[ReasonOut] = Field(description="the strongest first, whichever way they move it")
    model_version: str
    feature_service: str = Field(
        description="the service and version whose features the model takes"
    )
    as_of: dt.date = Field(description="the month end of the features")


class BatchRequest(Asked):
    """Many users."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user_ids": [USER, "0000-NOBODY"]}]})

    user_ids: list[UserId] = Field(min_length=1, max_length=BATCH_LIMIT)


@dataclass(slots=True)
class ErrorBody:
    """Why there is no answer."""

    code: Annotated[str, Field(description="stable: for programs")]
    message: Annotated[str, Field(description="for people")]
    detail: Annotated[Any, Field(description="the facts behind the message")] = None


class ErrorAnswer(BaseModel):
    """The one shape of every error."""

    model_config = ConfigDict(json_schema_extra={"examples": [ERROR]})

    error: ErrorBody


@dataclass(slots=True)
class BatchItem:
    """One user of a batch: the status that /predict would have answered, and its body."""

    user_id: str
    status: int
    prediction: Prediction | None = None
    error: ErrorBody | None = None


@dataclass(slots=True)
class BatchAnswer:
    """One item for each user id, in order, all by one model version."""

    __pydantic_config__ = ConfigDict(json_schema_extra={"examples": [BATCH]})

    model_version: str
    results: list[BatchItem]


class StoreHealth(BaseModel):
    """The feature store."""

    ready: bool
    problem: str | None = None
    newest_as_of: dt.date | None = None


class ModelHealth(BaseModel):
    """The champion; `problem` may be set while a loaded model keeps serving."""

    ready: bool
    problem: str | None = None
    version: str | None = None
    feature_service: str | None = None
    as_of: str | None = None
    ledger_problem: str | None = Field(
        default=None, description="how what is served differs from what the promotion ledger says"
    )


class Health(BaseModel):
    """Whether predictions can be made now, and what prevents them."""

    model_config = ConfigDict(json_schema_extra={"examples": [HEALTH]})

    live: bool = True
    ready: bool
    store: StoreHealth
    model: ModelHealth
    months_behind: list[str] = Field(
        default=[],
        description="what the pipeline found failed or waiting at its last look; serving goes on",
    )

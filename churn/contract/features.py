"""The feature views and feature services: the one contract between training and serving."""

from dataclasses import dataclass
from typing import Literal

from churn.contract.tables import PAYMENTS, SUBSCRIPTIONS, SUPPORT, USAGE, USERS, Column, Table

DType = Literal["Int64", "Float64", "Float32", "Bool", "String"]
_DTYPES: dict[str, DType] = {
    "int": "Int64",
    "float": "Float32",
    "bool": "Bool",
    "string": "String",
}


@dataclass(frozen=True)
class Feature:
    """One feature: its name (the source column's) and its Feast type."""

    name: str
    dtype: DType
    description: str


@dataclass(frozen=True)
class View:
    """One Feast feature view: some columns of one snapshot table."""

    name: str
    table: Table
    features: tuple[Feature, ...]


@dataclass(frozen=True)
class Service:
    """One Feast feature service: an ordered list of views."""

    name: str
    views: tuple[View, ...]
    description: str

    @property
    def features(self) -> tuple[Feature, ...]:
        """Every feature of the service, in the order of its views."""
        return tuple(feature for view in self.views for feature in view.features)

    @property
    def feature_names(self) -> list[str]:
        """The names of the features, in order: the columns of a training row."""
        return [feature.name for feature in self.features]

    @property
    def categorical_cols(self) -> list[str]:
        """The String features: one-hot encoded by the model."""
        return [feature.name for feature in self.features if feature.dtype == "String"]

    @property
    def numeric_cols(self) -> list[str]:
        """The other features: passed through (booleans as 0 and 1, unknown as NaN)."""
        return [feature.name for feature in self.features if feature.dtype != "String"]


def _dtype(column: Column) -> DType:
    """Return a column's Feast type: Float32 as agreed, but for money that needs more than its 24 bits."""
    return "Float64" if column.is_exact else _DTYPES[column.kind]


def _view(name: str, table: Table, features: dict[str, str]) -> View:
    described = tuple(
        Feature(name, _dtype(table.column(name)), text) for name, text in features.items()
    )
    return View(name, table, described)


SUBS_PROFILE = _view(
    "subs_profile_fv",
    SUBSCRIPTIONS,
    {
        "months_active": "months since the subscription began",
        "monthly_fee": "fee of the month, in currency units",
        "paperless_billing": "bills are paperless",
        "plan_stream_tv": "streams TV; unknown without internet service",
        "plan_stream_movies": "streams movies; unknown without internet service",
        "net_service": "internet service: DSL, Fiber optic or No",
    },
)
USAGE_AGG = _view(
    "usage_agg_30d_fv",
    USAGE,
    {
        "watch_hours_30d": "hours watched in the last 30 days",
        "avg_session_mins_7d": "mean session of the last 7 days, in minutes",
        "unique_devices_30d": "devices seen in the last 30 days",
        "skips_7d": "titles skipped in the last 7 days",
        "rebuffer_events_7d": "rebuffering events in the last 7 days",
    },
)
PAYMENTS_AGG = _view(
    "payments_agg_90d_fv",
    PAYMENTS,
    {"failed_payments_90d": "payments that failed in the last 90 days"},
)
SUPPORT_AGG = _view(
    "support_agg_90d_fv",
    SUPPORT,
    {
        "support_tickets_90d": "support tickets opened in the last 90 days",
        "ticket_avg_resolution_hrs_90d": "mean hours to resolve a ticket, last 90 days",
    },
)
SUBS_CONTRACT = _view(
    "subs_contract_fv",
    SUBSCRIPTIONS,
    {
        "contract_type": "contract: Month-to-month, One year or Two year",
        "total_paid": "paid since the subscription began, in currency units",
        "add_on_security": "online security booked",
        "add_on_backup": "online backup booked",
        "add_on_device_protect": "device protection booked",
        "add_on_support": "premium support booked",
    },
)
USERS_PROFILE = _view(
    "users_profile_fv",
    USERS,
    {
        "user_gender": "gender: as given at sign-up",
        "user_is_senior": "65 or older",
        "has_family": "lives with a partner",
        "has_dependents": "lives with dependents",
    },
)

VIEWS = (SUBS_PROFILE, USAGE_AGG, PAYMENTS_AGG, SUPPORT_AGG, SUBS_CONTRACT, USERS_PROFILE)
VIEW_BY_NAME = {view.name: view for view in VIEWS}
BASELINE = Service("churn_baseline", VIEWS[:4], "The 14 features of the baseline.")
RICH = Service("churn_rich", VIEWS, "The baseline's features, contract and household; the default.")
SERVICES = (BASELINE, RICH)
DEFAULT_SERVICE = RICH
SERVICE_BY_NAME = {service.name: service for service in SERVICES}

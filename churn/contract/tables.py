"""The six files of a drop: columns, types, bounds. Everything that reads or writes them starts here."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["string", "date", "int", "float", "bool"]


@dataclass(frozen=True)
class Column:
    """One column: its type, the bounds beyond which a value is impossible, the values expected."""

    name: str
    kind: Kind
    minimum: float | None = None
    maximum: float | None = None
    expected: tuple[str, ...] = ()  # others are odd (a warning), not impossible
    required: bool = False  # no blanks
    optional: bool = False  # the whole column may be absent from the file
    is_exact: bool = False  # a float that keeps its cents: float64 wherever it goes


@dataclass(frozen=True)
class Table:
    """One CSV file of the drop, the raw table of the same name, and its snapshot table."""

    name: str
    snapshot: str
    columns: tuple[Column, ...]

    @property
    def file(self) -> str:
        """The file's name in a drop."""
        return f"{self.name}.csv"

    @property
    def values(self) -> tuple[Column, ...]:
        """The columns other than user_id."""
        return self.columns[1:]

    def column(self, name: str) -> Column:
        """Return the column called `name`."""
        return next(column for column in self.columns if column.name == name)


def _int(name: str, maximum: float = 2**31 - 1) -> Column:
    return Column(name, "int", minimum=0, maximum=maximum)


def _float(name: str, maximum: float) -> Column:
    return Column(name, "float", minimum=0, maximum=maximum)


def _add_on(name: str) -> Column:
    return Column(f"add_on_{name}", "bool", optional=True)


USER_ID = Column("user_id", "string", required=True)

USERS = Table(
    "users",
    "users_snapshots",
    (
        USER_ID,
        Column("signup_date", "date"),
        Column("user_gender", "string", expected=("Female", "Male")),
        Column("user_is_senior", "bool"),
        Column("has_family", "bool"),
        Column("has_dependents", "bool"),
    ),
)
SUBSCRIPTIONS = Table(
    "subscriptions",
    "subscriptions_profile_snapshots",
    (
        USER_ID,
        _int("months_active", maximum=1200),
        Column("plan_stream_tv", "bool"),
        Column("plan_stream_movies", "bool"),
        Column("contract_type", "string", expected=("Month-to-month", "One year", "Two year")),
        Column("paperless_billing", "bool"),
        _float("monthly_fee", maximum=100_000),
        Column("total_paid", "float", minimum=0, maximum=100_000_000, is_exact=True),
        Column("net_service", "string", expected=("DSL", "Fiber optic", "No")),
        _add_on("security"),
        _add_on("backup"),
        _add_on("device_protect"),
        _add_on("support"),
    ),
)
USAGE = Table(
    "usage_agg_30d",
    "usage_agg_30d_snapshots",
    (
        USER_ID,
        _float("watch_hours_30d", maximum=24 * 31),
        _float("avg_session_mins_7d", maximum=7 * 24 * 60),
        _int("unique_devices_30d"),
        _int("skips_7d"),
        _int("rebuffer_events_7d"),
    ),
)
PAYMENTS = Table(
    "payments_agg_90d", "payments_agg_90d_snapshots", (USER_ID, _int("failed_payments_90d"))
)
SUPPORT = Table(
    "support_agg_90d",
    "support_agg_90d_snapshots",
    (
        USER_ID,
        _int("support_tickets_90d"),
        _float("ticket_avg_resolution_hrs_90d", maximum=92 * 24),
    ),
)
LABELS = Table(
    "labels", "labels_snapshots", (USER_ID, Column("churn_label", "bool", required=True))
)

PROFILE_TABLES = (USERS, SUBSCRIPTIONS, USAGE, PAYMENTS, SUPPORT)
TABLES = (*PROFILE_TABLES, LABELS)
BY_NAME = {table.name: table for table in TABLES}

"""The metrics by name: help, unit and labels of each, declared once.

Names are Prometheus's: base units, `_total` for what only grows, `_timestamp_seconds` for instants
(https://prometheus.io/docs/practices/naming/). A month is the instant at which it ends, its as_of, so that
`time() - x` is its age; as a label it is `2024-03`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric

Value = float | int | datetime | None
Sample = tuple[Sequence[str], Value]


@dataclass(frozen=True)
class Family:
    """One metric: its name in the exposition, what it says, its labels."""

    name: str
    text: str
    labels: tuple[str, ...] = ()

    def of(self, value: Value) -> Metric:
        """Return the metric with one value and no label; None is no sample, and the name alone is shown."""
        return self.by_label([((), value)])

    def by_label(self, samples: Iterable[Sample]) -> Metric:
        """Return the metric with a value for each combination of labels."""
        kind = CounterMetricFamily if self.name.endswith("_total") else GaugeMetricFamily
        family = kind(self.name, self.text, labels=self.labels)
        for labels, value in samples:
            if value is not None:
                family.add_metric(labels, _number(value))
        return family

    def summed(self, samples: Iterable[tuple[Sequence[str], int, float]]) -> Metric:
        """Return the metric as a summary: labels, how many there were, and their sum."""
        family = SummaryMetricFamily(self.name, self.text, labels=self.labels)
        for labels, count, total in samples:
            family.add_metric(labels, count_value=count, sum_value=total)
        return family


def _number(value: float | int | datetime) -> float:
    return value.timestamp() if isinstance(value, datetime) else float(value)


UP = Family(
    "churn_pipeline_up", "1 if the figures below could be read just now; 0: there are none."
)
READ_AT = Family("churn_pipeline_read_timestamp_seconds", "When the figures were read.")
READ_SECONDS = Family("churn_pipeline_read_duration_seconds", "How long that took.")

DUE = Family(
    "churn_due_month_timestamp_seconds",
    "End of the newest month that is over, or of CHURN_LAST_MONTH where that is earlier.",
)
DELIVERED = Family(
    "churn_delivered_month_timestamp_seconds", "End of the newest month whose drop is here."
)
CLOSED = Family(
    "churn_closed_month_timestamp_seconds",
    "End of the newest month of which the newest drop has been published.",
)
BEHIND_BY = Family(
    "churn_months_overdue",
    "Months by which the newest closed month is older than the one that is due.",
)
ONLINE = Family("churn_online_month_timestamp_seconds", "End of the newest month that is served.")
PUBLISHED_AT = Family(
    "churn_online_published_timestamp_seconds", "When that month was published last."
)
ONLINE_USERS = Family("churn_online_users", "Users of that publication.")
SCORED = Family("churn_scored_month_timestamp_seconds", "End of the newest month with scores.")
BEHIND_SINCE = Family(
    "churn_month_behind_since_timestamp_seconds",
    "A stage of a month that failed, or waits for one that did or for a missing drop: since when.",
    ("month", "stage", "state"),
)
LOOKED_AT = Family(
    "churn_look_timestamp_seconds", "When the pipeline last looked at what its months lack."
)

DELIVERIES = Family("churn_deliveries_total", "Files taken in, corrections included.", ("file",))
TAKEN_IN_AT = Family("churn_delivery_timestamp_seconds", "When a file was last taken in.")
REFUSED = Family("churn_drops_refused", "Drops in the watched folder that are refused.")
REFUSED_SINCE = Family(
    "churn_drop_refused_since_timestamp_seconds", "Since when, by the drop's month.", ("month",)
)
WAITING = Family("churn_drops_waiting", "Drops in the watched folder that came before their time.")
LATE = Family("churn_drops_late", "Months that are over and whose drop is not here.")
LATE_SINCE = Family(
    "churn_drop_late_since_timestamp_seconds", "Since when: the month's end.", ("month",)
)

IN_FORCE = Family(
    "churn_release_info",
    "1 for the release in force.",
    ("release", "version", "service", "candidate"),
)
IN_FORCE_SINCE = Family(
    "churn_release_in_force_timestamp_seconds", "When the ledger put it into force."
)
TRAINED_ON = Family(
    "churn_release_month_timestamp_seconds", "End of the month that it was trained on."
)
DECISIONS = Family(
    "churn_ledger_entries_total", "Entries of the promotion ledger.", ("kind", "outcome")
)
DECIDED = Family("churn_decided_month_timestamp_seconds", "End of the newest month decided on.")

FIGURES = ("users", "metric", "bound")
ESTIMATED = Family(
    "churn_performance_estimated", "What its scores of the newest month should be worth.", FIGURES
)
ESTIMATED_MONTH = Family(
    "churn_performance_estimated_month_timestamp_seconds", "End of that month."
)
REALISED = Family(
    "churn_performance_realised",
    "What its scores were worth in the newest month whose labels have matured.",
    FIGURES,
)
REALISED_MONTH = Family("churn_performance_realised_month_timestamp_seconds", "End of that month.")
ALARMS = Family(
    "churn_performance_alarms",
    "Figures of that month that are not as estimated, or below the floor.",
)
FLOOR = Family(
    "churn_performance_floor", "What realised performance may not fall below.", ("metric",)
)

DRIFT_MONTH = Family(
    "churn_drift_month_timestamp_seconds",
    "End of the newest month that was held against the training window of the release in force.",
)
WATCHED = Family("churn_drift_columns", "Columns watched, the score included.")
DRIFTED = Family("churn_drift_columns_over_threshold", "Columns whose distance is over theirs.")
DISTANCE = Family("churn_drift_distance", "Jensen-Shannon distance by column.", ("column",))
THRESHOLD = Family("churn_drift_threshold", "Its threshold.", ("column",))

ACTIONS = Family(
    "churn_action_list_users", "Users on the newest action list, by group.", ("group",)
)
ACTIONS_MONTH = Family("churn_action_list_month_timestamp_seconds", "End of that list's month.")

RUNS = Family("churn_runs_total", "Runs that have ended.", ("job", "outcome"))
RUN_SECONDS = Family("churn_run_duration_seconds", "How long they took.", ("job", "outcome"))
RUN_ENDED_AT = Family("churn_run_end_timestamp_seconds", "When one ended last.", ("job", "outcome"))
UNDER_WAY = Family("churn_runs_under_way", "Runs that wait or are at work.", ("job",))
HEARTBEAT = Family(
    "churn_daemon_heartbeat_timestamp_seconds",
    "When a daemon of Dagster last said that it lives.",
    ("daemon",),
)

Outcome = Literal["success", "failure", "canceled"]

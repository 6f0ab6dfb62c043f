"""Alarms that stand: what drift and performance say of the release that is in force now."""

from dataclasses import dataclass
from typing import Literal

from churn.database import connect
from churn.months import Month
from churn.promotion.arrivals import months_known, read_arrivals
from churn.promotion.ledger import release_in_force
from churn.settings import get_settings

Kind = Literal["drift", "performance"]


@dataclass(frozen=True)
class Alarm:
    """One month's alarm of one kind."""

    kind: Kind
    month: Month
    release_id: str
    said: str  # what drifted, or what fell below the estimate

    @property
    def key(self) -> str:
        """What makes it the same alarm, however often it is looked at."""
        return f"{self.kind}:{self.month}:{self.release_id[:12]}"

    def __str__(self) -> str:
        return f"{self.kind} in {self.month}: {self.said}"


def months_in_time() -> set[Month]:
    """Return the months whose labels and features were known when they had to be: others train nothing."""
    with connect() as connection:
        arrivals = read_arrivals(connection)
    found = months_known(arrivals, get_settings().first_month)
    return {each.month for each in found if each.state == "known"}


def standing_alarms() -> list[Alarm]:
    """Return the newest alarm of each kind about the release in force; oldest month first.

    What was said of a release that has been replaced since is settled.
    """
    release = release_in_force()
    if release is None:
        return []
    with connect() as connection:
        rows = connection.execute(
            "SELECT kind, as_of, said FROM ("
            " SELECT 'drift' AS kind, as_of,"
            "  string_agg(feature, ', ' ORDER BY distance - threshold DESC) AS said"
            "  FROM monitoring.feature_drift WHERE is_drifted AND release_id = %(id)s GROUP BY as_of"
            " UNION ALL"
            " SELECT 'performance', as_of, string_agg(alarm, '; ' ORDER BY metric)"
            "  FROM monitoring.model_performance WHERE alarm <> '' AND release_id = %(id)s"
            "  GROUP BY as_of) AS alarms ORDER BY as_of, kind",
            {"id": release.release_id},
        ).fetchall()
    newest = {
        kind: Alarm(kind, Month.of_as_of(as_of), release.release_id, said)
        for kind, as_of, said in rows
    }
    return sorted(newest.values(), key=lambda alarm: (alarm.month, alarm.kind))

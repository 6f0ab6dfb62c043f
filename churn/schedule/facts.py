"""What Postgres says is due: months to close, to train and to score, and months whose drop is late."""

import datetime as dt
from collections.abc import Iterable
from typing import NamedTuple

import psycopg

from churn.contract.in_force import LABELS, USERS
from churn.database import connect
from churn.months import Month, months_between
from churn.plausibility.confirmations import standing
from churn.promotion import ledger
from churn.promotion.arrivals import months_known, read_arrivals
from churn.promotion.entry import decisions, releases_until
from churn.schedule.due import Facts
from churn.scoring.scores import scored_from
from churn.settings import get_settings

# Held while the command line puts months through the graph.
BATCH_LOCK = "churn.batch"


def command_line_at_work() -> bool:
    """Return whether a command-line run is putting months through the graph now."""
    with connect() as connection:
        row = connection.execute(
            "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [BATCH_LOCK]
        ).fetchone()
        return row is None or not row[0]


def read_facts() -> Facts:
    """Read what Postgres says about the months, for `churn.schedule.due.stage_states`."""
    labels = _labelled()
    published, scored = _scoring_versions(), scored_from()
    with connect() as connection:
        arrivals = read_arrivals(connection)
        entries = ledger.entries(connection)
    closings, closable = _closings(), closable_months()
    known = list(months_known(arrivals, get_settings().first_month))
    # Blocked labels are not among these: once another delivery mends them, the month is trained on.
    usable = {each.month for each in arrivals if each.file == LABELS.name}
    return Facts(
        closings=closings,
        unpublished=frozenset(closable),
        trainings=labels,
        late=frozenset(
            each.month for each in known if each.state == "unknown" and each.month in usable
        ),
        scorings={month: version.text for month, version in published.items()},
        unscored=frozenset(
            month for month, version in published.items() if scored.get(month) != version
        ),
        decidable=[each.month for each in known],
        decided=frozenset(decisions(entries)),
    )


def closable_months() -> dict[Month, str]:
    """Return the months whose newest drop is not online, with the version that closing them rests on.

    The version is the newest delivery_id, and what people have confirmed about the month.
    """
    with connect() as connection:
        rows = connection.execute(
            "SELECT month, max(delivery_id) FROM raw.deliveries WHERE file <> %s GROUP BY month"
            " HAVING NOT EXISTS (SELECT 1 FROM online.publications AS p"
            "  WHERE p.as_of = month + interval '1 month' - interval '1 microsecond'"
            "  AND p.known_at = max(raw.deliveries.known_at)) ORDER BY month",
            [LABELS.name],
        ).fetchall()
        return _with_standing(connection, rows)


def trainable_months() -> dict[Month, str]:
    """Return the published months whose labels are here, with the version that training rests on."""
    published = _scoring_versions()
    return {month: version for month, version in _labelled().items() if month in published}


def _closings() -> dict[Month, str]:
    """Return the months that have a drop, with the version that closing them rests on."""
    with connect() as connection:
        rows = connection.execute(
            "SELECT month, max(delivery_id) FROM raw.deliveries WHERE file <> %s GROUP BY month",
            [LABELS.name],
        ).fetchall()
        return _with_standing(connection, rows)


def _labelled() -> dict[Month, str]:
    """Return the months whose labels are here, with the version that training rests on."""
    with connect() as connection:
        rows = connection.execute(
            "SELECT month, max(delivery_id) FROM raw.deliveries GROUP BY month"
            " HAVING bool_or(file = %s) ORDER BY month",
            [LABELS.name],
        ).fetchall()
        return _with_standing(connection, rows)


class _ScoringVersion(NamedTuple):
    """What a month's scores have to rest on: its newest publication, and the release in force."""

    known_at: dt.datetime
    release_id: str | None

    @property
    def text(self) -> str:
        return f"{self.known_at:%Y%m%dT%H%M%S.%f}:{(self.release_id or 'none')[:12]}"


def _scoring_versions() -> dict[Month, _ScoringVersion]:
    """Return every published month with its newest publication and the release in force at its end."""
    entries = ledger.entries()
    with connect() as connection:
        rows = connection.execute(
            "SELECT as_of, max(known_at) FROM online.publications GROUP BY as_of ORDER BY as_of"
        ).fetchall()
    versions = {}
    for as_of, known_at in rows:
        stack = releases_until(entries, as_of)
        versions[Month.of_as_of(as_of)] = _ScoringVersion(known_at, stack[-1] if stack else None)
    return versions


def delivered_months() -> list[Month]:
    """Return the months of which a drop was accepted, the oldest first."""
    return sorted(_closings())


def late_months(last_closed: Month) -> list[Month]:
    """Return the months up to `last_closed` of which no drop was accepted."""
    settings = get_settings()
    last = min(last_closed, settings.last_month or last_closed)
    with connect() as connection:
        rows = connection.execute(
            "SELECT DISTINCT month FROM raw.deliveries WHERE file = %s", [USERS.name]
        )
        here = {Month(row[0]) for row in rows}
    return [month for month in months_between(settings.first_month, last) if month not in here]


def _with_standing(
    connection: psycopg.Connection, rows: Iterable[tuple[dt.date, int]]
) -> dict[Month, str]:
    more = standing(connection)
    months = {Month(first_day): str(delivery_id) for first_day, delivery_id in rows}
    return {month: f"{i}, {more[month]}" if month in more else i for month, i in months.items()}

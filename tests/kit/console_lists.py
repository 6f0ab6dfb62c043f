"""Months with lists put straight into Postgres, as the stages record them, of any number of users."""

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg.types.json import Jsonb

from churn.contract.in_force import LABELS
from churn.database import connect
from churn.months import Month
from churn.promotion.ledger import keep_release
from churn.scoring.actions import keep_reasons
from churn.scoring.wording import reason_words
from tests.kit.releases import release
from tests.kit.snapshot_rows import put

MAY = Month.parse("2024-05")


@dataclass(frozen=True)
class Row:
    """A user on a list; reasons are names of features."""

    user_id: str
    rank: int
    probability: float
    value: float = 200.0
    profit: float = 10.0
    group: str = "treated"
    band: int = 1
    reasons: tuple[str, ...] = ()
    segments: Mapping[str, str] = field(default_factory=dict)
    treated_at: dt.date | None = None
    outcome: str | None = None

    def sentences(self) -> list[str | None]:
        words = [reason_words(name, None, 1.0, 0.5) for name in self.reasons]
        return [*words, *[None] * (3 - len(words))]


def fingerprint_of(month: Month) -> str:
    return hashlib.sha256(str(month).encode()).hexdigest()


def put_month(month: Month, rows: Sequence[Row], unlisted: Sequence[Row] = ()) -> None:
    """Keep a scored month with its list; those of `unlisted` are scored only."""
    chosen = release()
    everybody = [*((row, True) for row in rows), *((row, False) for row in unlisted)]
    with connect() as connection, connection.cursor() as cursor:
        keep_release(connection, chosen)
        _put_delivery(connection, month)
        cursor.execute(
            "INSERT INTO churn_score_runs (as_of, release_id, users, expected_leavers, value_at_risk)"
            " VALUES (%s, %s, %s, %s, %s)",
            [
                month.as_of,
                chosen.release_id,
                len(everybody),
                sum(row.probability for row, _ in everybody),
                sum(row.probability * row.value for row, _ in everybody),
            ],
        )
        with cursor.copy(
            "COPY churn_scores (as_of, user_id, release_id, probability, rank, expected_profit,"
            " is_action, customer_value) FROM STDIN"
        ) as copy:
            for row, is_action in everybody:
                copy.write_row(
                    (
                        month.as_of, row.user_id, chosen.release_id, row.probability, row.rank, row.profit,
                        is_action, row.value,
                    )
                )  # fmt: skip
        with cursor.copy(
            "COPY action_list (as_of, user_id, treatment_group, reason_1, reason_2, reason_3, band, segments)"
            " FROM STDIN"
        ) as copy:
            for row in rows:
                segments = Jsonb(dict(row.segments))
                copy.write_row(
                    (month.as_of, row.user_id, row.group, *row.sentences(), row.band, segments)
                )
        keep_reasons(connection, month)
        treated = [row for row in rows if row.group == "treated"]
        cursor.execute(
            "INSERT INTO action_lists (as_of, treated, control, expected_profit, fingerprint)"
            " VALUES (%s, %s, %s, %s, %s)",
            [
                month.as_of,
                len(treated),
                len(rows) - len(treated),
                sum(row.profit for row in treated),
                fingerprint_of(month),
            ],
        )
        cursor.executemany(
            "INSERT INTO treatments (as_of, user_id, treated_at, channel, outcome)"
            " VALUES (%s, %s, %s, 'phone', %s)",
            [
                (month.as_of, row.user_id, row.treated_at, row.outcome)
                for row in rows
                if row.treated_at
            ],
        )
        cursor.execute(
            "INSERT INTO treatment_months (as_of, users)"
            " SELECT as_of, count(*) FROM treatments WHERE as_of = %s GROUP BY as_of",
            [month.as_of],
        )
        connection.execute("ANALYZE churn_scores, action_list, action_lists, treatments")


def _put_delivery(connection: Any, month: Month) -> None:
    connection.execute(
        "INSERT INTO raw.deliveries (month, file, sha256, fingerprint, rows, accepted_at, known_at,"
        " stored_path) VALUES (%s, 'users', %s, %s, 1, %s, %s, 'nowhere')",
        [
            month.first_day,
            fingerprint_of(month),
            fingerprint_of(month),
            month.as_of,
            month.as_of,
        ],
    )


def put_labels(month: Month, left: Sequence[str], stayed: Sequence[str]) -> None:
    put(LABELS, month, left, churn_label=True)
    put(LABELS, month, stayed, churn_label=False)

"""Confirmations: a person's word that what looks impossible is right. They are appended, never changed."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg.rows import dict_row

from churn.database import connect
from churn.deliveries.ledger import Delivery
from churn.errors import ChurnError
from churn.months import Month
from churn.plausibility.rules import Finding


@dataclass(frozen=True)
class Confirmation:
    """One confirmation; it holds only for the content with this fingerprint.

    Args:
        file: the table's name.
        what: the finding, in words.
    """

    confirmation_id: int
    month: Month
    file: str
    rule: str
    fingerprint: str
    what: str
    reason: str
    actor: str
    recorded_at: dt.datetime

    def __str__(self) -> str:
        return f"confirmed by {self.actor} on {self.recorded_at:%Y-%m-%d}: {self.reason}"


def confirm(
    connection: psycopg.Connection,
    delivery: Delivery,
    finding: Finding,
    *,
    reason: str,
    actor: str,
) -> None:
    """Record that what a finding says about a delivery's content is right.

    Raises:
        ChurnError: no reason is given.
    """
    if not reason.strip():
        raise ChurnError(
            "a confirmation needs a reason", where="churn confirm", remedy="give --reason TEXT"
        )
    connection.execute(
        "INSERT INTO decisions.confirmations (month, file, rule, fingerprint, what, reason, actor)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        [
            delivery.month.first_day,
            delivery.file,
            finding.rule,
            delivery.fingerprint,
            finding.what,
            reason.strip(),
            actor,
        ],
    )


def confirmations(month: Month | None = None) -> list[Confirmation]:
    """Return all confirmations, or those of one month, oldest first."""
    with connect() as connection, connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            "SELECT * FROM decisions.confirmations WHERE month = coalesce(%s, month)"
            " ORDER BY confirmation_id",
            [month and month.first_day],
        )
        return [Confirmation(**{**row, "month": Month(row["month"])}) for row in cursor]


def of_delivery(connection: psycopg.Connection, delivery: Delivery) -> Mapping[str, Confirmation]:
    """Return the newest confirmation of each rule for the content of a delivery."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            "SELECT * FROM decisions.confirmations WHERE month = %s AND file = %s"
            " AND fingerprint = %s ORDER BY confirmation_id",
            [delivery.month.first_day, delivery.file, delivery.fingerprint],
        )
        return {
            row["rule"]: Confirmation(**{**row, "month": Month(row["month"])}) for row in cursor
        }


def standing(connection: psycopg.Connection) -> dict[Month, str]:
    """Return a text for each month whose standing depends on more than its own deliveries; most do not.

    The text changes when somebody confirms something about the month and, while the month is blocked, when a
    month that it may be compared with is delivered later. A caller that runs a month once per text will then
    run it again. Being blocked does not change the text: running the month again would give the same result.
    """
    rows = connection.execute(
        "SELECT month, (SELECT max(confirmation_id) FROM decisions.confirmations AS c"
        "   WHERE c.month = m.month),"
        "  (SELECT max(d.delivery_id) FROM raw.deliveries AS d,"
        "    raw.blocked AS b JOIN raw.judgements AS j USING (delivery_id)"
        "   WHERE b.month = m.month AND d.month <> m.month AND d.delivery_id > j.blocked_after"
        "    AND d.month BETWEEN m.month - interval '3 months' AND m.month + interval '1 month')"
        " FROM (SELECT month FROM decisions.confirmations UNION SELECT b.month FROM raw.blocked AS b"
        "  JOIN raw.deliveries USING (delivery_id) WHERE unloadable IS NULL) AS m"
    )
    texts = {}
    for month, confirmed, newer in rows:
        confirmation = f"confirmation {confirmed}" if confirmed else ""
        beside = f"beside {newer}" if newer else ""
        texts[Month(month)] = ", ".join(filter(None, [confirmation, beside]))
    return {month: text for month, text in texts.items() if text}

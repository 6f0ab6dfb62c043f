"""Campaigns that people have saved: the terms of the lists of a month and of those after it.

They are appended, never changed. The newest that holds for a month when its users are scored first is kept
with the month, so that scores and list come out the same whenever they are made again. Where none holds, the
settings CHURN_CAMPAIGN_* say the terms.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from churn.database import lock
from churn.errors import ChurnError
from churn.evaluation.money import Campaign
from churn.months import Month
from churn.settings import CampaignSettings, chosen_campaign, get_settings

# Held while a campaign is saved, and while a month's users are kept under the one that they were scored by.
LOCK = "churn.campaigns"
TERMS: tuple[str, ...] = tuple(CampaignSettings.model_fields)
# A budget without an end, which only the settings can have, is this much in a campaign made after them.
ENDLESS = 1e12
_COLUMNS = sql.SQL(", ").join(
    map(sql.Identifier, ("campaign_id", "month", *TERMS, "reason", "actor", "recorded_at"))
)


@dataclass(frozen=True)
class SavedCampaign:
    """A campaign as it was saved.

    Args:
        month: the first whose list is made under it.
        terms: of the campaign, by the names of the settings.
    """

    campaign_id: int
    month: Month
    terms: CampaignSettings
    reason: str
    actor: str
    recorded_at: dt.datetime


def save_campaign(
    connection: psycopg.Connection,
    month: Month,
    terms: Mapping[str, float],
    *,
    reason: str,
    actor: str,
) -> SavedCampaign:
    """Save a campaign for the lists of a month and of those after it; return it.

    It takes the place of what was saved before, also of what was to begin later; lists that are there keep
    the terms that they were made under.

    Args:
        connection: in whose transaction it is written.
        month: the first that it holds for; its users may not have been scored yet.
        terms: every one of TERMS.
        reason: why, for those who ask later.
        actor: who saves it.

    Raises:
        ChurnError: no reason is given, a term cannot be, no call could ever pay, or the month was scored.
    """
    if not reason.strip():
        raise ChurnError("a reason is needed", remedy="say why the campaign is to be so")
    chosen = chosen_campaign(terms)
    Campaign.of(chosen)
    # A month that is just being kept has a list after that.
    lock(connection, LOCK)
    if _is_scored(connection, month):
        raise ChurnError(
            f"the list of {month} is there already, and keeps the terms that it was made under",
            where=str(month),
            remedy=f"save the campaign for a later month, such as {next_month(connection)}",
        )
    row = {
        "month": month.first_day,
        **chosen.model_dump(),
        "reason": reason.strip(),
        "actor": actor,
    }
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            sql.SQL("INSERT INTO decisions.campaigns ({}) VALUES ({}) RETURNING {}").format(
                sql.SQL(", ").join(map(sql.Identifier, row)),
                sql.SQL(", ").join(map(sql.Placeholder, row)),
                _COLUMNS,
            ),
            row,
        )
        (saved,) = map(_campaign, cursor)
    return saved


def campaigns(connection: psycopg.Connection) -> list[SavedCampaign]:
    """Return every campaign that was saved, the newest first."""
    return _read(connection, sql.SQL("true ORDER BY campaign_id DESC"), {})


def campaign_of_month(connection: psycopg.Connection, month: Month) -> SavedCampaign | None:
    """Return the campaign that a month's list was made under, or would be made under now.

    None where the settings say the terms: no campaign holds for the month, or its users were scored when none
    did.
    """
    if _is_scored(connection, month):
        condition = sql.SQL(
            "campaign_id = (SELECT campaign_id FROM churn_score_runs WHERE as_of = %(as_of)s)"
        )
    else:
        condition = sql.SQL("month <= %(month)s ORDER BY campaign_id DESC LIMIT 1")
    held = _read(connection, condition, {"as_of": month.as_of, "month": month.first_day})
    return held[0] if held else None


def terms_of(saved: SavedCampaign | None) -> CampaignSettings:
    """Return the terms of a campaign; without one those of the settings, as they are now."""
    return saved.terms if saved else get_settings().campaign


def terms_of_month(connection: psycopg.Connection, month: Month) -> CampaignSettings:
    """Return the terms that a month's list was made under, or would be made under now."""
    return terms_of(campaign_of_month(connection, month))


def with_terms(base: CampaignSettings, given: Mapping[str, float]) -> CampaignSettings:
    """Return the terms of a campaign that is as another but for what is given.

    Raises:
        ChurnError: a term is unknown, or cannot be.
    """
    kept = {name: min(value, ENDLESS) for name, value in base.model_dump().items()}
    return chosen_campaign({**kept, **given})


def next_month(connection: psycopg.Connection) -> Month | None:
    """Return the month after the newest whose users were scored; None where none was."""
    row = connection.execute("SELECT max(as_of) FROM churn_score_runs WHERE users > 0").fetchone()
    return Month.of_as_of(row[0]).next if row and row[0] else None


def _is_scored(connection: psycopg.Connection, month: Month) -> bool:
    # Before the first release nobody is scored: such a month has no list that could keep its terms.
    row = connection.execute(
        "SELECT 1 FROM churn_score_runs WHERE as_of = %s AND users > 0", [month.as_of]
    ).fetchone()
    return row is not None


def _read(
    connection: psycopg.Connection, condition: sql.SQL, parameters: Mapping[str, object]
) -> list[SavedCampaign]:
    query = sql.SQL("SELECT {} FROM decisions.campaigns WHERE ").format(_COLUMNS) + condition
    with connection.cursor(row_factory=dict_row) as cursor:
        return [_campaign(row) for row in cursor.execute(query, parameters)]


def _campaign(row: dict[str, Any]) -> SavedCampaign:
    terms = chosen_campaign({name: row.pop(name) for name in TERMS})
    return SavedCampaign(**{**row, "month": Month(row["month"]), "terms": terms})

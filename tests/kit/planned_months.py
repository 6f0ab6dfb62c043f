"""A month whose scores and list are those that the stages make of given probabilities, put into Postgres."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from churn.arrays import Floats32
from churn.database import connect
from churn.evaluation.money import Campaign
from churn.months import Month
from churn.scoring.action_file import CONTROL, TREATED
from churn.scoring.campaigns import SavedCampaign, campaign_of_month, save_campaign, terms_of
from churn.scoring.control_group import bands_of_list, control_group
from churn.scoring.scores import rank
from churn.settings import CampaignSettings
from tests.kit.console_lists import MAY, Row, put_month


def chances(users: int = 400, seed: int = 7) -> Floats32:
    """Return probabilities of leaving as a model serves them: of float32, with equals among them."""
    return np.random.default_rng(seed).beta(1.2, 4, users).round(3).astype(np.float32)


def put_planned(month: Month = MAY, probabilities: Floats32 | None = None) -> list[Row]:
    """Score a month under the terms that hold for it, and list whose call is due; return the list."""
    served = chances() if probabilities is None else probabilities
    with connect() as connection:
        saved = campaign_of_month(connection, month)
    terms = terms_of(saved)
    ids = pa.array([f"{n:05d}-user" for n in range(len(served))])
    scored = rank(month, "r", ids, served, Campaign.of(terms)).to_pylist()
    due = [row["user_id"] for row in scored if row["is_action"]]
    is_control = control_group(month, due, terms.control_share)
    place = dict(zip(due, zip(is_control, bands_of_list(len(due)), strict=True), strict=True))
    rows = [
        Row(
            row["user_id"],
            row["rank"],
            row["probability"],
            value=row["customer_value"],
            profit=row["expected_profit"],
            group=CONTROL if place.get(row["user_id"], (False, 0))[0] else TREATED,
            band=int(place.get(row["user_id"], (False, 1))[1]),
        )
        for row in scored
    ]
    put_month(
        month,
        [row for row in rows if row.user_id in place],
        [row for row in rows if row.user_id not in place],
    )
    with connect() as connection:
        connection.execute(
            "UPDATE churn_score_runs SET campaign_id = %s WHERE as_of = %s",
            [saved.campaign_id if saved else None, month.as_of],
        )
    return [row for row in rows if row.user_id in place]


def saved(month: Month, **terms: float) -> SavedCampaign:
    """Save a campaign from a month on, of the default terms but for those that are given."""
    with connect() as connection:
        return save_campaign(
            connection, month, {**defaults(), **terms}, reason="to see", actor="test"
        )


def defaults() -> Mapping[str, float]:
    """Return the terms of the settings."""
    return CampaignSettings().model_dump()

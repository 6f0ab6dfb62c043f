"""What a campaign earns: who is worth a call, from which probability on, and what it brought."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from churn.arrays import Bools, Floats, Ints, Labels
from churn.errors import ChurnError
from churn.evaluation.metrics import require_judgeable
from churn.settings import CampaignSettings


@dataclass(frozen=True)
class Campaign:
    """A retention campaign's terms, in currency units per user (Verbraken, Verbeke and Baesens, 2013).

    Each contacted user costs `contact_cost`. A leaver accepts the offer with the mean probability of
    Beta(accept_alpha, accept_beta) and then stays, which earns `customer_value` less `incentive_cost`. A user
    who would have stayed anyway accepts it too, which costs `incentive_cost` for nothing.
    """

    customer_value: float = 200.0
    incentive_cost: float = 10.0
    contact_cost: float = 1.0
    accept_alpha: float = 6.0
    accept_beta: float = 14.0
    # Bounds the expected cost of contacts and accepted offers.
    budget: float = float("inf")
    control_share: float = 0.0

    @classmethod
    def of(cls, settings: CampaignSettings) -> Self:
        """Return the terms that settings, or a saved campaign, say.

        Raises:
            ChurnError: no probability is high enough for a contact to pay.
        """
        campaign = cls(**settings.model_dump())
        if profit_threshold(campaign) >= 1:
            raise ChurnError(
                "a contact can never pay: the offer costs more than a kept user is worth",
                where="CHURN_CAMPAIGN_*, or the campaign that was saved",
                remedy="raise what a kept user is worth, or lower the costs",
            )
        return campaign

    @property
    def accept_rate(self) -> float:
        """Mean probability that a leaver accepts the offer."""
        return self.accept_alpha / (self.accept_alpha + self.accept_beta)

    @property
    def gain(self) -> float:
        """Expected profit of contacting one who would leave."""
        return self.accept_rate * (self.customer_value - self.incentive_cost) - self.contact_cost

    @property
    def loss(self) -> float:
        """Cost of contacting one who would stay."""
        return self.incentive_cost + self.contact_cost


def expected_profit(
    probabilities: Floats, campaign: Campaign, values: Floats | None = None
) -> Floats:
    """Return the expected profit of contacting each user, for calibrated probabilities of leaving.

    Args:
        probabilities: of leaving, [N].
        campaign: the terms.
        values: what keeping each user is worth, [N]; None takes the campaign's one value for all.
    """
    gain: Floats | float = campaign.gain
    if values is not None:
        gain = campaign.accept_rate * (values - campaign.incentive_cost) - campaign.contact_cost
    return probabilities * gain - (1 - probabilities) * campaign.loss


def expected_cost(probabilities: Floats, campaign: Campaign) -> Floats:
    """Return the expected cost of contacting each user: the contact, and the offer if it is accepted."""
    takes = probabilities * campaign.accept_rate + (1 - probabilities)
    return campaign.contact_cost + takes * campaign.incentive_cost


def profit_threshold(campaign: Campaign) -> float:
    """Return the calibrated probability above which a contact pays."""
    return campaign.loss / (campaign.gain + campaign.loss) if campaign.gain > 0 else 1.0


@dataclass(frozen=True)
class Calls:
    """All users in the order of calling, [N] each, and how far the calls go.

    Args:
        order: rows of what was given, the first to call first.
        profit: what each call is expected to bring.
        spent: what this call and those before it are expected to cost.
        is_due: the call pays, and the budget reaches it.
    """

    order: Ints
    profit: Floats
    spent: Floats
    is_due: Bools


def calls(probabilities: Floats, campaign: Campaign, values: Floats | None = None) -> Calls:
    """Return the order of calling: the most profitable first, while the budget lasts and calls pay.

    Ties are taken in the order given. The arguments are those of `expected_profit`.
    """
    profit = expected_profit(probabilities, campaign, values)
    # Where all users are worth the same, the most probable leaver is the most profitable one.
    order = np.argsort(-probabilities if values is None else -profit, kind="stable")
    spent = np.cumsum(expected_cost(probabilities[order], campaign))
    in_order = profit[order]
    return Calls(order, in_order, spent, (in_order > 0) & (spent <= campaign.budget))


def within_budget(probabilities: Floats, campaign: Campaign, values: Floats | None = None) -> Bools:
    """Return whom to contact, of those given: whose call is due. The arguments are those of `calls`."""
    in_order = calls(probabilities, campaign, values)
    chosen = np.zeros(len(probabilities), dtype=bool)
    chosen[in_order.order[in_order.is_due]] = True
    return chosen


def contact_profit(labels: Labels, campaign: Campaign) -> Floats:
    """Return what contacting each user would have earned, given who left."""
    return np.where(np.asarray(labels) == 1, campaign.gain, -campaign.loss)


def earned_per_user(
    labels: Labels, probabilities: Floats, threshold: float, campaign: Campaign
) -> Floats:
    """Return what each user earned, 0 for those not contacted.

    Contacted are users at or above the threshold whose contact is expected to pay, while the budget lasts.
    """
    contacted = within_budget(probabilities, campaign) & (probabilities >= threshold)
    return np.where(contacted, contact_profit(labels, campaign), 0.0)


def empc(labels: Labels, probabilities: Floats, campaign: Campaign) -> float:
    """Return the expected maximum profit measure for churn (EMPC), per user, at the model's best threshold.

    The profit is maximised for each acceptance rate gamma before it is averaged over Beta(alpha, beta).
    The best threshold contacts those segments of the ROC curve's convex hull that pay. The segments are the
    blocks of an isotonic regression: a block with leaver rate p pays once
    p * (gamma * (value - incentive) - contact) exceeds (1 - p) * (incentive + contact). Each user therefore
    contributes an integral over a tail of the Beta distribution, which has a closed form
    (Verbraken, Verbeke and Baesens, 2013).

    Raises:
        ChurnError: there are no users, they are of one class, or a probability is NaN.
    """
    from scipy.special import betaincc
    from sklearn.isotonic import IsotonicRegression

    require_judgeable(labels, probabilities)
    leaver_rate = np.asarray(
        IsotonicRegression().fit_transform(probabilities, labels), dtype=np.float64
    )
    alpha, beta = campaign.accept_alpha, campaign.accept_beta
    kept = campaign.customer_value - campaign.incentive_cost
    with np.errstate(divide="ignore"):
        odds = (1 - leaver_rate) / leaver_rate
    pays_from = np.clip((odds * campaign.loss + campaign.contact_cost) / kept, 0, 1)
    share = betaincc(alpha, beta, pays_from)
    accepted = campaign.accept_rate * betaincc(alpha + 1, beta, pays_from)
    of_leavers = leaver_rate * (kept * accepted - campaign.contact_cost * share)
    return float(np.mean(of_leavers - (1 - leaver_rate) * campaign.loss * share))

"""What calibrated probabilities say of themselves: performance before any label is there (CBPE)."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from churn.errors import ChurnError
from churn.evaluation.bootstrap import CONFIDENCE, RESAMPLES, Interval, bounds, drawn_users
from churn.evaluation.inputs import Floats
from churn.evaluation.money import Campaign, contact_profit
from churn.evaluation.recalibration import Recalibration

METRICS = ("auc", "log_loss", "brier", "churn_rate", "profit")
_CELLS = 2_000_000  # labels drawn at once: bounds the memory
_TINY = 1e-15


def estimates(
    probabilities: Floats,
    contacted: npt.NDArray[np.bool_],
    campaign: Campaign,
    *,
    confidence: float = CONFIDENCE,
    draws: int = RESAMPLES,
    seed: int = 0,
    recalibration: Recalibration | None = None,
) -> dict[str, Interval]:
    """Return what to expect of these users, by the names of METRICS.

    The estimate is exact; its bounds are of labels drawn again and again: how far realised figures stray
    by chance, and by what is not known of the probabilities themselves. Above DRAWN_USERS users, labels are
    drawn for a fixed sample, as in churn.evaluation.bootstrap.

    Args:
        probabilities: calibrated, of leaving.
        contacted: whom the campaign contacts.
        campaign: its terms; profit is per user of the population.
        confidence: of the bounds.
        draws: how many times labels are drawn.
        seed: of the draws.
        recalibration: how the probabilities stand to what happens; None: every one of them is right.

    Raises:
        ChurnError: there are no users, or a probability is not one.
    """
    inside = (probabilities >= 0) & (probabilities <= 1)  # NaN is not
    if probabilities.size == 0 or not inside.all():
        raise ChurnError(
            f"{probabilities.size} users, {int((~inside).sum())} of them without a probability",
            where="estimated performance",
            remedy="materialize churn_scores of the month again",
        )
    chances = recalibration.probabilities(probabilities) if recalibration else probabilities
    expected = _figures(chances[None, :], probabilities, contacted, campaign)
    part = drawn_users(probabilities.size, seed)
    some, reached = probabilities[part], contacted[part]
    of_drawn = _figures(chances[part][None, :], some, reached, campaign)
    parts = [
        _figures(labels, some, reached, campaign)
        for labels in _drawn(some, draws, seed, recalibration)
    ]
    # What is not known of the probabilities is no smaller among more users: such bounds are not scaled.
    users = some.size if recalibration else probabilities.size
    found = {}
    for name in METRICS:
        seen: Floats = np.concatenate([each[name] for each in parts])
        seen = seen[np.isfinite(seen)] if np.isfinite(seen).any() else np.array([np.nan])
        found[name] = bounds(
            seen, float(expected[name][0]), float(of_drawn[name][0]), users, confidence,
        )  # fmt: skip
    return found


def _drawn(
    probabilities: Floats, draws: int, seed: int, recalibration: Recalibration | None
) -> Iterator[Floats]:
    rng = np.random.default_rng(seed)
    block = max(1, _CELLS // probabilities.size)
    for done in range(0, draws, block):
        count = min(block, draws - done)
        chances = recalibration.drawn(probabilities, count, rng) if recalibration else probabilities
        yield (rng.random((count, probabilities.size)) < chances).astype(np.float64)


def _figures(
    labels: Floats, probabilities: Floats, contacted: npt.NDArray[np.bool_], campaign: Campaign
) -> dict[str, Floats]:
    """Return each figure of each row of labels; a label may be a probability, all are linear in them."""
    users = probabilities.size
    clipped = np.clip(probabilities, _TINY, 1 - _TINY)
    if_left, if_stayed = -np.log(clipped), -np.log1p(-clipped)
    if_kept = contact_profit(np.ones(users, dtype=np.int64), campaign)
    if_wasted = contact_profit(np.zeros(users, dtype=np.int64), campaign)

    def mean(left: Floats, stayed: Floats) -> Floats:
        return np.asarray((labels @ left + (1 - labels) @ stayed) / users)

    return {
        "auc": _auc(labels, probabilities),
        "log_loss": mean(if_left, if_stayed),
        "brier": mean((1 - probabilities) ** 2, probabilities**2),
        "churn_rate": labels.mean(axis=1),
        "profit": mean(if_kept * contacted, if_wasted * contacted),
    }


def _auc(labels: Floats, probabilities: Floats) -> Floats:
    """Return the share of (left, stayed) pairs in the right order; users may be a part of each.

    Of expected labels it is the expected pairs in order over the expected pairs, user with another.
    """
    order = np.argsort(probabilities, kind="stable")
    left, stayed = labels[:, order], 1 - labels[:, order]
    own = (left * stayed).sum(axis=1)  # nobody is compared with himself
    starts = np.flatnonzero(np.diff(probabilities[order], prepend=np.nan) != 0)
    left, stayed = np.add.reduceat(left, starts, axis=1), np.add.reduceat(stayed, starts, axis=1)
    below = np.cumsum(stayed, axis=1) - stayed / 2
    pairs = left.sum(axis=1) * stayed.sum(axis=1) - own
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(((left * below).sum(axis=1) - own / 2) / pairs)

"""Who of a ranked list is left alone, so that it can be measured what calling does."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from churn.arrays import Bools, Ints
from churn.model.rows import user_hashes
from churn.months import Month

BANDS = 5  # of probability, in each of which the same share is left alone
Hashes = npt.NDArray[np.uint64]


def bands_of_list(users: int) -> Ints:
    """Return the band of each place of a ranked list, from 1: parts that are as equal as can be."""
    parts = np.array_split(np.arange(users), BANDS)
    return np.repeat(np.arange(1, BANDS + 1), [len(part) for part in parts])


def control_hashes(month: Month, users: Sequence[str]) -> Hashes:
    """Return a number for each user; in each band those with the lowest are left alone, [N].

    They depend on the month, so every month leaves other users alone.
    """
    return user_hashes(users, f"streamflow-control-1-{month}:") if users else np.empty(0, np.uint64)


def left_alone(hashes: Hashes, share: float) -> Bools:
    """Say who is left alone: in each band of the ranked list the same share, whom a hash chooses.

    Args:
        hashes: of the ranked list, as `control_hashes` gives them.
        share: of each band, rounded to whole users.
    """
    is_control = np.zeros(len(hashes), dtype=bool)
    band_of_each = bands_of_list(len(hashes))
    for number in range(1, BANDS + 1):
        band = np.flatnonzero(band_of_each == number)
        chosen = band[np.argsort(hashes[band], kind="stable")][: round(share * len(band))]
        is_control[chosen] = True
    return is_control


def control_group(month: Month, users: Sequence[str], share: float) -> Bools:
    """Say who of a month's ranked list is left alone: the same share of each of its bands."""
    return left_alone(control_hashes(month, users), share)

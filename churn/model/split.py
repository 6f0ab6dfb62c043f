"""Who is held out, who is sampled: decided by a hash of the user, the same in every month."""

import hashlib
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

HOLDOUT_SHARE = 0.25
SAMPLE_LIMIT = 100_000
# Changing a salt moves users between the sets: models before and after are no longer comparable.
_HOLDOUT_SALT = "streamflow-holdout-1:"
_SAMPLE_SALT = "streamflow-sample-1:"  # another one, or the sample would not be free of the split

_logger = logging.getLogger(__name__)

UserIds = Sequence[str] | npt.NDArray[Any]


def user_hashes(user_ids: UserIds, salt: str) -> npt.NDArray[np.uint64]:
    """Return a number per user that nothing but the user and the salt decide."""
    prefix = hashlib.sha256(salt.encode())

    def first_bytes(user_id: str) -> bytes:
        digest = prefix.copy()
        digest.update(user_id.encode())
        return digest.digest()[:8]

    joined = b"".join(first_bytes(str(user_id)) for user_id in user_ids)
    return np.frombuffer(joined, dtype=">u8").astype(np.uint64)


def is_holdout(user_ids: UserIds) -> npt.NDArray[np.bool_]:
    """Say which users are never trained on: a permanent quarter of them."""
    return user_hashes(user_ids, _HOLDOUT_SALT) < np.uint64(HOLDOUT_SHARE * 2**64)


def user_sample(user_ids: UserIds, limit: int = SAMPLE_LIMIT) -> npt.NDArray[np.bool_]:
    """Say which users to fit on: all of them up to `limit`, else the `limit` of lowest hash.

    The choice does not depend on the order of the users, and hardly changes from month to month.
    """
    chosen = np.ones(len(user_ids), dtype=bool)
    if len(user_ids) > limit:
        order = np.lexsort((np.asarray(user_ids, dtype=str), user_hashes(user_ids, _SAMPLE_SALT)))
        chosen[order[limit:]] = False
        _logger.info("fitting on a fixed sample of %d of %d users", limit, len(user_ids))
    return chosen

"""The truth behind simulated labels, as the simulator wrote it beside its drops; found, or why not.

No model and no feature may read it: what is here judges models, after they are fitted.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from churn.evaluation.inputs import Floats, Labels
from churn.months import Month
from churn.settings import get_settings

if TYPE_CHECKING:
    import pandas as pd

MOST_UNLIKE = (
    0.01  # share of users that a correction may have moved; more is another world's oracle
)


@dataclass(frozen=True)
class Truth:
    """True probabilities of leaving for some of the asked users, or the reason why there are none."""

    probabilities: Floats
    known: npt.NDArray[np.bool_]  # which of the asked users they are of, in their order
    why_not: str = ""


def read_truth(month: Month, user_ids: npt.NDArray[np.str_], labels: Labels) -> Truth:
    """Look the users of a month up in the oracle of CHURN_ORACLE.

    Args:
        month: the label period.
        user_ids: the users who are asked for.
        labels: 1 for those who left, as the training set says: they tell whether the oracle is of
            the same world.
    """
    settings = get_settings()
    if settings.oracle is None:
        return _none("CHURN_ORACLE is not set: nobody knows the truth of these data")
    if month == settings.first_month:
        return _none("the labels of month_000 are the benchmark's own, drawn by nobody")
    path = settings.oracle / f"{month.folder(settings.first_month)}.parquet"
    if not path.is_file():
        return _none(f"the oracle has no {path.name}")
    import pandas as pd

    return _matched(pd.read_parquet(path), user_ids, labels)


def _matched(oracle: "pd.DataFrame", user_ids: npt.NDArray[np.str_], labels: Labels) -> Truth:
    rows = oracle.set_index("user_id").reindex(user_ids)
    known = rows["churn_probability"].notna().to_numpy(np.bool_)
    strangers = len(known) - int(known.sum())
    if strangers > MOST_UNLIKE * len(known):
        return _none(f"{strangers} of {len(known)} users are not in the oracle")
    rows = rows[known]
    unlike = int((rows["churn_label"].to_numpy(np.int64) != labels[known]).sum())
    if unlike > MOST_UNLIKE * len(rows):
        return _none(f"{unlike} of {len(rows)} labels are not the oracle's: it is of another world")
    return Truth(rows["churn_probability"].to_numpy(np.float64), known)


def _none(why: str) -> Truth:
    return Truth(np.empty(0), np.empty(0, dtype=np.bool_), why)

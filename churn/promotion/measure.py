"""Making the evidence: both releases, as they are served, scored on the hold-out users of one month."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from churn.arrays import Floats, Labels
from churn.contract.in_force import CONTRACT
from churn.evaluation.bootstrap import Interval, intervals, mean_interval, paired_difference
from churn.evaluation.money import Campaign, earned_per_user, empc
from churn.model.rows import is_holdout
from churn.months import Month
from churn.promotion.gate import BASE_RATE, TENURE, Evidence, Figures, Trigger
from churn.promotion.ledger import Release
from churn.promotion.registry import Registry
from churn.settings import Settings
from churn.training.dataset import read_training_set, with_every_feature

if TYPE_CHECKING:
    import pandas as pd

Scores = dict[str, Floats]  # by release id


@dataclass(frozen=True)
class Judges:
    """The users who judge a month: held out for ever, so that no model was ever trained on them."""

    month: Month
    frame: "pd.DataFrame"
    labels: Labels
    others: "pd.DataFrame"  # the users that models of this month are trained on
    fingerprint: str  # of the whole training set

    @property
    def has_one_class(self) -> bool:
        """Nobody left, or nobody stayed, among the users that a model would be trained on."""
        return bool(self.others["churn_label"].nunique() < 2)


def read_judges(month: Month) -> Judges:
    """Read the hold-out users of a month's training set, with their labels."""
    made = read_training_set(month)
    frame = with_every_feature(made.rows).to_pandas()
    held = is_holdout(frame["user_id"].to_numpy())
    chosen = frame[held].reset_index(drop=True)
    labels = chosen["churn_label"].to_numpy(dtype=np.int64)
    return Judges(month, chosen, labels, frame[~held], made.fingerprint)


def measure(
    judges: Judges,
    challenger: Release | None,
    champion: Release | None,
    registry: Registry,
    settings: Settings,
) -> Evidence:
    """Score both releases on the month's hold-out users and compare them, user by user.

    Files that cannot be had raise; what goes wrong in the arithmetic is a problem of the evidence.
    """
    scores = {
        release.release_id: registry.probabilities(release, judges.frame)
        for release in (challenger, champion)
        if release
    }
    made = Evidence(
        month=str(judges.month),
        month_end=judges.month.as_of_date,
        rows=len(judges.labels),
        left=int(judges.labels.sum()),
        fingerprint=judges.fingerprint,
    )
    try:
        bench = _Bench(judges, settings)
        judged, before = bench.figures(challenger, scores), bench.figures(champion, scores)
        return replace(
            made,
            trigger=_trigger(before, settings),
            challenger=judged,
            champion=before,
            differences=bench.differences(challenger, champion, scores),
        )
    except Exception as error:  # told, not hidden: it is what the entry of the ledger says
        what = f"the evidence could not be made: {type(error).__name__}: {error}"
        return replace(made, problem=what)


def _trigger(champion: Figures | None, settings: Settings) -> Trigger:
    if champion is None:
        return "first release"
    is_below = champion.auc.estimate < settings.gate.auc_floor
    return "performance below floor" if is_below else "monthly"


class _Bench:
    """The arithmetic over the users of one month, with the same draws for every figure."""

    def __init__(self, judges: Judges, settings: Settings) -> None:
        campaign = Campaign.of(settings.campaign)
        # The judges are a share of all users, and so is what may be spent on them.
        share = len(judges.labels) / (len(judges.labels) + len(judges.others))
        self.judges, self.labels = judges, judges.labels
        self.campaign = replace(campaign, budget=campaign.budget * share)
        self.gate = settings.gate

    def figures(self, release: Release | None, scores: Scores) -> Figures | None:
        """Return what is said of one release."""
        if release is None:
            return None
        probabilities = scores[release.release_id]
        return Figures(
            release.release_id,
            release.version,
            release.candidate,
            release.service,
            release.as_of,
            release.fingerprint,
            release.threshold,
            auc=self._auc(probabilities),
            profit=self._mean(self._earned(release, probabilities)),
            empc=empc(self.labels, probabilities, self.campaign),
        )

    def differences(
        self, challenger: Release | None, champion: Release | None, scores: Scores
    ) -> dict[str, Interval]:
        """Return by how much the challenger exceeds the champion, or what a first release must beat."""
        if challenger is None:
            return {}
        judged = scores[challenger.release_id]
        if champion is None:
            base_rate = np.full(len(self.labels), self.labels.mean())
            return {
                BASE_RATE: self._auc_difference(judged, base_rate),
                TENURE: self._auc_difference(judged, tenure_only(self.judges)),
            }
        if champion.release_id == challenger.release_id:
            return {}
        against = scores[champion.release_id]
        more = self._earned(challenger, judged) - self._earned(champion, against)
        return {"profit": self._mean(more), "auc": self._auc_difference(judged, against)}

    def _earned(self, release: Release, probabilities: Floats) -> Floats:
        return earned_per_user(self.labels, probabilities, release.threshold, self.campaign)

    def _auc(self, probabilities: Floats) -> Interval:
        return intervals(self.labels, probabilities, ("auc",), **self._draws)["auc"]

    def _auc_difference(self, judged: Floats, against: Floats) -> Interval:
        return paired_difference(self.labels, judged, against, "auc", **self._draws)

    def _mean(self, values: Floats) -> Interval:
        return mean_interval(values, **self._draws)

    @property
    def _draws(self) -> dict[str, Any]:
        return {"confidence": self.gate.confidence, "resamples": self.gate.resamples}


def tenure_only(judges: Judges) -> Floats:
    """Return what a model says that knows how long a user has been there, and nothing else.

    Where the contract names no such column, that is nothing: the same number for everybody.
    """
    from sklearn.linear_model import LogisticRegression

    tenure = CONTRACT.tenure
    if tenure is None or tenure not in judges.frame or judges.others[tenure].isna().all():
        return np.full(len(judges.labels), judges.labels.mean())

    def months(frame: "pd.DataFrame") -> Floats:
        known = frame[tenure].to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.isnan(known), middle, known).reshape(-1, 1)

    middle = float(judges.others[tenure].median())
    model = LogisticRegression().fit(
        months(judges.others), judges.others["churn_label"].astype(int)
    )
    return np.asarray(model.predict_proba(months(judges.frame))[:, 1])

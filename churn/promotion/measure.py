"""Measuring the evidence: both releases, as they would be served, on the hold-out users of one month."""

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
class Panel:
    """A month's hold-out users, on whom releases are judged: no model was ever trained on them.

    `others` are the users that models of this month are trained on, and `fingerprint` is that of the whole
    training set.
    """

    month: Month
    frame: "pd.DataFrame"
    labels: Labels
    others: "pd.DataFrame"
    fingerprint: str

    @property
    def has_one_class(self) -> bool:
        """Whether nobody left, or nobody stayed, among the users that models are trained on."""
        return bool(self.others["churn_label"].nunique() < 2)


def read_panel(month: Month) -> Panel:
    """Read the hold-out users of a month's training set, with their labels."""
    training_set = read_training_set(month)
    frame = with_every_feature(training_set.rows).to_pandas()
    held = is_holdout(frame["user_id"].to_numpy())
    chosen = frame[held].reset_index(drop=True)
    labels = chosen["churn_label"].to_numpy(dtype=np.int64)
    return Panel(month, chosen, labels, frame[~held], training_set.fingerprint)


def measure(
    panel: Panel,
    challenger: Release | None,
    champion: Release | None,
    registry: Registry,
    settings: Settings,
) -> Evidence:
    """Score both releases on the month's hold-out users, and compare them user by user.

    A failure to load their files raises. A failure of the arithmetic becomes the evidence's `problem`.
    """
    scores = {
        release.release_id: registry.probabilities(release, panel.frame)
        for release in (challenger, champion)
        if release
    }
    evidence = Evidence(
        month=str(panel.month),
        month_end=panel.month.as_of_date,
        rows=len(panel.labels),
        left=int(panel.labels.sum()),
        fingerprint=panel.fingerprint,
    )
    try:
        comparison = _Comparison(panel, settings)
        judged, before = (
            comparison.figures(challenger, scores),
            comparison.figures(champion, scores),
        )
        return replace(
            evidence,
            trigger=_trigger(before, settings),
            challenger=judged,
            champion=before,
            differences=comparison.differences(challenger, champion, scores),
        )
    except Exception as error:
        # Not hidden: the entry of the ledger says it.
        what = f"the evidence could not be made: {type(error).__name__}: {error}"
        return replace(evidence, problem=what)


def _trigger(champion: Figures | None, settings: Settings) -> Trigger:
    if champion is None:
        return "first release"
    is_below = champion.auc.estimate < settings.gate.auc_floor
    return "performance below floor" if is_below else "monthly"


class _Comparison:
    """The arithmetic over the users of one month, with the same draws for every figure."""

    def __init__(self, panel: Panel, settings: Settings) -> None:
        campaign = Campaign.of(settings.campaign)
        # The panel is a share of all users, and so is what may be spent on it.
        share = len(panel.labels) / (len(panel.labels) + len(panel.others))
        self.panel, self.labels = panel, panel.labels
        self.campaign = replace(campaign, budget=campaign.budget * share)
        self.gate = settings.gate

    def figures(self, release: Release | None, scores: Scores) -> Figures | None:
        """Return the figures of one release, if there is one."""
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
        """Return by how much the challenger exceeds the champion or, without one, what it must beat."""
        if challenger is None:
            return {}
        judged = scores[challenger.release_id]
        if champion is None:
            base_rate = np.full(len(self.labels), self.labels.mean())
            return {
                BASE_RATE: self._auc_difference(judged, base_rate),
                TENURE: self._auc_difference(judged, tenure_only(self.panel)),
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


def tenure_only(panel: Panel) -> Floats:
    """Return the probabilities of a model that knows nothing but how long a user has been there, [N].

    Where the contract names no such column, they are the churn rate for everybody.
    """
    from sklearn.linear_model import LogisticRegression

    tenure = CONTRACT.tenure
    if tenure is None or tenure not in panel.frame or panel.others[tenure].isna().all():
        return np.full(len(panel.labels), panel.labels.mean())

    def months(frame: "pd.DataFrame") -> Floats:
        known = frame[tenure].to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.isnan(known), middle, known).reshape(-1, 1)

    middle = float(panel.others[tenure].median())
    model = LogisticRegression().fit(months(panel.others), panel.others["churn_label"].astype(int))
    return np.asarray(model.predict_proba(months(panel.frame))[:, 1])

"""The canary: three planted leaks sing out, and clean worlds stay silent."""

import numpy as np
import pytest

from churn.contract.in_force import DEFAULT_SERVICE
from churn.errors import ChurnError
from churn.model.candidates import steady
from churn.model.fitted import Fitted
from churn.model.kinds import BOOSTING, LOGISTIC
from churn.model.rows import prepare
from churn.model.train import fit_baseline
from churn.verification.leaks import judge
from tests.kit.leaky_months import frame, label_copied, played, truth_of, usage_of_the_month_after

USERS = 1_500
CLEAN_SEEDS = range(20)


def forest(rows) -> Fitted:
    return fit_baseline(rows, DEFAULT_SERVICE, n_estimators=40)


def verdict_on(fitted: Fitted, month):
    truth = truth_of(month, fitted.holdout.index)
    return judge(fitted.labels, fitted.probabilities, truth)


def test_a_post_period_column_is_caught() -> None:
    _, month, after = played(USERS, 3, 0)
    verdict = verdict_on(forest(usage_of_the_month_after(month, after)), month)
    assert verdict.is_leak
    assert verdict.model_auc > verdict.truth_auc + 0.05
    assert "a leak" in str(verdict)


@pytest.mark.parametrize("wrong", [0.0, 0.1])
def test_a_label_copied_into_a_feature_is_caught(wrong: float) -> None:
    month = played(USERS, 3, 0)[1]
    assert verdict_on(forest(label_copied(month, wrong)), month).is_leak


def test_a_copy_that_is_wrong_half_the_time_is_no_leak() -> None:
    month = played(USERS, 3, 0)[1]
    assert not verdict_on(forest(label_copied(month, 0.5)), month).is_leak


@pytest.mark.parametrize("seed", CLEAN_SEEDS)
def test_clean_data_never_alarm(seed: int) -> None:
    month = played(1_000, 2, seed)[1]
    rows = prepare(frame(month), DEFAULT_SERVICE)
    truth = truth_of(month, rows.holdout.index)
    scores = [truth]  # the best that a model can be is no leak
    for kind in (LOGISTIC, BOOSTING):
        with steady(rows):
            pipeline = kind.new_pipeline(rows, kind.grid(len(rows.labels))[0]).fit(
                rows.features, rows.labels
            )
            scores.append(pipeline.predict_proba(rows.holdout)[:, 1])
    verdicts = [judge(rows.holdout_labels, each, truth) for each in scores]
    assert [verdict.is_leak for verdict in verdicts] == [False, False, False], verdicts


def test_models_as_good_as_the_truth_are_suspected_as_rarely_as_said() -> None:
    """The level of the test: a twin of the truth, of another error of the same size."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(400):
        log_odds = rng.normal(-1, 1.5, 300)
        labels = (rng.random(300) < 1 / (1 + np.exp(-log_odds))).astype(np.int64)
        twins = [log_odds + rng.normal(0, 0.7, 300) for _ in range(2)]
        alarms += judge(labels, twins[0], twins[1], confidence=0.95, resamples=300).is_leak
    assert 6 <= alarms <= 36  # 20 are due; four standard deviations


def test_what_cannot_be_judged_is_refused() -> None:
    some = np.array([0.1, 0.2])
    for labels, scores in (([0, 0], some), ([0, 1], np.array([0.1, np.nan]))):
        with pytest.raises(ChurnError):
            judge(np.array(labels), scores, some)

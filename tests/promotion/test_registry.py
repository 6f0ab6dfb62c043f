"""A version's explainer comes back as it was registered, or not at all."""

import numpy as np
import pytest

from churn.contract.in_force import DEFAULT_SERVICE, REGISTERED_MODEL
from churn.errors import ChurnError
from churn.mlflow_client import mlflow_client
from churn.model.arrays import Calibration
from churn.model.candidates import Candidate, fit_challenger
from churn.model.encode import onnx_inputs
from churn.model.fitted import Fitted, explainer_of
from churn.model.kinds import LOGISTIC
from churn.model.tracking import log_model_run
from churn.model.train import fit_baseline
from churn.promotion.registry import read_explainer
from churn.scoring.reasons import Explaining
from churn.settings import Settings
from tests.kit.fitted_models import small_world
from tests.kit.releases import JANUARY


def registered(fitted: Fitted) -> str:
    return log_model_run(fitted, month=JANUARY, fingerprint="f", lineage={}).version


def test_read_back_verified_or_none(mlflow_settings: Settings) -> None:
    baseline = fit_baseline(small_world(), DEFAULT_SERVICE, n_estimators=10)
    parameters = LOGISTIC.grid(200)[0]
    logistic = Candidate(
        LOGISTIC, DEFAULT_SERVICE, parameters, Calibration(0.9, 0.1), 0.7, 0.5, 0.2, 1.0
    )
    challenger = fit_challenger(logistic, baseline)
    assert read_explainer(registered(baseline)) is None

    version = registered(challenger)
    explainer = read_explainer(version)
    assert explainer is not None
    inputs = onnx_inputs(challenger.holdout, DEFAULT_SERVICE)
    kept, explainer_of_it = (
        Explaining(each).contributions(inputs) for each in (explainer, explainer_of(challenger))
    )
    np.testing.assert_array_equal(kept.values, explainer_of_it.values)

    mlflow_client().set_model_version_tag(REGISTERED_MODEL, version, "explainer_sha256", "0" * 64)
    with pytest.raises(ChurnError, match=r"explainer\.npz is not the one that was registered"):
        read_explainer(version)

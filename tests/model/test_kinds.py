"""A kind of model is one module and one line: one that nobody knows goes all the way of a candidate."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from churn.arrays import Floats
from churn.contract.in_force import SERVICES
from churn.contract.structure import Service
from churn.mlflow_client import mlflow_client
from churn.model import candidates
from churn.model import train as monthly
from churn.model.arrays import TreeModel, log_odds_of
from churn.model.encode import categories_of, columns_of, onnx_inputs, shares
from churn.model.fitted import Fitted
from churn.model.kinds import KINDS, LOGISTIC, Kind
from churn.model.kinds.forest import new_forest, trees_of_forest
from churn.model.onnx import TOLERANCE
from churn.model.rows import Rows
from churn.model.train import fit_baseline, train_models
from churn.months import Month
from churn.promotion.measure import measure, read_panel
from churn.promotion.registry import ReleaseRegistry, read_explainer, release_of
from churn.scoring.reasons import Explaining
from churn.settings import Settings, get_settings
from tests.kit.training_sets import JANUARY, put_all

FEBRUARY = JANUARY.shift(1)
USERS = 600


class Grove:
    """A few small trees: what a module of churn.model.kinds would hold."""

    name = "grove"
    model_type = "RandomForestClassifier"

    def grid(self, training_rows: int) -> list[dict[str, Any]]:
        return [{"max_leaf_nodes": 4}, {"max_leaf_nodes": 8}]

    def new_pipeline(self, rows: Rows, parameters: dict[str, Any]) -> Any:
        pipeline = new_forest(rows.service, n_estimators=9)
        pipeline["forest"].set_params(oob_score=False, **parameters)
        return pipeline

    def log_odds(self, estimator: Any, features: pd.DataFrame) -> Floats:
        return log_odds_of(estimator.predict_proba(features)[:, 1])

    def arrays(self, pipeline: Any, service: Service) -> TreeModel:
        trees = trees_of_forest(pipeline["forest"])
        return TreeModel(trees, categories_of(pipeline), is_share=True)

    def importances(self, pipeline: Any, rows: Rows) -> dict[str, float]:
        columns = columns_of(pipeline, rows.service, rows.service.numeric_cols)
        return shares(zip(columns, pipeline["forest"].feature_importances_, strict=True))


GROVE: Kind = Grove()


@pytest.fixture
def months(mlflow_settings: Settings) -> dict[Month, pd.DataFrame]:
    """January and February, as training sets on disk."""
    return put_all(USERS, 2)


def test_names_tell_kinds_apart() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_a_line_in_the_tuple_makes_a_candidate(
    fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "KINDS", (LOGISTIC, GROVE))
    judged = candidates.candidates(fitted)
    assert [each.kind for each in judged] == [LOGISTIC, GROVE]
    assert judged[-1].name == "grove on churn_rich"
    assert judged[-1].parameters in GROVE.grid(fitted.training_rows)
    assert np.isfinite(judged[-1].log_loss)
    assert judged[-1].auc > 0.5


def test_it_is_exported_explained_and_judged(
    months: dict[Month, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "KINDS", (GROVE,))  # so that it is the challenger
    monkeypatch.setattr(monthly, "fit_baseline", partial(fit_baseline, n_estimators=20))
    challenger = train_models(JANUARY).challenger
    assert challenger.kind == "grove"
    assert challenger.metrics["onnx_max_difference"] <= TOLERANCE
    assert challenger.report_png.startswith(b"\x89PNG")
    run = mlflow_client().get_run(
        mlflow_client().get_model_version("streamflow_churn", challenger.version).run_id
    )
    assert run.data.params["model_type"] == "RandomForestClassifier"
    assert run.data.params["max_leaf_nodes"] in {"4", "8"}

    release, panel = release_of(challenger.version), read_panel(FEBRUARY)
    assert release.candidate == "grove"
    registry = ReleaseRegistry()
    explainer = read_explainer(challenger.version)
    assert explainer is not None
    service = next(each for each in SERVICES if each.name == release.service)
    reasons = Explaining(explainer).contributions(onnx_inputs(panel.frame, service))
    share = reasons.values.sum(axis=1) + reasons.base  # noqa: PD011  (of our own class)
    np.testing.assert_allclose(
        explainer.calibration.probabilities(log_odds_of(share)),
        registry.probabilities(release, panel.frame),
        atol=1e-5,
    )

    evidence = measure(panel, release, None, registry, get_settings())
    assert evidence.problem == ""
    assert evidence.challenger is not None
    assert (evidence.challenger.candidate, evidence.challenger.release_id) == (
        "grove",
        release.release_id,
    )
    assert 0.5 < evidence.challenger.auc.estimate < 1

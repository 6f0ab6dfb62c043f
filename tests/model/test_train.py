import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from churn.contract.in_force import BASELINE, DEFAULT_SERVICE
from churn.errors import ChurnError
from churn.model.encode import model_frame, onnx_inputs
from churn.model.fitted import Fitted, to_onnx
from churn.model.kinds.forest import new_forest
from churn.model.onnx import TOLERANCE, open_session, score
from churn.model.plots import model_report_png
from churn.model.rows import is_holdout
from churn.model.train import fit_baseline
from churn.settings import get_settings


def test_the_baseline_s_pipeline_is_as_specified() -> None:
    pipeline = new_forest(BASELINE)
    forest = pipeline["forest"].get_params()
    assert (forest["n_estimators"], forest["random_state"]) == (300, 42)
    assert (forest["class_weight"], forest["max_features"]) == ("balanced", "sqrt")
    (name, encoder, columns) = pipeline["encode"].transformers[0]
    assert (name, encoder.handle_unknown, columns) == ("categorical", "ignore", ["net_service"])
    assert pipeline["encode"].remainder == "passthrough"


def test_nobody_held_out_is_trained_on(fitted: Fitted, world: pd.DataFrame) -> None:
    held = is_holdout(world["user_id"].to_numpy())
    assert fitted.holdout_rows == held.sum() == len(fitted.labels) == len(fitted.probabilities)
    assert fitted.training_rows == (~held).sum()
    assert list(fitted.holdout.index) == sorted(world["user_id"][held])
    assert fitted.pipeline["forest"].n_jobs == 1
    again = fitted.pipeline.predict_proba(fitted.holdout)[:, 1]
    assert again.tobytes() == fitted.probabilities.tobytes()
    assert 0.5 < fitted.metrics["auc"] <= 1
    assert fitted.train_time_sec > 0


@hypothesis_settings(max_examples=4, suppress_health_check=list(HealthCheck))
@given(order=st.integers(0, 2**32 - 1), n_jobs=st.integers(1, 3))
def test_order_and_threads_do_not_change_a_bit(
    order: int, n_jobs: int, fitted: Fitted, world: pd.DataFrame
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHURN_N_JOBS", str(n_jobs))
        get_settings.cache_clear()
        shuffled = world.sample(frac=1, random_state=order)
        again = fit_baseline(shuffled, DEFAULT_SERVICE, n_estimators=20)
    get_settings.cache_clear()
    assert again.probabilities.tobytes() == fitted.probabilities.tobytes()
    assert again.metrics == fitted.metrics
    assert to_onnx(again) == to_onnx(fitted)


def test_a_sample_is_fitted_above_the_limit(world: pd.DataFrame) -> None:
    fitted = fit_baseline(world, BASELINE, n_estimators=5, sample_limit=100)
    assert (fitted.rows, fitted.training_rows) == (300, 100)
    assert fitted.holdout_rows == is_holdout(world["user_id"].to_numpy()).sum()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda frame: frame[:0], "training rows: 0 users who left, 0 who stayed"),
        (lambda frame: frame.assign(churn_label=False), "training rows: 0 users who left"),
        (lambda frame: frame[~is_holdout(frame["user_id"])], "hold-out rows: 0 users who left"),
        (lambda frame: pd.concat([frame, frame[:2]]), "users are repeated: 0000-00000, 0001-00000"),
    ],
)
def test_what_cannot_be_judged_is_refused(change, problem: str, world: pd.DataFrame) -> None:
    with pytest.raises(ChurnError, match=problem):
        fit_baseline(change(world), BASELINE, n_estimators=1)


def test_importances_are_per_feature(fitted: Fitted) -> None:
    shares = fitted.importances
    assert set(shares) == set(DEFAULT_SERVICE.feature_names)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["add_on_backup"] == 0
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_the_picture_is_the_same_each_time(fitted: Fitted) -> None:
    png = model_report_png(fitted, "2024-01")
    assert png.startswith(b"\x89PNG")
    assert png == model_report_png(fitted, "2024-01")


def test_the_real_drop(drop: pd.DataFrame) -> None:
    fitted = fit_baseline(drop, BASELINE)
    shown = {name: round(fitted.metrics[name], 4) for name in ("auc", "f1", "accuracy")}
    print(f"{len(drop)} rows, {fitted.holdout_rows} held out: {shown}")  # noqa: T201
    assert len(drop) == 7043
    assert 0.80 <= fitted.metrics["auc"] <= 0.85
    assert np.isfinite(list(fitted.metrics.values())).all()
    expected = fitted.pipeline.predict_proba(model_frame(drop, BASELINE))[:, 1]
    served = score(open_session(to_onnx(fitted)), onnx_inputs(drop, BASELINE))
    assert np.abs(served - expected).max() < TOLERANCE / 5

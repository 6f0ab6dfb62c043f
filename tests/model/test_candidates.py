"""The candidates: judged on users they have not seen, calibrated, served as they were fitted, explained."""

import dataclasses
from typing import Any

import mlflow as mlflow_package
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from threadpoolctl import threadpool_info, threadpool_limits

from churn.arrays import Floats
from churn.contract.in_force import BASELINE, DEFAULT_SERVICE
from churn.contract.structure import Service
from churn.errors import ChurnError
from churn.evaluation.metrics import evaluate
from churn.evaluation.money import Campaign, profit_threshold
from churn.mlflow_client import mlflow_client
from churn.model import candidates as module
from churn.model.arrays import Calibration, fit_calibration
from churn.model.candidates import best, candidates, fit_challenger, out_of_fold
from churn.model.encode import onnx_inputs
from churn.model.fitted import (
    EXPLAINER_PATH,
    Explainer,
    Fitted,
    explainer_of,
    to_onnx,
)
from churn.model.kinds import BOOSTING, KINDS, LOGISTIC, Kind
from churn.model.kinds.boosting import Boosting
from churn.model.kinds.forest import out_of_bag
from churn.model.onnx import open_session, score
from churn.model.plots import model_report_png
from churn.model.rows import FEW_ROWS, prepare
from churn.model.tracking import log_model_run
from churn.model.train import fit_baseline
from churn.months import Month
from churn.scoring.reasons import Explaining
from tests.kit.fitted_models import small_candidates, small_challengers, small_world
from tests.kit.streamflow import SUPPORT_AGG

TINY = Service("tiny", (SUPPORT_AGG,), "")
NAMES = [kind.name for kind in KINDS]
TUNED = [LOGISTIC, BOOSTING]


@pytest.fixture(scope="session")
def challengers() -> dict[str, Fitted]:
    return small_challengers()


def off_by(fitted: Fitted, frame: pd.DataFrame) -> float:
    assert fitted.calibration is not None
    from churn.model.encode import model_frame

    encoded = model_frame(frame, fitted.service)
    raw = fitted.kind.log_odds(fitted.pipeline, encoded)
    scores = score(open_session(to_onnx(fitted)), onnx_inputs(frame, fitted.service))
    return float(np.abs(scores - fitted.calibration.probabilities(raw)).max(initial=0.0))


@pytest.mark.parametrize("kind", NAMES)
def test_what_is_served_is_what_was_fitted(
    kind: str, challengers: dict[str, Fitted], world: pd.DataFrame
) -> None:
    odd = world[:3].assign(net_service=["Carrier pigeon", "", None]).astype(object)
    blank = world[:1].assign(**dict.fromkeys(DEFAULT_SERVICE.feature_names)).astype(object)
    assert off_by(challengers[kind], pd.concat([world.astype(object), odd, blank])) < 2e-6


@hypothesis_settings(max_examples=20)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(8, 40), st.just(2)),
        elements=st.one_of(
            st.floats(-1e6, 1e6, width=32), st.sampled_from([np.nan, -0.0, 0.0, 1.0, 1e-38])
        ),
    ),
    st.sampled_from(TUNED),
    st.randoms(use_true_random=False),
)
def test_any_numbers_score_alike(values, kind, random) -> None:
    values[0] = np.nan_to_num(values[0])  # a column that nobody knows cannot be boosted on
    frame = pd.DataFrame(values, columns=TINY.numeric_cols)
    labels = [0, 1, *(random.randrange(2) for _ in values[2:])]
    users = [f"u{n}" for n in range(len(values))]
    rows = prepare_all(frame.assign(user_id=users, churn_label=labels))
    parameters = {**kind.grid(40)[0]} | ({"min_samples_leaf": 2} if kind is BOOSTING else {})
    pipeline = kind.new_pipeline(rows, parameters).fit(rows.features, rows.labels)
    fitted = Fitted(kind, rows, pipeline, np.empty(0), {}, 0.0, Calibration(1.1, -0.2))
    beside = [np.nextafter(values, np.float32(to)) for to in (-np.inf, np.inf)]
    judged = pd.DataFrame(np.concatenate([values, *beside]), columns=frame.columns)
    assert off_by(fitted, judged) < 2e-6


def prepare_all(frame: pd.DataFrame):
    """Rows of which nobody is held out."""
    from churn.model.encode import model_frame
    from churn.model.rows import Rows

    encoded = model_frame(frame, TINY).set_axis(frame["user_id"])
    labels = frame["churn_label"].to_numpy(np.int64)
    return Rows(TINY, len(frame), encoded, labels, encoded[:0], labels[:0])


def test_the_candidates_are_judged_on_training_users_they_have_not_seen(fitted: Fitted) -> None:
    held = set(fitted.holdout.index)
    assert held.isdisjoint(fitted.data.features.index)
    share = 1 / (1 + np.exp(-out_of_bag(fitted.pipeline)))
    assert len(share) == fitted.training_rows
    in_bag = fitted.pipeline.predict_proba(fitted.data.features)[:, 1]
    labels = fitted.data.labels
    seen = np.isfinite(share)
    honest = evaluate(labels[seen], share[seen], 0.5)["auc"]
    assert honest < evaluate(labels, in_bag, 0.5)["auc"] - 0.1  # what it was fitted on, it knows


@pytest.mark.parametrize("kind", TUNED, ids=lambda kind: kind.name)
def test_noise_is_not_learned_out_of_fold(kind, world: pd.DataFrame) -> None:
    shuffled = world.assign(churn_label=world["churn_label"].sample(frac=1, random_state=1).values)
    rows = prepare(shuffled, DEFAULT_SERVICE)
    [raw] = out_of_fold(kind, rows, kind.grid(len(rows.labels))[:1])
    assert evaluate(rows.labels, 1 / (1 + np.exp(-raw)), 0.5)["auc"] == pytest.approx(0.5, abs=0.12)


def test_the_same_rows_give_the_same_candidates(
    challengers: dict[str, Fitted], world: pd.DataFrame
) -> None:
    again = fit_baseline(world.sample(frac=1, random_state=3), DEFAULT_SERVICE, n_estimators=20)
    for one, other in zip(small_candidates(), candidates(again), strict=True):
        assert dataclasses.replace(one, seconds=0.0) == dataclasses.replace(other, seconds=0.0)
        assert to_onnx(challengers[one.kind.name]) == to_onnx(fit_challenger(other, again))


def test_the_challenger_is_the_one_of_least_log_loss(fitted: Fitted) -> None:
    judged = [*small_candidates()]
    chosen = best(judged)
    assert chosen.log_loss == min(each.log_loss for each in judged)
    threshold = profit_threshold(Campaign())
    challenger = fit_challenger(chosen, fitted)
    assert challenger.threshold == threshold
    assert challenger.metrics == evaluate(challenger.labels, challenger.probabilities, threshold)


def test_calibration_recovers_the_truth() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(-1, 1.5, 50_000)
    labels = (rng.random(len(truth)) < 1 / (1 + np.exp(-truth))).astype(np.int64)
    calibration = fit_calibration((truth - 0.7) / 2, labels)  # squeezed and shifted
    assert (calibration.slope, calibration.intercept) == (
        pytest.approx(2, rel=0.05),
        pytest.approx(0.7, abs=0.05),
    )
    useless = fit_calibration(-truth, labels)
    assert useless.slope == 0
    assert useless.probabilities(truth)[0] == pytest.approx(labels.mean())


@pytest.mark.parametrize(
    ("raw", "labels"), [([np.nan, 1.0], [0, 1]), ([np.inf, 1.0], [0, 1]), ([0.5, 1.0], [1, 1])]
)
def test_what_cannot_be_calibrated_is_refused(raw: list[float], labels: list[int]) -> None:
    with pytest.raises(ChurnError):
        fit_calibration(np.array(raw), np.array(labels))


def test_a_few_thousand_rows_are_fitted_and_judged_by_one_thread(
    fitted: Fitted,
) -> None:
    seen: list[int] = []

    class Watched(Boosting):
        def log_odds(self, estimator: Any, features: Any) -> Floats:
            seen.extend(pool["num_threads"] for pool in threadpool_info())
            return super().log_odds(estimator, features)

    with threadpool_limits(2):  # as many as the machine would take
        fit_challenger(module.tuned(Watched(), fitted.data), fitted)
    assert set(seen) == {1}


@pytest.mark.parametrize("kind", TUNED, ids=lambda kind: kind.name)
def test_a_grid_is_judged_as_each_of_its_parameters_alone(kind: Kind, fitted: Fitted) -> None:
    grid = kind.grid(FEW_ROWS + 1)
    together = out_of_fold(kind, fitted.data, grid)
    alone = [raw for each in grid for raw in out_of_fold(kind, fitted.data, [each])]
    assert [raw.tobytes() for raw in together] == [raw.tobytes() for raw in alone]
    assert len({raw.tobytes() for raw in together}) == len(grid) == 2


def test_larger_trees_are_tried_where_rows_are_many() -> None:
    grids = (BOOSTING.grid(FEW_ROWS), BOOSTING.grid(FEW_ROWS + 1))
    leaves = [[each["max_leaf_nodes"] for each in grid] for grid in grids]
    assert leaves == [[4], [4, 8]]
    assert LOGISTIC.grid(FEW_ROWS) == LOGISTIC.grid(FEW_ROWS + 1)


def test_too_few_for_folds_is_said(world: pd.DataFrame) -> None:
    rows = prepare(world, BASELINE)
    one = dataclasses.replace(rows, labels=np.array([1, *np.zeros(len(rows.labels) - 1, int)]))
    with pytest.raises(ChurnError, match="folds need two"):
        out_of_fold(LOGISTIC, one, LOGISTIC.grid(len(one.labels)))


@pytest.mark.parametrize("kind", NAMES)
def test_the_explainer_survives_its_file(kind: str, challengers: dict[str, Fitted]) -> None:
    explainer = explainer_of(challengers[kind])
    written = explainer.write()
    read = Explainer.read(written)
    assert read.write() == written
    assert (read.usual, read.calibration) == (explainer.usual, explainer.calibration)
    assert (read.trees is None) == (kind == "logistic")
    if read.additive:
        inputs = onnx_inputs(challengers[kind].holdout, DEFAULT_SERVICE)
        raw = LOGISTIC.log_odds(challengers[kind].pipeline, challengers[kind].holdout)
        np.testing.assert_allclose(read.additive.log_odds(inputs), raw, atol=1e-9)


@pytest.mark.parametrize("kind", NAMES)
def test_importances_and_pictures(kind: str, challengers: dict[str, Fitted]) -> None:
    shares = challengers[kind].importances
    assert set(shares) == set(DEFAULT_SERVICE.feature_names)
    assert sum(shares.values()) == pytest.approx(1)
    assert model_report_png(challengers[kind], kind).startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", NAMES)
def test_a_challenger_is_registered_and_can_be_loaded(
    kind: str, challengers: dict[str, Fitted], mlflow: str
) -> None:
    challenger = challengers[kind]
    tracked = log_model_run(
        challenger, month=Month.parse("2024-01"), fingerprint=f"candidates-{kind}", lineage={}
    )
    assert (tracked.tags["role"], tracked.tags["candidate"]) == ("challenger", kind)
    client = mlflow_client()
    run = client.get_run(tracked.run_id)
    assert run.info.run_name == "challenger_2024-01-31"
    assert float(run.data.params["calibration_slope"]) == challenger.calibration.slope
    assert any(f.path == EXPLAINER_PATH for f in client.list_artifacts(tracked.run_id))
    loaded = mlflow_package.pyfunc.load_model(f"models:/streamflow_churn/{tracked.version}")
    inputs = onnx_inputs(challenger.holdout, challenger.service)
    probabilities = loaded.predict(
        {"categorical": inputs["categorical"], "numeric": inputs["numeric"]}
    )
    np.testing.assert_allclose(
        probabilities["probability"][:, 0], challenger.probabilities, atol=1e-6
    )


@pytest.mark.parametrize(("service", "goal"), [(BASELINE, 0.828), (DEFAULT_SERVICE, 0.841)])
def test_the_real_drop_s_best_reaches_its_goal(
    service: Service, goal: float, drop: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Everybody is a training user here: the figure is the cross-validated one of the whole drop.
    from churn.model.encode import model_frame
    from churn.model.rows import Rows

    rows = drop.sort_values("user_id")
    labels = rows["churn_label"].to_numpy(np.int64)
    features = model_frame(rows, service).set_axis(pd.Index(rows["user_id"]))
    everybody = Rows(service, len(rows), features, labels, features[:0], labels[:0])
    by_kind = {kind.name: module.tuned(kind, everybody) for kind in TUNED}
    shown = {kind: round(each.auc, 4) for kind, each in by_kind.items()}
    print(f"{service.name}: 5-fold AUC {shown}")  # noqa: T201
    assert max(each.auc for each in by_kind.values()) >= goal


BLANK = ("failed_payments_90d", "monthly_fee", "total_paid", "net_service", "user_is_senior")


def test_columns_that_a_company_does_not_have_stop_no_kind_of_model() -> None:
    without = small_world(300).assign(**dict.fromkeys(BLANK))
    baseline = fit_baseline(without, DEFAULT_SERVICE, n_estimators=10)
    filled = small_world(50, seed=1)  # and a later month may have them after all
    for each in candidates(baseline):
        fitted = fit_challenger(each, baseline)
        assert off_by(fitted, pd.concat([without, filled]).astype(object)) < 2e-6
        explainer = Explainer.read(explainer_of(fitted).write())
        assert not any(explainer.usual[name] for name in BLANK)
        contributions = Explaining(explainer).contributions(onnx_inputs(filled, DEFAULT_SERVICE))
        assert np.isfinite(contributions.values).all()

"""The one ONNX writer: the same splits, the same probabilities, whatever floats come."""

from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from churn.arrays import Floats32
from churn.contract.in_force import DEFAULT_SERVICE
from churn.contract.structure import Service, View
from churn.errors import ChurnError
from churn.model.arrays import Calibration
from churn.model.encode import FeatureSchema, model_frame, onnx_inputs, onnx_inputs_of_rows
from churn.model.fitted import Fitted, to_onnx
from churn.model.kinds import BOOSTING, FOREST
from churn.model.kinds.forest import new_forest
from churn.model.onnx import TOLERANCE, floor32, open_session, score, write_onnx
from churn.model.train import fit_baseline
from tests.kit.streamflow import SUPPORT_AGG, USERS_PROFILE

FLOAT32 = st.floats(width=32, allow_nan=False)
# Two columns, no category: every split is about a float32.
TINY = Service("tiny", (SUPPORT_AGG,), "")


def written(pipeline: Any, service: Service) -> bytes:
    """A fitted forest as the baseline's is served."""
    return write_onnx(FOREST.arrays(pipeline, service), service, None)


def max_difference(pipeline: Any, onnx_file: bytes, frame: pd.DataFrame, service: Service) -> float:
    """How far the ONNX model is from the pipeline, at worst."""
    expected = pipeline.predict_proba(model_frame(frame, service))[:, 1]
    scored = score(open_session(onnx_file), onnx_inputs(frame, service))
    return float(np.abs(scored - expected).max(initial=0.0))


@given(st.floats(-1e38, 1e38), FLOAT32)
def test_floor32_splits_every_float32_alike(threshold: float, x: float) -> None:
    floor = floor32(np.array([threshold]))[0]
    assert (np.float32(x) <= floor) == (x <= threshold)
    for near in (floor, np.nextafter(floor, np.float32(np.inf))):
        assert (near <= floor) == (float(near) <= threshold)


def test_floor32_keeps_the_infinities() -> None:
    infinities = np.array([-np.inf, np.inf, 0.0])
    assert floor32(infinities).tolist() == infinities.tolist()


def test_a_valid_onnx_model(fitted: Fitted) -> None:
    model = onnx.load_from_string(to_onnx(fitted))
    onnx.checker.check_model(model, full_check=True)
    shapes = {
        value.name: [d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    assert shapes == {"categorical": ["N", 3], "numeric": ["N", 21], "probability": ["N", 1]}


def test_every_user_gets_the_pipelines_probability(fitted: Fitted, world: pd.DataFrame) -> None:
    assert max_difference(fitted.pipeline, to_onnx(fitted), world, DEFAULT_SERVICE) < 1e-6


def test_unknown_categories_and_all_unknown_rows(fitted: Fitted, world: pd.DataFrame) -> None:
    odd = world[:3].assign(net_service=["Carrier pigeon", "", None])
    blank = world[:1].assign(**dict.fromkeys(DEFAULT_SERVICE.feature_names))
    rows = pd.concat([odd.astype(object), blank.astype(object)])
    file = to_onnx(fitted)
    assert max_difference(fitted.pipeline, file, rows, DEFAULT_SERVICE) < 1e-6
    by_row = onnx_inputs_of_rows(
        [dict.fromkeys(DEFAULT_SERVICE.feature_names)], FeatureSchema.of(DEFAULT_SERVICE)
    )
    by_frame = score(open_session(file), onnx_inputs(blank, DEFAULT_SERVICE))
    assert score(open_session(file), by_row).tolist() == by_frame.tolist()


def test_values_at_and_beside_every_threshold(fitted: Fitted, world: pd.DataFrame) -> None:
    rows = model_frame(world, DEFAULT_SERVICE)
    thresholds: dict[int, set[float]] = {}
    for tree in fitted.pipeline["forest"].estimators_:
        # A split of known from unknown is at infinity, which is no value of a feature.
        inner = (tree.tree_.children_left >= 0) & np.isfinite(tree.tree_.threshold)
        for at, value in zip(tree.tree_.feature[inner], tree.tree_.threshold[inner], strict=True):
            thresholds.setdefault(int(at), set()).add(float(value))
    first_numeric = len(fitted.pipeline["encode"].get_feature_names_out()) - len(
        DEFAULT_SERVICE.numeric_cols
    )
    for at, name in enumerate(DEFAULT_SERVICE.numeric_cols):
        exact = np.array(sorted(thresholds.get(first_numeric + at, {0.0})), dtype=np.float32)
        near = [exact, *(np.nextafter(exact, np.float32(to)) for to in (-np.inf, np.inf))]
        rows[name] = np.resize(np.concatenate(near), len(rows))
    assert max_difference(fitted.pipeline, to_onnx(fitted), rows, DEFAULT_SERVICE) < 1e-6


@hypothesis_settings(max_examples=60)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(2, 30), st.just(2)),
        elements=st.one_of(
            st.floats(-(2.0**100), 2.0**100, width=32),
            st.sampled_from([np.nan, -0.0, 0.0, 1e-45, -1e-45, 1e-38, 16777217.0]),
            st.sampled_from([float(np.nextafter(np.float32(1), np.float32(2))), 1.0]),
        ),
    ),
    st.randoms(use_true_random=False),
)
def test_any_floats_fall_on_the_same_side(values: Floats32, random) -> None:
    frame = pd.DataFrame(values, columns=TINY.numeric_cols)
    labels = np.array([0, 1, *(random.randrange(2) for _ in values[2:])])
    pipeline = new_forest(TINY, n_estimators=5).fit(frame, labels)
    beside = [np.nextafter(values, np.float32(to)) for to in (-np.inf, np.inf)]
    rows = pd.DataFrame(np.concatenate([values, *beside, -values]), columns=frame.columns)
    assert max_difference(pipeline, written(pipeline, TINY), rows, TINY) < 1e-6


def test_a_tree_that_is_one_leaf() -> None:
    frame = pd.DataFrame({name: np.ones(20, np.float32) for name in TINY.numeric_cols})
    pipeline = new_forest(TINY, n_estimators=3).fit(frame, np.arange(20) % 2)
    assert [tree.tree_.node_count for tree in pipeline["forest"].estimators_] == [1, 1, 1]
    assert max_difference(pipeline, written(pipeline, TINY), frame, TINY) < 1e-6


def test_categories_only(world: pd.DataFrame) -> None:
    gender = USERS_PROFILE.features[0]
    only = Service("only", (View("only_fv", USERS_PROFILE.table, (gender,)),), "")
    fitted = fit_baseline(world, only, n_estimators=3)
    assert onnx_inputs(world, only)["numeric"].shape == (300, 0)
    assert max_difference(fitted.pipeline, to_onnx(fitted), world, only) < 1e-6


def test_no_rows_and_the_unit_interval(fitted: Fitted, world: pd.DataFrame) -> None:
    session = open_session(to_onnx(fitted))
    assert score(session, onnx_inputs(world[:0], DEFAULT_SERVICE)).shape == (0,)
    scores = score(session, onnx_inputs(world, DEFAULT_SERVICE))
    assert 0 <= scores.min() <= scores.max() <= 1


def test_a_wrong_model_is_seen(fitted: Fitted, world: pd.DataFrame) -> None:
    other = fit_baseline(world, DEFAULT_SERVICE, n_estimators=3)
    assert max_difference(other.pipeline, to_onnx(fitted), world, DEFAULT_SERVICE) > TOLERANCE


def test_the_real_drop(drop: pd.DataFrame) -> None:
    """The richer service's; the baseline's is fitted, and asked the same, by test_baseline.py."""
    fitted = fit_baseline(drop, DEFAULT_SERVICE)
    difference = max_difference(fitted.pipeline, to_onnx(fitted), drop, DEFAULT_SERVICE)
    assert difference < TOLERANCE / 5


def test_log_odds_are_never_written_as_probabilities(fitted: Fitted) -> None:
    rows = fitted.data
    pipeline = BOOSTING.new_pipeline(rows, BOOSTING.grid(1)[0]).fit(rows.features, rows.labels)
    arrays = BOOSTING.arrays(pipeline, DEFAULT_SERVICE)
    with pytest.raises(ChurnError, match="no probabilities without a calibration"):
        write_onnx(arrays, DEFAULT_SERVICE, None)
    assert write_onnx(arrays, DEFAULT_SERVICE, Calibration(1.0, 0.0))

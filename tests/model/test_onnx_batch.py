"""Scoring in blocks: the bits of each row alone, in whatever order, block or thread it is scored."""

import numpy as np
import onnx
import pytest

from churn.contract.in_force import DEFAULT_SERVICE
from churn.model import onnx as batch
from churn.model import onnx as onnx_graph
from churn.model.encode import Inputs, onnx_inputs
from churn.model.fitted import to_onnx
from churn.model.kinds import KINDS
from churn.model.onnx import TOLERANCE, open_session, score, score_in_blocks
from churn.model.train import fit_baseline
from tests.kit.fitted_models import small_baseline, small_challengers, small_world

USERS = 300


@pytest.fixture(scope="module")
def onnx_files() -> dict[str, bytes]:
    """The file of each kind of challenger, and of the contract's baseline."""
    challengers = {kind: to_onnx(fitted) for kind, fitted in small_challengers().items()}
    return {"baseline": to_onnx(small_baseline()), **challengers}


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return onnx_inputs(small_world(USERS, seed=5), DEFAULT_SERVICE)


def rows(inputs: Inputs, chosen: slice) -> Inputs:
    return {name: values[chosen] for name, values in inputs.items()}


@pytest.mark.parametrize("kind", ["baseline", *(kind.name for kind in KINDS)])
@pytest.mark.parametrize("threads", [1, 3])
def test_every_row_has_the_bits_that_the_api_answers(
    kind: str,
    threads: int,
    onnx_files: dict[str, bytes],
    inputs: Inputs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch, "BLOCK_ROWS", 64)
    session = open_session(onnx_files[kind])
    in_blocks = score_in_blocks(session, inputs, threads)
    alone = [score(session, rows(inputs, slice(at, at + 1)))[0] for at in range(USERS)]
    np.testing.assert_array_equal(in_blocks, np.array(alone, dtype=np.float32))


def test_a_large_forest_is_several_ensembles_and_gives_the_same(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    baseline = fit_baseline(small_world(400), DEFAULT_SERVICE, n_estimators=40)
    whole = score(open_session(to_onnx(baseline)), inputs)
    monkeypatch.setattr(onnx_graph, "ENSEMBLE_NODES", 500)
    written = to_onnx(baseline)
    operators = [node.op_type for node in onnx.load_from_string(written).graph.node]
    assert operators.count("TreeEnsemble") > 3
    session = open_session(written)
    np.testing.assert_allclose(score(session, inputs), whole, atol=TOLERANCE / 5)
    alone = [score(session, rows(inputs, slice(at, at + 1)))[0] for at in range(USERS)]
    np.testing.assert_array_equal(score_in_blocks(session, inputs, 2), np.float32(alone))


def test_no_rows_have_no_scores(onnx_files: dict[str, bytes], inputs: Inputs) -> None:
    session = open_session(onnx_files["boosting"])
    assert score_in_blocks(session, rows(inputs, slice(0)), 2).shape == (0,)

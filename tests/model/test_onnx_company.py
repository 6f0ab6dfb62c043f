"""A user's probability is theirs alone: whoever is scored beside them does not move a bit of it."""

import numpy as np
import pytest

from churn.contract.in_force import DEFAULT_SERVICE
from churn.model.encode import onnx_inputs_of_rows
from churn.model.fitted import Fitted, to_onnx
from churn.model.kinds import KINDS
from churn.model.onnx import open_session, score
from tests.kit.fitted_models import small_baseline, small_challengers, small_world


@pytest.fixture(scope="module")
def models() -> dict[str, Fitted]:
    return {"baseline": small_baseline(), **small_challengers()}


@pytest.mark.parametrize("kind", ["baseline", *(kind.name for kind in KINDS)])
def test_alone_and_in_company_are_the_same_bits(kind: str, models: dict[str, Fitted]) -> None:
    session = open_session(to_onnx(models[kind]))
    frame = small_world(1000, seed=3)[DEFAULT_SERVICE.feature_names].astype(object)
    rows = frame.where(frame.notna(), None).to_dict("records")
    alone = np.concatenate(
        [score(session, onnx_inputs_of_rows([row], DEFAULT_SERVICE)) for row in rows]
    )
    for size in (2, 7, 64, 1000):
        batches = [rows[at : at + size] for at in range(0, len(rows), size)]
        scores = np.concatenate(
            [score(session, onnx_inputs_of_rows(b, DEFAULT_SERVICE)) for b in batches]
        )
        assert scores.tobytes() == alone.tobytes()

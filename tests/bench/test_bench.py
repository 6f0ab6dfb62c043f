from dataclasses import replace
from pathlib import Path

import pytest

from bench import (
    batch_scoring,
    contract_change,
    core,
    growth,
    http_features,
    http_predict,
    ingest,
    online,
    online_reads,
    publish,
    reasons,
    training_set,
)
from bench.world import Sizes, World
from churn.contract.in_force import TABLES
from churn.model.kinds import KINDS
from churn.model.onnx import TOLERANCE

HTTP = Sizes(base_users=400, runs=1, warm_ups=0, months=1, seconds=2.0)  # peers are slow
TINY = Sizes(months=1, base_users=400, users=400, runs=1, warm_ups=0, seconds=0.2)


def quiet(text: str) -> None:
    """Say nothing."""


@pytest.mark.peers
def test_a_publication_and_its_peers_leave_the_same_rows_and_read_alike(world: World) -> None:
    [published] = publish.measure(world, TINY, quiet)
    assert list(published.beside) == [publish.COPY, online.FEAST]
    assert published.more["reads_meanwhile"].median > 0
    for count in ("failed_reads", "reads_back_in_time"):
        assert published.more[count].median == 0
    rows = online_reads.measure(world, TINY, quiet)
    assert [list(row.beside) for row in rows] == [
        [online_reads.SELECT, online.FEAST, online_reads.OURS_IN_FEAST]
    ] * 2


def test_ingest_and_the_bare_copy_leave_the_same_rows_within_a_bound_of_memory(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "FULL_USERS", 300)
    monkeypatch.setattr(ingest, "MANY_USERS", 600)
    speed, memory = ingest.measure(world, replace(TINY, full=True), quiet)
    files = f"{len(TABLES)} files"
    assert (speed.size, memory.size) == (f"1,800 rows, {files}", f"3,600 rows, {files}")
    assert list(speed.beside) == [ingest.COPY, ingest.KEYS_LAST]
    assert min(speed.ours.median, *(peer.median for peer in speed.beside.values())) > 0
    [goal] = memory.goals
    assert (goal.bound, goal.met) == (ingest.MANY_MB, True)
    assert 50 < memory.ours.median < ingest.MANY_MB


@pytest.mark.peers
def test_every_join_gives_the_same_training_rows(world: World) -> None:
    """The short form is tests/lake/test_point_in_time.py: our join against looking at every row."""
    some, every = training_set.measure(world, TINY, quiet)
    assert some.size == "400 rows of 12 months x 100 users"
    assert every.size == "4,800 rows of 12 months x 400 users"
    assert [*some.beside] == [training_set.ASOF, training_set.DUCKDB, training_set.POSTGRES]
    assert [*every.beside] == [training_set.ASOF]
    assert some.peak_mb[training_set.OURS] > 0
    assert (len(some.goals), len(every.goals)) == (4, 2)


def test_the_scores_of_the_served_file_are_those_of_scikit_learn(tmp_path: Path) -> None:
    """The short form of the next test, in this process."""
    batch_scoring.prepare(tmp_path, 300, 150, TINY.seed)
    for kind in batch_scoring.SCORED:
        batch_scoring.open_ours(tmp_path, kind.name)
        ours = batch_scoring.score_ours()
        batch_scoring.open_sklearn(tmp_path, kind.name)
        assert ours == pytest.approx(batch_scoring.score_sklearn(), rel=0, abs=TOLERANCE)
        assert len(ours) == 300


@pytest.mark.peers
def test_batch_scores_are_those_of_scikit_learn(world: World) -> None:
    rows = batch_scoring.measure(world, replace(TINY, users=1_500), quiet)
    assert [row.name for row in rows] == [
        f"batch scoring, {kind.name}" for kind in batch_scoring.SCORED
    ]
    assert {row.size for row in rows} == {"1,500 users, fitted on 300"}
    assert all(row.ratio is not None and len(row.goals) == 3 for row in rows)


@pytest.mark.peers
def test_reasons_are_named_for_each_kind_of_challenger(world: World) -> None:
    """The short form is tests/scoring/test_reasons.py: Shapley values by hand, and sums for each kind."""
    rows = reasons.measure(world, TINY, quiet)
    assert [row.name for row in rows] == [f"reason codes, {kind.name}" for kind in KINDS]
    assert {row.unit for row in rows} == {"s per 10,000 users"}
    assert all(row.ours.median > 0 < row.more["open_s"].median for row in rows)
    beside = {row.name: list(row.beside) for row in rows}
    assert beside["reason codes, logistic"] == []
    assert (
        beside["reason codes, boosting"] == beside["reason codes, shallow forest"] == [reasons.SHAP]
    )


@pytest.mark.peers
def test_features_over_http_beside_feast_and_a_constant(world: World) -> None:
    [row] = http_features.measure(world, HTTP, quiet)
    assert list(row.beside) == [http_features.FEAST, http_features.CONSTANT]
    assert row.ratio is not None
    assert row.more["generator_ceiling_per_s"].median > 0
    assert len(row.goals) == 2


@pytest.mark.peers
def test_predictions_over_http_beside_the_usual_way(world: World) -> None:
    [row] = http_predict.measure(world, HTTP, quiet)
    assert list(row.beside) == [http_predict.USUAL]
    assert row.ratio is not None
    # An open loop sends what is due, however slow the answers are: the count is right to one request.
    assert row.more["half_load_per_s"].median == pytest.approx(row.ours.median / 2, abs=1)
    assert len(row.goals) == 3


@pytest.mark.peers
def test_growth_has_an_exponent_for_each_stage(world: World) -> None:
    rows = growth.measure(world, replace(TINY, users=2_000), quiet)
    assert [row.name for row in rows] == [f"growth: {name}" for name in core.TO_TRAINING_SET]
    assert {row.size for row in rows} == {"140 to 1,400 users"}
    assert growth.growth_png([row.record() for row in rows]).startswith(b"\x89PNG")


@pytest.mark.peers
def test_every_request_is_answered_while_the_contract_grows(world: World) -> None:
    [row] = contract_change.measure(world, HTTP, quiet)
    assert "7 changes and a publication" in row.size
    assert list(row.beside) == [contract_change.NOTHING]
    assert (row.more["failed"].median, row.more["mixed_answers"].median) == (0, 0)
    assert row.more["answers_compared"].median > 0

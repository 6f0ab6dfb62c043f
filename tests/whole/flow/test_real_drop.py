"""The drop from outside, as it arrives and shuffled: the same training set to the last bit."""

import random
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from churn.contract.in_force import BASELINE, LABELS, TABLES
from churn.deliveries import DeliveryOutcome
from churn.lake.files import lake_file
from churn.mlflow_client import mlflow_client
from churn.training.dataset import TrainingSet, build_training_set, read_training_set
from churn.warehouse.raw import load_raw
from churn.warehouse.snapshots import build_snapshot
from churn_assets.run import JobResult
from tests.kit.close_month import close
from tests.kit.states import JANUARY, Fresh, State, champion_month, entered, versions
from tests.kit.streamflow import SUBS_PROFILE

USERS, WITHOUT_INTERNET = 7043, 1526


@dataclass
class Built:
    """What became of the drop in one state."""

    state: State
    close: JobResult
    train: JobResult
    metrics: dict[str, float]  # of the baseline
    training_set: TrainingSet
    unknown: tuple[int, int]  # plan_stream_tv in the lake, in the training set
    champion: str | None


@pytest.fixture(scope="module")
def shuffled(real_drop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shuffled")
    order = random.Random(7)  # noqa: S311  (nothing secret)
    for table in TABLES:
        head, *rows = (real_drop / table.file).read_text().splitlines(keepends=True)
        order.shuffle(rows)
        (folder / table.file).write_text("".join([head, *rows]))
    return folder


@pytest.fixture(scope="module")
def original(
    real_drop: Path, fresh_state: Fresh, tmp_path_factory: pytest.TempPathFactory
) -> Built:
    state = fresh_state(tmp_path_factory.mktemp("real"))
    state.has_full_models = True
    with entered(state):
        state.deliver(real_drop, month=JANUARY)
        closed, trained = state.close(JANUARY), state.train(JANUARY)
        [baseline] = [
            version
            for version in versions().values()
            if (version.tags["role"], version.tags["service"]) == ("baseline", BASELINE.name)
        ]
        lake = pq.ParquetFile(lake_file(SUBS_PROFILE, JANUARY)).read()
        training_set = read_training_set(JANUARY)
        return Built(
            state,
            closed,
            trained,
            dict(mlflow_client().get_run(baseline.run_id).data.metrics),
            training_set,
            (lake["plan_stream_tv"].null_count, training_set.rows["plan_stream_tv"].null_count),
            champion_month(),
        )


def test_it_goes_through_the_whole_graph(original: Built) -> None:
    assert original.close.succeeded
    assert original.train.succeeded
    failed = [name for name, state_of in original.close.checks.items() if state_of == "failed"]
    assert failed == ["online_features.features_api_answers"]  # no API is up here
    assert "failed" not in original.train.checks.values()
    warned = {name for name, state_of in original.close.checks.items() if state_of == "warned"}
    odd = {"subscriptions.plausible", "usage_agg_30d.plausible", "support_agg_90d.plausible"}
    assert warned == {*odd, "subs_contract_fv.filled"}  # it has no add-on columns
    for key in ("users", "subs_profile_fv", "online_features", "training_dataset", "churn_model"):
        materialized = original.state.materialization(key, JANUARY).metadata
        assert materialized["dagster/partition_row_count"].value == USERS


def test_blanks_stay_unknown(original: Built) -> None:
    assert original.unknown == (WITHOUT_INTERNET, WITHOUT_INTERNET)


def test_the_baseline_is_as_good_as_it_was_measured(original: Built) -> None:
    assert 0.80 < original.metrics["auc"] < 0.85
    assert original.champion == "2024-01"


def test_a_shuffled_copy_in_a_fresh_state_gives_the_same_training_set(
    original: Built, shuffled: Path, fresh_state: Fresh, tmp_path: Path
) -> None:
    """And so the same models: tests/model fits equal rows to equal bits."""
    with entered(fresh_state(tmp_path)) as state:
        state.deliver(shuffled, month=JANUARY)
        close(JANUARY)
        load_raw(JANUARY, LABELS)
        build_snapshot(JANUARY, LABELS)
        other = build_training_set(JANUARY)
    assert other.fingerprint == original.training_set.fingerprint
    assert other.rows.equals(original.training_set.rows)  # in the same order, too


def test_a_shuffled_copy_after_the_original_is_no_delivery(original: Built, shuffled: Path) -> None:
    with entered(original.state) as state:
        again: DeliveryOutcome = state.deliver(shuffled, month=JANUARY)
    assert not again.is_changed
    assert {file.state for file in again.files} == {"unchanged"}

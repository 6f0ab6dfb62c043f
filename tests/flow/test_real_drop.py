"""The drop from outside, as it arrives and shuffled: the same figures to the last bit."""

import random
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from churn.contract.features import BASELINE, SERVICES
from churn.contract.tables import TABLES
from churn.deliveries import Outcome
from churn.lake import lake_file
from churn.mlflow_client import mlflow_client
from churn.training.dataset import read_training_set
from churn_assets.run import JobResult
from tests.flow.conftest import Fresh, entered
from tests.flow.states import JANUARY, State, champion_month, versions
from tests.streamflow import SUBS_PROFILE

USERS, WITHOUT_INTERNET = 7043, 1526


@dataclass
class Built:
    """What became of the drop in one state."""

    state: State
    close: JobResult
    train: JobResult
    tags: dict[str, dict[str, str]]  # of the version of each service
    metrics: dict[str, dict[str, float]]
    fingerprint: str
    unknown: tuple[int, int]  # plan_stream_tv in the lake, in the training set
    champion: str


def build(state: State, drop: Path) -> Built:
    state.deliver(drop, month=JANUARY)
    close, train = state.close(JANUARY), state.train(JANUARY)
    found = {v.tags["service"]: v for v in versions().values()}
    lake = pq.ParquetFile(lake_file(SUBS_PROFILE, JANUARY)).read()
    trained = read_training_set(JANUARY)
    return Built(
        state,
        close,
        train,
        {service: dict(version.tags) for service, version in found.items()},
        {s: dict(mlflow_client().get_run(v.run_id).data.metrics) for s, v in found.items()},
        trained.fingerprint,
        (lake["plan_stream_tv"].null_count, trained.rows["plan_stream_tv"].null_count),
        champion_month(),
    )


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
    with entered(fresh_state(tmp_path_factory.mktemp("real"))) as state:
        return build(state, real_drop)


@pytest.fixture(scope="module")
def other(shuffled: Path, fresh_state: Fresh, tmp_path_factory: pytest.TempPathFactory) -> Built:
    with entered(fresh_state(tmp_path_factory.mktemp("real_shuffled"))) as state:
        return build(state, shuffled)


def test_it_goes_through_the_whole_graph(original: Built) -> None:
    assert original.close.succeeded
    assert original.train.succeeded
    failed = [name for name, found in original.close.checks.items() if found == "failed"]
    assert failed == ["online_features.features_api_answers"]  # no API is up here
    assert "failed" not in original.train.checks.values()
    warned = {name for name, found in original.close.checks.items() if found == "warned"}
    odd = {"subscriptions.plausible", "usage_agg_30d.plausible", "support_agg_90d.plausible"}
    assert warned == {*odd, "subs_contract_fv.filled"}  # it has no add-on columns
    for key in ("users", "subs_profile_fv", "online_features", "training_dataset", "churn_model"):
        made = original.state.materialization(key, JANUARY).metadata
        assert made["dagster/partition_row_count"].value == USERS


def test_blanks_stay_unknown(original: Built) -> None:
    assert original.unknown == (WITHOUT_INTERNET, WITHOUT_INTERNET)


def test_the_baseline_is_as_good_as_it_was_measured(original: Built) -> None:
    assert 0.80 < original.metrics[BASELINE.name]["auc"] < 0.85
    assert original.champion == "2024-01"


def test_a_shuffled_copy_in_a_fresh_state_gives_the_same_bits(
    original: Built, other: Built
) -> None:
    assert other.fingerprint == original.fingerprint
    for service in SERVICES:
        for name in ("auc", "f1", "accuracy"):
            assert other.metrics[service.name][name] == original.metrics[service.name][name]
        for name in ("onnx_sha256", "fingerprint"):
            assert other.tags[service.name][name] == original.tags[service.name][name]


def test_a_shuffled_copy_after_the_original_is_no_delivery(original: Built, shuffled: Path) -> None:
    with entered(original.state) as state:
        again: Outcome = state.deliver(shuffled, month=JANUARY)
    assert not again.is_changed
    assert {file.state for file in again.files} == {"unchanged"}

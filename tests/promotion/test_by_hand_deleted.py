"""MLflow's own buttons: a version or an experiment that somebody deleted there."""

from dataclasses import replace

import pytest

from churn.contract.in_force import CONTRACT, DEFAULT_SERVICE, REGISTERED_MODEL, USERS
from churn.contract.structure import Feature, View
from churn.database import connect
from churn.errors import ChurnError
from churn.mlflow_client import experiment_id, mlflow_client
from churn.model.champion import champion_version
from churn.model.tracking import log_model_run
from churn.model.train import fit_baseline
from churn.promotion import by_hand, ledger
from churn.promotion.decide import follow_ledger
from churn.promotion.registry import release_of
from churn.settings import Settings
from tests.kit.fitted_models import small_world
from tests.kit.releases import JANUARY

WHY = "tried by hand"


def registered(seed: int) -> str:
    """Register a small model; the same one again where its version is gone."""
    fitted = fit_baseline(small_world(seed=seed), DEFAULT_SERVICE, n_estimators=2)
    return log_model_run(fitted, month=JANUARY, fingerprint=f"{seed}", lineage={}).version


def test_rollback_to_a_deleted_version_writes_nothing_until_it_can_be_served(
    mlflow_settings: Settings,
) -> None:
    one, two = registered(1), registered(2)
    by_hand.promote(one, reason=WHY, actor="test")
    by_hand.promote(two, reason=WHY, actor="test")
    mlflow_client().delete_model_version(REGISTERED_MODEL, one)
    with pytest.raises(ChurnError, match="was deleted in MLflow") as raised:
        by_hand.rollback(reason=WHY, actor="test")
    assert "churn train --month 2024-01" in raised.value.remedy
    assert [entry.kind for entry in ledger.entries()] == ["promotion by hand"] * 2
    assert champion_version() == two

    again = registered(1)  # what the remedy does
    assert again != one
    by_hand.rollback(reason=WHY, actor="test")
    assert [entry.kind for entry in ledger.entries()][2:] == ["rollback"]
    assert champion_version() == again


def test_a_model_of_a_feature_that_the_contract_has_no_more_is_not_promoted(
    mlflow_settings: Settings,
) -> None:
    hours = View("gone_fv", USERS, (Feature("live_hours_30d", "Float32", ""),))
    grown = replace(DEFAULT_SERVICE, version=2, views=(*DEFAULT_SERVICE.views, hours))
    frame = small_world().assign(live_hours_30d=1.5)
    fitted = fit_baseline(frame, grown, n_estimators=2)
    version = log_model_run(fitted, month=JANUARY, fingerprint="grown", lineage={})
    assert (version.tags["service"], version.tags["feature_service"]) == ("churn_rich_v2",) * 2
    release = release_of(version.version)
    assert (release.service, release.contract) == ("churn_rich_v2", CONTRACT.fingerprint)
    with pytest.raises(ChurnError, match="there is no feature live_hours_30d any more"):
        by_hand.promote(version.version, reason=WHY, actor="test")
    assert ledger.entries() == []


def test_training_again_heals_a_deleted_champion(mlflow_settings: Settings) -> None:
    one = registered(1)
    by_hand.promote(one, reason=WHY, actor="test")
    mlflow_client().delete_model_version(REGISTERED_MODEL, one)  # its alias goes with it
    with pytest.raises(ChurnError, match="was deleted in MLflow"):
        follow_ledger()
    again = registered(1)
    follow_ledger()
    assert champion_version() == again


def test_a_deleted_experiment_is_restored_with_its_runs(
    mlflow_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    client = mlflow_client()
    experiment = experiment_id(client, mlflow_settings.mlflow_experiment)
    run = client.create_run(experiment)
    client.delete_experiment(experiment)
    assert experiment_id(client, mlflow_settings.mlflow_experiment) == experiment
    assert "was deleted; it is restored" in caplog.text
    assert client.get_run(run.info.run_id).info.lifecycle_stage == "active"


def test_the_api_is_told_what_is_in_force(mlflow_settings: Settings) -> None:
    def told() -> list[tuple[str, str]]:
        with connect() as connection:
            query = "SELECT release_id, version FROM online.release_in_force"
            return connection.execute(query).fetchall()

    assert told() == []
    one, two = registered(1), registered(2)
    releases = []
    for version in (one, two):
        by_hand.promote(version, reason=WHY, actor="test")
        releases.append(ledger.release_in_force().release_id)
        assert told() == [(releases[-1], version)]
    by_hand.rollback(reason=WHY, actor="test")
    assert told() == [(releases[0], one)]

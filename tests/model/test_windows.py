"""A candidate of several months: fitted on all of them, judged by the newest, traced back to each."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from churn.contract.in_force import DEFAULT_SERVICE
from churn.evaluation.metrics import evaluate
from churn.mlflow_client import mlflow_client
from churn.model import train as monthly
from churn.model.arrays import fit_calibration
from churn.model.candidates import out_of_fold, tuned
from churn.model.kinds import POOLED
from churn.model.rows import is_holdout
from churn.model.train import fit_baseline, train_models
from churn.model.windows import pooled
from churn.months import Month
from churn.promotion.registry import release_of
from churn.settings import Settings, get_settings
from churn.training.dataset import training_set_path
from tests.kit.training_sets import JANUARY, put_all

FEBRUARY, MARCH = JANUARY.shift(1), JANUARY.shift(2)
USERS = 600


@pytest.fixture
def world(mlflow_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> dict[Month, pd.DataFrame]:
    """January to March, as training sets on disk; the baseline beside the candidates is a small one."""
    monkeypatch.setattr(monthly, "fit_baseline", partial(fit_baseline, n_estimators=20))
    return put_all(USERS, 3)


@pytest.fixture
def looks_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHURN_CANDIDATE_MONTHS", "3")
    get_settings.cache_clear()


def users(frame: pd.DataFrame, *, held: bool) -> set[str]:
    ids = frame["user_id"].to_numpy(str)
    return set(ids[is_holdout(ids) == held])


def test_all_months_are_fitted_on_and_the_newest_is_held_out(
    world: dict[Month, pd.DataFrame],
) -> None:
    rows = pooled([JANUARY, FEBRUARY, MARCH], DEFAULT_SERVICE)
    assert rows.months == 3
    assert len(rows.labels) == sum(len(users(frame, held=False)) for frame in world.values())
    assert set(rows.features.index[rows.judges]) == users(world[MARCH], held=False)
    assert set(rows.holdout.index) == users(world[MARCH], held=True)
    assert not set(rows.features.index) & set(rows.holdout.index)


def test_the_newest_month_alone_judges(world: dict[Month, pd.DataFrame]) -> None:
    rows = pooled([JANUARY, FEBRUARY, MARCH], DEFAULT_SERVICE)
    chosen = tuned(POOLED, rows)
    assert chosen.months == 3
    assert chosen.name == "logistic on churn_rich, 3 months"
    [raw] = out_of_fold(POOLED, rows, [chosen.parameters])
    labels = rows.labels[rows.judges]
    calibration = fit_calibration(raw[rows.judges], labels)
    assert chosen.calibration == calibration
    calibrated = calibration.probabilities(raw[rows.judges])
    assert chosen.log_loss == evaluate(labels, calibrated, 0.5)["log_loss"]
    assert np.any(fit_calibration(raw, rows.labels).probabilities(raw[rows.judges]) != calibrated)


@pytest.mark.usefixtures("looks_back")
def test_its_version_leads_back_to_every_month(
    world: dict[Month, pd.DataFrame], tmp_path: Path
) -> None:
    models = train_models(MARCH)
    assert [each.months for each in models.candidates].count(3) == 1
    challenger, baseline = models.challenger, models.baselines[0]
    assert challenger.fingerprint != baseline.fingerprint
    release = release_of(challenger.version)
    assert (release.month, release.fingerprint) == (MARCH, challenger.fingerprint)
    client = mlflow_client()
    run_id = client.get_model_version("streamflow_churn", challenger.version).run_id
    # Three times the users are the better model here.
    assert client.get_run(run_id).data.params["months"] == "3"
    lineage = json.loads(
        Path(client.download_artifacts(run_id, "lineage.json", str(tmp_path))).read_text()
    )
    assert [each["month"] for each in lineage["window"]] == ["2024-01", "2024-02"]
    sets = {lineage["training_set"]["fingerprint"]}
    sets |= {each["training_set"]["fingerprint"] for each in lineage["window"]}
    assert len(sets) == 3
    assert baseline.fingerprint in sets
    assert train_models(MARCH).challenger.version == challenger.version


@pytest.mark.usefixtures("looks_back")
def test_a_month_that_is_missing_is_a_hole(world: dict[Month, pd.DataFrame]) -> None:
    training_set_path(FEBRUARY).unlink()
    assert {each.months for each in train_models(MARCH).candidates} == {1, 2}


def test_one_month_is_enough_unless_more_are_asked_for(world: dict[Month, pd.DataFrame]) -> None:
    assert {each.months for each in train_models(MARCH).candidates} == {1}

"""A month's models against the oracle: a late correction let in is caught; what does not apply says why."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from churn.contract.in_force import DEFAULT_SERVICE, LABELS
from churn.deliveries import deliver
from churn.model.fitted import Fitted
from churn.model.train import fit_baseline
from churn.population.drops import ORACLE, write_csv, write_drops
from churn.settings import get_settings
from churn.training.dataset import build_training_set
from churn.verification.leaks import look_for_leaks
from churn.warehouse.raw import load_raw
from churn.warehouse.snapshots import build_snapshot
from feature_repo.store import apply_features
from tests.kit.close_month import close
from tests.kit.leaky_months import (
    FEBRUARY,
    JANUARY,
    corrected_by_those_who_left,
    frame,
    label_copied,
    played,
)
from tests.kit.snapshot_rows import LATER, write_month
from tests.kit.states import NOW
from tests.kit.streamflow import PAYMENTS

USERS = 900


@pytest.fixture(scope="module")
def drops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drops")
    write_drops(folder, first=JANUARY, users=USERS, months=3, seed=0)
    return folder


@pytest.fixture
def oracle(drops: Path, settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHURN_ORACLE", str(drops / ORACLE))
    get_settings.cache_clear()
    return drops / ORACLE


def fitted(rows: pd.DataFrame) -> Fitted:
    return fit_baseline(rows, DEFAULT_SERVICE, n_estimators=40)


@pytest.fixture(scope="module")
def clean() -> Fitted:
    return fitted(frame(played(USERS, 3, 0)[1]))


def test_a_correction_known_too_late_is_kept_out_and_caught_where_it_is_let_in(
    drops: Path, oracle: Path, tmp_path: Path
) -> None:
    apply_features()
    folder = drops / FEBRUARY.folder(JANUARY)
    deliver(folder, now=NOW)
    close(FEBRUARY)
    load_raw(FEBRUARY, LABELS)
    build_snapshot(FEBRUARY, LABELS)
    before = build_training_set(FEBRUARY)

    fixed = tmp_path / folder.name
    shutil.copytree(folder, fixed)
    month = played(USERS, 3, 0)[1]
    corrected = corrected_by_those_who_left(month, PAYMENTS)
    write_csv(corrected, PAYMENTS, fixed / PAYMENTS.file)
    deliver(fixed, now=NOW, known_at=LATER)
    load_raw(FEBRUARY, PAYMENTS)
    build_snapshot(FEBRUARY, PAYMENTS)
    write_month(FEBRUARY)

    at_the_cut_offs = build_training_set(FEBRUARY)
    assert at_the_cut_offs.fingerprint == before.fingerprint
    let_in = build_training_set(FEBRUARY, LATER)
    models = {
        "at the cut-offs": fitted(at_the_cut_offs.rows.to_pandas()),
        "cut-offs bypassed": fitted(let_in.rows.to_pandas()),
    }
    verdicts = look_for_leaks(FEBRUARY, models)
    assert verdicts.leaks == ["cut-offs bypassed"], verdicts.summary
    assert "at the cut-offs: AUC" in verdicts.summary


def test_a_leak_in_one_model_is_named(oracle: Path, clean: Fitted) -> None:
    leaky = fitted(label_copied(played(USERS, 3, 0)[1]))
    assert look_for_leaks(FEBRUARY, {"clean": clean, "leaky": leaky}).leaks == ["leaky"]


def test_the_oracle_may_know_a_user_less(
    oracle: Path, clean: Fitted, monkeypatch, tmp_path
) -> None:
    lacking(oracle, clean.holdout.index[:1], tmp_path, monkeypatch)
    assert look_for_leaks(FEBRUARY, {"clean": clean}).verdicts["clean"].users == (
        clean.holdout_rows - 1
    )


@pytest.mark.parametrize("why", ["not set", "month_000", "no month_001.parquet", "not in", "world"])
def test_not_applicable_says_why(
    why: str, oracle: Path, clean: Fitted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    month, model = FEBRUARY, clean
    match why:
        case "not set":
            monkeypatch.delenv("CHURN_ORACLE")
        case "month_000":
            month = JANUARY
        case "no month_001.parquet":
            monkeypatch.setenv("CHURN_ORACLE", str(tmp_path))
        case "not in":
            lacking(oracle, clean.holdout.index[:9], tmp_path, monkeypatch)
        case "world":
            model = fitted(frame(played(USERS, 3, 0)[1]).assign(churn_label=is_odd))
    get_settings.cache_clear()
    verdicts = look_for_leaks(month, {"model": model})
    assert verdicts.leaks == []
    assert verdicts.verdicts == {}
    assert verdicts.summary.startswith("not applicable: ")
    assert why in verdicts.summary


def is_odd(rows: pd.DataFrame) -> pd.Series:
    return rows["months_active"] % 2 == 1


def lacking(oracle: Path, users, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose an oracle that does not know some users."""
    name = f"{FEBRUARY.folder(JANUARY)}.parquet"
    rows = pd.read_parquet(oracle / name)
    rows[~rows["user_id"].isin(users)].to_parquet(folder / name)
    monkeypatch.setenv("CHURN_ORACLE", str(folder))
    get_settings.cache_clear()

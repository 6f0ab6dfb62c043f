"""Thresholds from a deployment's own months: what is provisional until then, and what follows from them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from churn.errors import ChurnError
from churn.monitoring import drift as drift_module
from churn.monitoring.calibrate import calibrate, turnover_of
from churn.monitoring.distance import FEATURES, NUMBERS, Distance
from churn.monitoring.drift import drift_page
from churn.monitoring.store import read_drift
from churn.monitoring.tables import drift_table
from churn.monitoring.thresholds import (
    SCORE,
    calibrated_path,
    read_thresholds,
    simulated_thresholds,
)
from churn.monitoring.watch import watch_drift
from churn_assets.monitoring import drift_outcome
from tests.kit.stored_months import FakeRegistry, put_lake, put_scores, put_training_set, released
from tests.kit.watched_months import model_of, month, world

USERS, SEED, MONTHS = 800, 71, 5

pytestmark = pytest.mark.usefixtures("settings")


def history() -> FakeRegistry:
    """Five quiet months in the lake; a release of the first, in force since its labels matured."""
    played, model = world(MONTHS, USERS, SEED), model_of(USERS, SEED)
    put_training_set(month(0), played[0])
    for number, seen in enumerate(played):
        put_lake(month(number), seen)
    released(month(0))
    return FakeRegistry(model)


def test_too_few_months_are_refused() -> None:
    with pytest.raises(ChurnError, match="0 months are too few: it takes 4"):
        calibrate()
    assert not calibrated_path().exists()


def test_the_own_months_replace_what_was_provisional(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = history()
    calibration = calibrate(registry=registry)
    assert calibration.months == [month(number) for number in range(MONTHS)]
    # One release alone was ever in force: its scores were seen once at each age, which is not believed.
    assert calibration.uncalibrated == [SCORE]
    assert set(calibration.turnover) == set(NUMBERS)
    assert all((np.diff(ages) >= 0).all() for ages in calibration.turnover.values())
    kept = json.loads(calibrated_path().read_text(encoding="utf-8"))
    assert kept["turnover"] == calibration.turnover
    # Of another business than the simulated one, all were provisional before.
    monkeypatch.setattr(
        "churn.monitoring.thresholds.simulated_thresholds",
        lambda: simulated_thresholds("another business"),
    )
    table, distance = read_thresholds(), Distance(0.3, 0.0)
    assert table.of("monthly_fee", distance, 1) == (calibration.turnover["monthly_fee"][0], False)
    assert table.of(SCORE, distance, 1).is_provisional
    first = calibrated_path().read_bytes()
    calibrate(registry=registry)
    assert calibrated_path().read_bytes() == first


def test_a_month_that_was_not_quiet_can_be_left_out() -> None:
    registry = history()
    put_lake(month(4), world(MONTHS, USERS, SEED, fee_factor=1.5)[4])
    loud = calibrate(registry=registry).turnover["monthly_fee"]
    quiet = calibrate(without=[month(4)], registry=registry).turnover["monthly_fee"]
    assert quiet[0] < loud[0]
    with pytest.raises(ChurnError, match="3 months are too few"):
        calibrate(without=[month(3), month(4)], registry=registry)


def test_ages_that_nobody_saw_grow_as_the_kind_does() -> None:
    def seen(age: int, value: float) -> tuple:
        return month(0), age, {"monthly_fee": Distance(value, 0.03)}

    turnover = turnover_of([seen(1, 0.05), seen(1, 0.03), seen(2, 0.09)])["monthly_fee"]
    kind = simulated_thresholds().provisional["number"]
    # The farthest at one month, chance taken off; two months were seen but once.
    assert turnover[0] == 0.04
    assert turnover[1] == pytest.approx(0.04 * kind[1] / kind[0], abs=1e-4)
    assert len(turnover) == len(kind)
    assert turnover[-1] == pytest.approx(0.04 * kind[-1] / kind[0], rel=0.05)


def test_a_provisional_threshold_is_shown_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    played, model = world(2, USERS, SEED), model_of(USERS, SEED)
    put_training_set(month(0), played[0])
    put_lake(month(1), played[1])
    put_scores(month(1), played[1], released(month(0)), model)
    simulated = simulated_thresholds()
    every = {each.name: [1.0] for each in FEATURES} | dict(simulated.turnover)
    known = {name: ages for name, ages in every.items() if name != "skips_7d"}
    grown = simulated.__class__(simulated.share, simulated.sampling, known, simulated.provisional)
    monkeypatch.setattr(drift_module, "read_thresholds", lambda: grown)
    watched = watch_drift(month(1), FakeRegistry(model))
    assert watched.drift is not None
    assert watched.drift.provisional == ["skips_7d"]
    assert [r["feature"] for r in read_drift(month(1)) if r["is_provisional"]] == ["skips_7d"]
    outcome = drift_outcome(watched)
    assert outcome.passed
    assert outcome.metadata["provisional_thresholds"] == ["skips_7d"]
    [line] = [
        row for row in drift_table(watched.drift.columns).splitlines() if "provisional" in row
    ]
    assert line.startswith("| skips_7d |")
    page = drift_page(watched.drift)
    assert page.count("provisional</td>") == 1
    assert "how far skips_7d moves by itself" in page


def test_a_broken_file_of_thresholds_says_what_to_do() -> None:
    calibrated_path().write_text("{", encoding="utf-8")
    with pytest.raises(ChurnError, match="churn contract calibrate"):
        read_thresholds()


def test_what_a_release_is_older_than_cannot_have_drifted_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    later = [
        replace(feature, since=2) if feature.name == "skips_7d" else feature for feature in FEATURES
    ]
    monkeypatch.setattr("churn.training.dataset._FEATURES", tuple(later))
    played, model = world(2, USERS, SEED), model_of(USERS, SEED)
    put_training_set(month(0), played[0])
    import pyarrow.parquet as pq

    from churn.training.dataset import training_set_path

    path = training_set_path(month(0))
    pq.write_table(pq.read_table(path).drop_columns("skips_7d"), path)
    put_lake(month(1), played[1])
    put_scores(month(1), played[1], released(month(0)), model)

    class Older(FakeRegistry):
        def probabilities(self, _, rows):
            assert "skips_7d" in rows.column_names  # which a release by hand may take all the same
            return np.full(rows.num_rows, 0.3)

    watched = watch_drift(month(1), Older(model))
    assert watched.drift is not None
    assert {c.feature for c in watched.drift.columns} == {*NUMBERS, SCORE} - {"skips_7d"}

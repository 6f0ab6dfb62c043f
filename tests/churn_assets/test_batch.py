"""`churn run` over several drops of which some are refused: what is processed, and what is said."""

import contextlib
from pathlib import Path

import pytest

from churn.contract.in_force import USERS
from churn.deliveries import accepted
from churn.months import Month
from churn.settings import Settings
from churn_assets import batch
from churn_assets.run import JobResult
from tests.kit.small_drop import FEBRUARY, JANUARY, write_drop

MARCH = FEBRUARY.next
SPOILED = {"users.csv": ("Male,True,False", "Male,True,Yes")}


@pytest.fixture
def processed(monkeypatch: pytest.MonkeyPatch) -> list[Month]:
    """The months that are put through the graph, which the test does not need to do its work."""
    months: list[Month] = []

    def lanes(chosen: list[Month], *_: object) -> list[JobResult]:
        months.extend(chosen)
        return [JobResult("month_close", month, "", True, (), {}, 0.0) for month in chosen]

    monkeypatch.setattr(batch, "_in_two_lanes", lanes)
    monkeypatch.setattr(batch, "trained_models", lambda _: [])
    monkeypatch.setattr(batch, "instance", contextlib.nullcontext)
    monkeypatch.setattr(batch, "Lane", contextlib.nullcontext)
    # Nothing was recorded, so nothing died, failed or is left.
    monkeypatch.setattr(batch, "end_dead_runs", lambda _: [])
    monkeypatch.setattr(batch, "work_off", lambda *_, **__: iter(()))
    monkeypatch.setattr(batch, "look_at", lambda _: [])
    return months


def run(folder: Path) -> batch.RunOutcome:
    return batch.run_months(batch.chosen_drops(folder, None, None), lambda *_: None)


def test_months_around_a_refused_one_are_processed_and_the_run_has_failed(
    settings: Settings, tmp_path: Path, processed: list[Month]
) -> None:
    write_drop(tmp_path / "r" / "month_000")
    write_drop(tmp_path / "r" / "month_001", SPOILED)
    write_drop(tmp_path / "r" / "month_002", without=("labels.csv",))
    outcome = run(tmp_path / "r")
    assert processed == outcome.months == [JANUARY, MARCH]
    assert list(outcome.refused) == ["month_001"]
    assert "'Yes' is not a boolean" in str(outcome.refused["month_001"])
    assert not accepted(FEBRUARY, USERS)
    assert outcome.waiting == [MARCH]
    assert not outcome.succeeded
    write_drop(tmp_path / "r" / "month_001")
    assert run(tmp_path / "r").succeeded


def test_nothing_is_processed_where_every_drop_is_refused(
    settings: Settings, tmp_path: Path, processed: list[Month]
) -> None:
    write_drop(tmp_path / "month_001", SPOILED)
    outcome = run(tmp_path / "month_001")
    assert (processed, outcome.months, len(outcome.refused)) == ([], [], 1)
    assert not outcome.succeeded

"""One state's story: a backfill in a single run, training in any order, the same drop again, a correction."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from psycopg import sql

from churn.contract.in_force import PROFILE_TABLES, TABLES
from churn.database import connect
from churn.deliveries import DeliveryOutcome
from churn.online.read import newest_publication
from churn.promotion.ledger import entries, verify
from churn.records import close_records
from churn.training.dataset import read_training_set
from churn_assets.jobs import CLOSE_KEYS
from churn_assets.run import JobResult
from tests.kit.states import (
    FEBRUARY,
    JANUARY,
    MARCH,
    Fresh,
    State,
    champion_month,
    entered,
    evaluations,
    records,
    versions,
)

MONTHS = [JANUARY, FEBRUARY, MARCH]


@dataclass
class Moment:
    """What the state held at one moment."""

    rows: dict[str, int]
    versions: list[int]
    champion: str | None
    sets: dict[str, str]
    report: str


@dataclass
class Story:
    """The state, its moments, and what is needed to judge them."""

    state: State
    drops: list[Path]
    backfill: dg.ExecuteInProcessResult
    champions: list[str | None] = field(default_factory=list)
    jobs: dict[str, JobResult] = field(default_factory=dict)
    moments: dict[str, Moment] = field(default_factory=dict)
    delivered: dict[str, DeliveryOutcome] = field(default_factory=dict)
    withdrawn: str = ""
    corrected: str = ""


def moment() -> Moment:
    tables = [f"raw.{t.name}" for t in TABLES] + [t.snapshot for t in TABLES]
    tables += ["raw.deliveries", "online.users"]
    with connect() as connection:
        rows = {
            name: connection.execute(
                sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(*name.split(".")))
            ).fetchone()[0]  # type: ignore[index]
            for name in tables
        }
        assert newest_publication(connection) == MARCH.as_of
    sets = {str(m): read_training_set(m).fingerprint for m in (JANUARY, FEBRUARY)}
    from churn.settings import get_settings

    report = (get_settings().reports / "2024-01.md").read_text()
    return Moment(rows, sorted(versions()), champion_month(), sets, report)


def corrected_copy(drop: Path, to: Path, without: str, raised: str) -> Path:
    """Write the drop again: one user is gone from every file, another one pays 1 more."""
    to.mkdir(parents=True)
    for table in PROFILE_TABLES:
        lines = (drop / table.file).read_text().splitlines(keepends=True)
        (to / table.file).write_text("".join(x for x in lines if not x.startswith(f"{without},")))
    fees = pd.read_csv(to / "subscriptions.csv", dtype=str, keep_default_na=False)
    at = fees["user_id"] == raised
    fees.loc[at, "monthly_fee"] = (fees.loc[at, "monthly_fee"].astype(float) + 1).astype(str)
    fees.to_csv(to / "subscriptions.csv", index=False)
    return to


@pytest.fixture(scope="module")
def story(
    fresh_state: Fresh, drops: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    home = tmp_path_factory.mktemp("story")
    with entered(fresh_state(home)) as state:
        for drop in drops:
            state.deliver(drop)
        assert state.defs is not None
        backfill = state.defs.resolve_job_def("month_close").execute_in_process(
            instance=state.instance,
            raise_on_error=False,
            tags={
                "dagster/asset_partition_range_start": JANUARY.partition_key,
                "dagster/asset_partition_range_end": MARCH.partition_key,
            },
        )
        close_records(backfill.run_id, succeeded=backfill.success)
        told = Story(state, drops, backfill)
        for month in (FEBRUARY, JANUARY):
            told.jobs[f"train {month}"] = state.train(month)
            told.champions.append(champion_month())
        told.moments["built"] = moment()

        told.delivered["again"] = state.deliver(drops[0])
        told.jobs["close again"] = state.close(JANUARY)
        told.moments["again"] = moment()

        users = [set(pd.read_csv(drop / "users.csv")["user_id"]) for drop in drops]
        told.withdrawn, told.corrected = sorted(users[0] - users[1] - users[2])[:2]
        corrected = corrected_copy(
            drops[0], home / "corrected" / "month_000", told.withdrawn, told.corrected
        )
        told.delivered["correction"] = state.deliver(corrected)
        told.jobs["close corrected"] = state.close(JANUARY)
        told.jobs["train corrected"] = state.train(JANUARY)
        told.moments["corrected"] = moment()
        yield told
    shutil.rmtree(home, ignore_errors=True)


def test_a_single_run_over_a_range_fills_each_month_with_its_own_figures(story: Story) -> None:
    assert story.backfill.success
    for month, drop in zip(MONTHS, story.drops, strict=True):
        for key in CLOSE_KEYS:
            assert story.state.is_materialized(key, month), (key, month)
        by_asset = {
            event.asset_key.to_user_string(): event.materialization.metadata
            for event in story.backfill.all_events
            if event.is_step_materialization and event.partition == month.partition_key
        }
        rows = len((drop / "users.csv").read_text().splitlines()) - 1
        for key in ("users", "users_snapshots", "users_profile_fv", "online_features"):
            assert by_asset[key]["dagster/partition_row_count"].value == rows, (key, month)
        assert by_asset["users"]["as_of"].value == str(month.as_of_date)
    shown = [
        event.materialization.metadata["fingerprint"].value
        for event in story.backfill.all_events
        if event.is_step_materialization and event.asset_key == dg.AssetKey("usage_agg_30d_fv")
    ]
    assert len(set(shown)) == len(shown) == 3


def test_a_single_run_over_a_range_is_one_record_with_one_child_per_month(story: Story) -> None:
    all_records = records(story.state)
    [parent] = [r for r in all_records if r.data.tags.get("dagster_run_id") == story.backfill.run_id
                and "mlflow.parentRunId" not in r.data.tags]  # fmt: skip
    children = [r for r in all_records if r.data.tags.get("dagster_run") == story.backfill.run_id]
    assert {r.data.tags["mlflow.parentRunId"] for r in children} == {parent.info.run_id}
    assert sorted((r.data.tags["asset"], r.data.tags["partition"]) for r in children) == sorted(
        (key, month.partition_key) for key in CLOSE_KEYS for month in MONTHS
    )


def test_the_smoke_check_says_that_the_api_is_down(story: Story) -> None:
    smoke = evaluations(story.backfill)["online_features.features_api_answers"]
    assert (smoke.passed, smoke.severity) == (False, dg.AssetCheckSeverity.ERROR)
    [failure] = story.jobs["close again"].failures
    assert "start it with `churn up`" in failure


def test_decisions_are_taken_in_the_order_of_their_instants(story: Story) -> None:
    assert story.jobs["train 2024-01"].succeeded
    assert story.champions == [None, "2024-01"]  # February's decision waits for January's
    [first, second] = entries()
    assert (first.month, first.outcome, first.evidence["rule"]) == (
        JANUARY,
        "promote",
        "first release",
    )
    assert (second.month, second.reasons) == (FEBRUARY, ("the champion is the challenger",))
    waited = story.state.materialization("champion", FEBRUARY).metadata
    assert waited["waits_for"].value == "2024-01: training_dataset of 2024-01"
    assert waited["decision"].value == "not taken yet"
    assert verify().is_whole


def test_the_same_drop_twice_changes_nothing(story: Story) -> None:
    assert not story.delivered["again"].is_changed
    assert story.jobs["close again"].succeeded
    again, before = story.moments["again"], story.moments["built"]
    assert again.rows == before.rows
    assert (again.versions, again.champion, again.sets) == (
        before.versions,
        before.champion,
        before.sets,
    )


def test_a_correction_changes_what_is_served_and_reported(story: Story) -> None:
    assert story.jobs["close corrected"].succeeded
    changed = {f.delivery.file: f.state for f in story.delivered["correction"].files}
    assert changed == {table.name: "corrected" for table in PROFILE_TABLES}
    fee = "SELECT monthly_fee FROM online.users WHERE user_id = %s"
    with connect() as connection:
        [served] = connection.execute(fee, [story.corrected]).fetchall()
        assert connection.execute(fee, [story.withdrawn]).fetchall() == []
    delivered = pd.read_csv(story.drops[0] / "subscriptions.csv").set_index("user_id")
    assert served[0] == pytest.approx(delivered.loc[story.corrected, "monthly_fee"] + 1, abs=1e-4)
    before, after = story.moments["built"], story.moments["corrected"]
    assert after.rows["online.users"] == before.rows["online.users"] - 1
    users = len(delivered)
    assert after.rows["raw.users"] == before.rows["raw.users"] + users - 1
    # the new version, and one row that says who is withdrawn
    assert after.rows["users_snapshots"] == before.rows["users_snapshots"] + users
    assert f"| users.csv | {users - 1} |" in after.report
    assert f"| users.csv | {users} |" in after.report
    assert f"| users_snapshots_current | {users - 1} |" in after.report


def test_a_correction_changes_no_training_set_and_no_model(story: Story) -> None:
    assert story.jobs["train corrected"].succeeded
    before, after = story.moments["built"], story.moments["corrected"]
    assert after.sets == before.sets
    assert after.versions == before.versions
    assert after.champion == before.champion


def test_a_failing_month_is_never_shown_finished(story: Story) -> None:
    before = {r.info.run_id for r in records(story.state)}
    failed: Any = story.state.train(MARCH)  # its labels have not come
    assert not failed.succeeded
    assert "no labels.csv has been accepted for this month" in failed.failures[0]
    new = [r for r in records(story.state) if r.info.run_id not in before]
    assert {r.data.tags.get("asset") for r in new} == {None, "labels"}
    assert {r.info.status for r in new} == {"FAILED"}
    assert not story.state.is_materialized("labels", MARCH)

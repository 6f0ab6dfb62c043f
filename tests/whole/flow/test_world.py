"""Three months of a small world, after both jobs: what a person finds where."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

import dagster as dg
import pandas as pd
import pyarrow.parquet as pq

from churn.contract.in_force import DEFAULT_SERVICE, LABELS, PROFILE_TABLES, SERVICES, TABLES, VIEWS
from churn.database import connect
from churn.deliveries import in_force
from churn.fingerprint import fingerprint
from churn.lake.files import lake_file
from churn.mlflow_client import mlflow_client
from churn.model.champion import champion_version
from churn.monitoring.store import read_drift, read_performance
from churn.monitoring.watch import standing_alarms
from churn.months import Month
from churn.promotion.ledger import entries, release_in_force
from churn.scoring.actions import actions_path, read_actions
from churn.scoring.scores import scores_path
from churn.training.dataset import read_training_set
from churn_assets.jobs import CLOSE_KEYS, SCORE_KEYS, TRAIN_KEYS
from tests.kit.states import FEBRUARY, JANUARY, MARCH, champion_month, records, scalar, versions
from tests.kit.streamflow import SUBSCRIPTIONS
from tests.whole.flow.conftest import World

MONTHS = [JANUARY, FEBRUARY, MARCH]
# Empty for January: nothing was in force at its end.
BEFORE_A_RELEASE = {"churn_scores", "action_list", "feature_drift", "model_performance", "uplift"}


def csv(drop: Path, table) -> pd.DataFrame:
    return pd.read_csv(drop / table.file)


def test_every_job_is_green_the_smoke_check_too(world: World) -> None:
    for (job, month), ended in world.jobs.items():
        assert ended.succeeded, (job, month, ended.failures)
        assert ended.failures == ()
        assert "failed" not in ended.checks.values()
    assert {
        month: job.checks["online_features.features_api_answers"]
        for (name, month), job in world.jobs.items()
        if name == "month_close"
    } == dict.fromkeys(MONTHS, "passed")
    assert world.state.defs is not None
    known = world.state.defs.resolve_asset_graph().asset_check_keys
    of_closing = {
        f"{key.asset_key.to_user_string()}.{key.name}"
        for key in known
        if key.asset_key.to_user_string() in CLOSE_KEYS
    }
    closings = [job for (name, _), job in world.jobs.items() if name == "month_close"]
    assert [set(job.checks) for job in closings] == [of_closing] * len(MONTHS)
    assert {tuple(j.checks) for (name, _), j in world.jobs.items() if name == "score_month"} == {
        (
            "churn_scores.everybody",
            "churn_scores.probabilities",
            "churn_scores.unsaturated",
            "feature_drift.no_drift",
            "model_performance.as_estimated",
        )
    }


def test_every_row_of_the_drop_is_in_every_stage(world: World) -> None:
    for month, drop in zip(MONTHS, world.drops, strict=True):
        for table in TABLES if month != MARCH else PROFILE_TABLES:
            delivery = in_force(month, table)
            assert delivery is not None
            rows = len(csv(drop, table))
            assert delivery.rows == rows
            counted = f"SELECT count(*) FROM raw.{table.name} WHERE delivery_id = %s"
            assert scalar(counted, delivery.delivery_id) == rows
            counted = f"SELECT count(*) FROM {table.snapshot}_current WHERE as_of = %s"
            assert scalar(counted, month.as_of) == rows
            materialized = world.state.materialization(table.name, month).metadata
            assert materialized["dagster/partition_row_count"].value == rows
            assert materialized["fingerprint"].value == delivery.fingerprint
            assert materialized["sha256"].value == delivery.sha256
        for view in VIEWS:
            file = pq.ParquetFile(lake_file(view, month)).read()
            materialized = world.state.materialization(view.name, month).metadata
            assert (
                materialized["dagster/partition_row_count"].value
                == file.num_rows
                == len(csv(drop, view.table))
            )
            content = file.replace_schema_metadata(None)
            assert materialized["fingerprint"].value == fingerprint(
                content, key=["user_id", "known_at"]
            )


def test_unknown_stays_unknown_from_the_file_to_the_training_set(world: World) -> None:
    blank = int(csv(world.drops[0], SUBSCRIPTIONS)["plan_stream_tv"].isna().sum())
    assert blank > 50
    view = next(v for v in VIEWS if v.name == "subs_profile_fv")
    lake = pq.ParquetFile(lake_file(view, JANUARY)).read()
    trained = read_training_set(JANUARY).rows
    nulls = "SELECT count(*) FROM online.users WHERE plan_stream_tv IS NULL AND as_of = %s"
    assert lake["plan_stream_tv"].null_count == trained["plan_stream_tv"].null_count == blank
    assert 0 < scalar(nulls, MARCH.as_of) < blank * 2
    shown = world.state.materialization("subs_profile_fv", JANUARY).metadata["unknown_values"]
    assert shown.value == {"plan_stream_tv": blank, "plan_stream_movies": blank}


def test_the_training_set_has_the_labels_of_its_own_month(world: World) -> None:
    for month, drop in zip(MONTHS[:2], world.drops, strict=False):
        training_rows = read_training_set(month).rows
        labels = csv(drop, LABELS).sort_values("user_id")
        assert training_rows["user_id"].to_pylist() == list(labels["user_id"])
        assert training_rows["churn_label"].to_pylist() == list(labels["churn_label"])
        fees = csv(drop, SUBSCRIPTIONS).set_index("user_id")["monthly_fee"]
        fees_kept = (
            training_rows.select(["user_id", "monthly_fee"]).to_pandas().set_index("user_id")
        )
        assert (fees_kept["monthly_fee"] - fees).abs().max() < 1e-4
        shown = world.state.materialization("training_dataset", month).metadata
        assert shown["fingerprint"].value == fingerprint(training_rows, key=["user_id"])


def test_the_ui_shows_what_a_person_wants_to_see(world: World) -> None:
    def metadata(asset: str):
        return world.state.materialization(asset, JANUARY).metadata

    for key in {*CLOSE_KEYS, *TRAIN_KEYS, *SCORE_KEYS}:
        is_empty = key in BEFORE_A_RELEASE
        assert (metadata(key)["dagster/partition_row_count"].value == 0) is is_empty, key
        assert metadata(key)["fingerprint"].value, key
    for key in [t.name for t in TABLES] + [v.name for v in VIEWS] + ["training_dataset"]:
        lines = str(metadata(key)["preview"].value).splitlines()
        assert lines[0].startswith("| user_id |"), key
        assert len(lines) == 7, key
    for key in [*(v.name for v in VIEWS), "training_dataset", "monthly_report"]:
        uri = urlsplit(str(metadata(key)["dagster/uri"].value))
        assert uri.scheme == "file"
        assert Path(unquote(uri.path)).is_file(), key
    for service in SERVICES:
        assert "data:image/png;base64," in str(
            metadata("churn_model")[f"plots_{service.name}"].value
        )
    assert 0.5 < metadata("churn_model")["auc"].value < 1
    assert metadata("online_features")["known_at"].value == JANUARY.as_of.isoformat()


def test_the_newest_month_is_served_and_nobody_is_lost(world: World) -> None:
    users = [set(csv(drop, SUBSCRIPTIONS)["user_id"]) for drop in world.drops]
    served = scalar("SELECT count(*) FROM online.users WHERE as_of = %s", MARCH.as_of)
    assert served == len(users[2])
    assert scalar("SELECT count(*) FROM online.users") == len(users[0] | users[1] | users[2])


def test_one_mlflow_run_per_dagster_run_and_one_record_per_asset_and_month(world: World) -> None:
    runs = records(world.state)
    assert {run.info.status for run in runs} == {"FINISHED"}
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    of_dagster = {run.data.tags["dagster_run_id"]: run.info.run_id for run in parents}
    assert len(parents) == len(of_dagster) == len(world.jobs)
    assert set(of_dagster) == {job.run_id for job in world.jobs.values()}
    children = [run for run in runs if "asset" in run.data.tags]
    expected = [(job, key) for job in world.jobs for key in _keys(job[0])]
    recorded = Counter((r.data.tags["asset"], r.data.tags["partition"]) for r in children)
    assert recorded == Counter((key, month.partition_key) for (_, month), key in expected)
    for run in children:
        assert of_dagster[run.data.tags["dagster_run"]] == run.data.tags["mlflow.parentRunId"]
        assert run.data.metrics["rows"] > 0 or run.data.tags["asset"] in BEFORE_A_RELEASE
        assert run.data.metrics["duration_sec"] > 0
        assert len(run.data.params["fingerprint"]) == 64


def test_months_are_watched_from_the_first_release_on(world: World) -> None:
    def metadata_of(asset: str, month: Month):
        return world.state.materialization(asset, month).metadata

    assert metadata_of("feature_drift", JANUARY)["release"].value == "no release yet"
    assert read_drift(JANUARY) == read_performance(JANUARY) == []
    for month in (FEBRUARY, MARCH):
        drift = metadata_of("feature_drift", month)
        assert drift["trained_on"].value == str(JANUARY)
        report = Path(str(drift["report"].value))
        [record] = [
            run
            for run in records(world.state)
            if run.data.tags.get("asset") == "feature_drift"
            and run.data.tags["partition"] == month.partition_key
        ]
        kept = mlflow_client().download_artifacts(record.info.run_id, f"drift/{month}.html")
        assert Path(kept).read_bytes() == report.read_bytes()
        columns = len(DEFAULT_SERVICE.features) + 1  # and the score
        assert len(read_drift(month)) == drift["dagster/partition_row_count"].value == columns
    assert metadata_of("model_performance", FEBRUARY)["waits_for"].value == "nothing"
    waits_for = "labels of 2024-03, which mature on 2024-04-30"
    assert metadata_of("model_performance", MARCH)["waits_for"].value == waits_for
    february, march = read_performance(FEBRUARY), read_performance(MARCH)
    assert {row["realised"] is None for row in february} == {False}
    assert {row["realised"] for row in march} == {None}
    assert "![performance](data:image/png" in str(
        metadata_of("model_performance", MARCH)["plot"].value
    )
    assert standing_alarms() == []


def _keys(job: str) -> list[str]:
    return {"month_close": CLOSE_KEYS, "train_month": TRAIN_KEYS, "score_month": SCORE_KEYS}[job]


def test_a_record_says_how_its_checks_ended(world: World) -> None:
    tags = {
        (run.data.tags["asset"], run.data.tags["partition"]): {
            name.removeprefix("check."): value
            for name, value in run.data.tags.items()
            if name.startswith("check.")
        }
        for run in records(world.state)
        if "asset" in run.data.tags
    }
    january = JANUARY.partition_key
    assert tags["subscriptions", january] == {
        "valid": "passed",
        "agrees_with_users": "passed",
        "plausible": "failed",
        "possible": "passed",
    }
    assert tags["churn_model", january] == {
        "onnx_matches": "passed",
        "beats_chance": "passed",
        "calibrated": "passed",
        "no_leak": "passed",
    }
    assert tags["online_features", MARCH.partition_key] == {
        "whole": "passed",
        "parity": "passed",
        "features_api_answers": "passed",
    }


def test_a_version_leads_back_to_the_bytes_of_its_month(world: World) -> None:
    client = mlflow_client()
    baselines = [v for v in versions().values() if v.tags["role"] == "baseline"]
    by_month = {(v.tags["month"], v.tags["service"]): v for v in baselines}
    expected = {(str(m), s.name) for m in MONTHS[:2] for s in SERVICES}
    assert set(by_month) == expected
    assert len(baselines) == len(expected)
    challengers = [v for v in versions().values() if v.tags["role"] == "challenger"]
    assert [v.tags["month"] for v in challengers] == ["2024-01", "2024-02"]
    for month, drop in zip(MONTHS[:2], world.drops, strict=False):
        version = by_month[str(month), DEFAULT_SERVICE.name]
        path = client.download_artifacts(version.run_id, "lineage.json")
        lineage = json.loads(Path(path).read_text())
        assert {d["file"]: d["sha256"] for d in lineage["deliveries"]} == {
            table.name: hashlib.sha256((drop / table.file).read_bytes()).hexdigest()
            for table in TABLES
        }
        assert lineage["training_set"]["fingerprint"] == version.tags["fingerprint"]
        assert version.tags["fingerprint"] == read_training_set(month).fingerprint
        assert version.tags["dagster_run_id"] == world.jobs["train_month", month].run_id
        run = client.get_run(version.run_id)
        assert run.info.run_name == f"rf_baseline_{month.as_of_date}"
        assert run.data.params["as_of"] == str(month.as_of_date)
        parent = client.get_run(run.data.tags["mlflow.parentRunId"])
        assert parent.data.tags["dagster_run_id"] == version.tags["dagster_run_id"]


def test_the_champion_is_what_the_ledger_says(world: World) -> None:
    first, second = entries()
    assert (first.month, first.outcome) == (JANUARY, "promote")
    assert (second.month, second.outcome) == (FEBRUARY, "keep")  # its challenger is the champion
    released = release_in_force(MARCH.as_of)
    assert released is not None
    assert released.version == champion_version()
    assert champion_month() == str(JANUARY)
    assert first.evidence["fingerprint"] == read_training_set(JANUARY).fingerprint
    for month, entry in zip(MONTHS, (first, second), strict=False):
        materialized = world.state.materialization("champion", month).metadata
        assert materialized["decision"].value.startswith(entry.outcome)
        assert released.short_id in str(materialized["evidence"].value)
        assert materialized["waits_for"].value == "nothing"


def test_each_month_is_scored_by_the_release_in_force_at_its_end(world: World) -> None:
    released = release_in_force(MARCH.as_of)
    assert released is not None
    counted = (
        "SELECT count(*), count(DISTINCT release_id), min(release_id), sum(is_action::int) FROM"
    )
    with connect() as connection:
        for month, drop in zip(MONTHS, world.drops, strict=True):
            rows, releases, release_id, due = connection.execute(
                f"{counted} churn_scores WHERE as_of = %s", [month.as_of]
            ).fetchone()
            materialized = world.state.materialization("churn_scores", month).metadata
            if month == JANUARY:  # nothing was known of it before its labels had matured
                assert rows == 0
                assert materialized["release"].value == "no release yet"
                continue
            assert (rows, releases) == (len(csv(drop, SUBSCRIPTIONS)), 1)
            assert release_id == materialized["release"].value == released.release_id
            listed = read_actions(month)
            assert len(listed) == due > 0
            assert [row["rank"] for row in listed] == list(range(1, due + 1))
            share = sum(row["treatment_group"] == "control" for row in listed) / due
            assert 0 < share < 0.2
            assert "raises the risk" in listed[0]["reason_1"]
            kept = pd.read_csv(actions_path(month))
            assert list(kept["user_id"]) == [row["user_id"] for row in listed]
            stored = pq.ParquetFile(scores_path(month)).read()
            assert stored["probability"].to_pylist()[:due] == [r["probability"] for r in listed]


def test_the_report_of_a_month_is_written_from_records(world: World) -> None:
    report = (world.state.home / "reports" / "2024-02.md").read_text()
    assert "AS_OF **2024-02-29**" in report
    for version in versions().values():
        row = f"| {version.tags['service']} | {version.version} | "
        assert (row in report) is (version.tags["month"] == "2024-02")
    assert "['net_service']" in report
    waiting = (world.state.home / "reports" / "2024-03.md").read_text()
    assert "None yet: the labels of 2024-03 mature on 2024-04-30" in waiting
    for command in ("/health", "/features/", "/predict"):
        assert command in waiting
    assert "no answer" not in waiting


def test_checks_are_recorded_under_their_month(world: World) -> None:
    key = dg.AssetCheckKey(dg.AssetKey("users"), "valid")
    history = world.state.instance.event_log_storage.get_asset_check_execution_history(key, limit=9)
    partitions = {record.partition for record in history}
    assert partitions == {month.partition_key for month in MONTHS}


def test_models_are_held_against_the_truth_where_it_is_known(world: World) -> None:
    key = dg.AssetCheckKey(dg.AssetKey("churn_model"), "no_leak")
    history = world.state.instance.event_log_storage.get_asset_check_execution_history(key, limit=9)
    descriptions = {}
    for record in history:
        assert record.event
        evaluation = record.event.dagster_event.asset_check_evaluation_data
        descriptions[record.partition] = evaluation.description
    assert descriptions[JANUARY.partition_key].startswith("not applicable: the labels of month_000")
    lines = descriptions[FEBRUARY.partition_key].splitlines()
    assert len(lines) == 3
    assert all(line.endswith("no leak") for line in lines)

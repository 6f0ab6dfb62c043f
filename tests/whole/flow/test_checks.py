"""Every check of the graph, made to fail."""

import copy
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from churn.contract.in_force import BY_NAME, VIEWS
from churn.database import connect
from churn.deliveries import in_force
from churn.lake.files import lake_file
from churn.model.fitted import Fitted
from churn.model.rows import is_holdout
from churn.plausibility.judge import confirm_month
from churn.promotion import ledger
from churn.settings import get_settings
from tests.kit.states import (
    FEBRUARY,
    JANUARY,
    State,
    champion_month,
    evaluations,
    records,
    scalar,
    versions,
)
from tests.kit.streamflow import USAGE_AGG

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


def change(statement: str, *values: Any) -> None:
    with connect() as connection:
        connection.execute(statement, values)


def spoil(state: State, table: str, line: int, column: str, value: str) -> None:
    """Write another value into one cell of a stored file."""
    delivery = in_force(JANUARY, BY_NAME[table])
    assert delivery is not None
    path = state.home / "deliveries" / delivery.stored_path
    path.chmod(0o644)
    lines = path.read_text().splitlines(keepends=True)
    cells = lines[line - 1].rstrip("\n").split(",")
    cells[lines[0].rstrip("\n").split(",").index(column)] = value
    lines[line - 1] = ",".join(cells) + "\n"
    path.write_text("".join(lines))


def lose(path: Path, users: list[str]) -> None:
    """Take users out of a file of the lake."""
    rows = pq.ParquetFile(path).read()
    path.unlink()
    pq.write_table(rows.filter(pc.invert(pc.is_in(rows["user_id"], pa.array(users)))), path)


def test_valid_fails_on_an_altered_file_and_nothing_is_materialized(closed: State) -> None:
    spoil(closed, "subscriptions", 42, "monthly_fee", "-5")
    before = scalar("SELECT count(*) FROM raw.subscriptions")
    result = closed.make("subscriptions", "subscriptions_profile_snapshots", month=JANUARY)
    assert not result.success
    [valid] = evaluations(result).values()
    assert (valid.check_name, valid.passed, valid.severity) == ("valid", False, ERROR)
    assert valid.partition == JANUARY.partition_key
    assert valid.description == "2 problems (subscriptions.csv 2)"
    report = str(valid.metadata["problems"].value)
    assert re.search(r"\| subscriptions.csv \| 42 \| monthly_fee \| -5.0 \|", report)
    assert "the stored file was altered" in report
    assert "deliver the original file again" in report
    assert not closed.is_materialized("subscriptions", JANUARY)
    assert not closed.is_materialized("subscriptions_profile_snapshots", JANUARY)
    assert scalar("SELECT count(*) FROM raw.subscriptions") == before
    record = records(closed)[-1]
    assert record.info.status == "FAILED"
    assert record.data.tags["check.valid"] == "failed"


def test_agrees_with_users_fails_on_a_stranger(closed: State) -> None:
    stranger = scalar("SELECT min(user_id) FROM raw.users")
    change("DELETE FROM raw.users WHERE user_id = %s", stranger)
    result = closed.make("payments_agg_90d", month=JANUARY)
    assert not result.success
    [agrees] = evaluations(result).values()
    assert (agrees.check_name, agrees.passed) == ("agrees_with_users", False)
    assert f"1 users are not in users.csv of this month: {stranger}" in (agrees.description or "")
    assert not closed.is_materialized("payments_agg_90d", JANUARY)


def test_plausible_only_warns(closed: State) -> None:
    result = closed.make("subscriptions", month=JANUARY)
    assert result.success
    evaluated = evaluations(result)
    odd = evaluated["subscriptions.plausible"]
    assert (odd.passed, odd.severity) == (False, WARN)
    assert "plan_stream_tv blank where net_service is No" in (odd.description or "")
    assert "of rows" in str(odd.metadata["oddities"].value)
    assert evaluated["subscriptions.valid"].passed
    assert closed.is_materialized("subscriptions", JANUARY)


def test_possible_fails_on_last_months_export_and_passes_once_it_is_confirmed(
    closed: State, drops: list[Path]
) -> None:
    closed.deliver(drops[0], month=FEBRUARY)
    keys = ("users", "subscriptions", "users_snapshots")
    result = closed.make(*keys, month=FEBRUARY)
    assert not result.success
    check = evaluations(result)["users.possible"]
    assert (check.passed, check.severity) == (False, ERROR)
    description = check.description or ""
    assert (
        "users.csv of 2024-02 is that of 2024-01: the same content in all 600 rows" in description
    )
    assert "churn confirm --month 2024-02 --check same_content --reason TEXT" in description
    assert "users.csv of 2024-01" in str(check.metadata["compared_with"].value)
    assert not closed.is_materialized("subscriptions", FEBRUARY)
    assert not closed.is_materialized("users_snapshots", FEBRUARY)
    confirm_month(FEBRUARY, "same_content", file=None, reason="a rehearsal", actor="ann")
    result = closed.make(*keys, month=FEBRUARY)
    assert result.success
    check = evaluations(result)["users.possible"]
    assert check.passed
    assert "confirmed by ann on " in (check.description or "")
    assert (check.description or "").endswith(": a rehearsal")


def test_matches_raw_fails_on_a_lost_row_and_stops_the_month(closed: State) -> None:
    lost = scalar("SELECT max(user_id) FROM users_snapshots")
    change("DELETE FROM users_snapshots WHERE user_id = %s", lost)
    result = closed.make("users_snapshots", "users_profile_fv", month=JANUARY)
    assert not result.success
    [check] = evaluations(result).values()
    assert (check.check_name, check.passed, check.severity) == ("matches_raw", False, ERROR)
    assert check.metadata["raw_rows"].value == check.metadata["rows"].value + 1
    assert not closed.is_materialized("users_snapshots", JANUARY)
    assert not closed.is_materialized("users_profile_fv", JANUARY)


def test_matches_snapshot_fails_on_a_lake_that_lost_a_row(
    closed: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    from churn.lake import files as lake

    path = lake_file(USAGE_AGG, JANUARY)
    before, whole = path.read_bytes(), lake.copy_out
    monkeypatch.setattr(lake, "copy_out", lambda *args: whole(*args).slice(1))
    result = closed.make("usage_agg_30d_fv", month=JANUARY)
    assert not result.success
    check = evaluations(result)["usage_agg_30d_fv.matches_snapshot"]
    assert (check.passed, check.severity) == (False, ERROR)
    assert check.metadata["snapshot"].value == check.metadata["rows"].value + 1
    assert path.read_bytes() == before
    assert not closed.is_materialized("usage_agg_30d_fv", JANUARY)


def test_filled_warns_of_a_feature_that_nobody_has(closed: State) -> None:
    change("UPDATE usage_agg_30d_snapshots SET watch_hours_30d = NULL")
    result = closed.make("usage_agg_30d_fv", month=JANUARY)
    assert result.success
    check = evaluations(result)["usage_agg_30d_fv.filled"]
    assert (check.passed, check.severity) == (False, WARN)
    assert check.description == "watch_hours_30d"


def test_whole_fails_where_a_user_is_missing_online(closed: State) -> None:
    gone, partly = scalar("SELECT array[min(user_id), max(user_id)] FROM online.users")
    users = "SELECT array_agg(u.user_id ORDER BY u.user_id) FROM online.users AS u WHERE usage_agg_30d_fv"
    before = scalar(users)
    for view in VIEWS:
        lose(lake_file(view, JANUARY), [gone, partly] if view is USAGE_AGG else [gone])
    result = closed.make("online_features", month=JANUARY)
    assert not result.success
    check = evaluations(result)["online_features.whole"]
    assert (check.passed, check.severity) == (False, ERROR)
    assert check.metadata["behind"].value == 1
    assert check.metadata["mixed"].value == 1  # the view that one user lacks
    assert scalar(users) == before  # readers were never given it
    assert {gone, partly} <= set(before)


def test_both_classes_fails_where_nobody_left(closed: State) -> None:
    change("UPDATE labels_snapshots SET churn_label = false")
    result = closed.make("training_dataset", "churn_model", month=JANUARY)
    assert not result.success
    evaluated = evaluations(result)
    assert evaluated["training_dataset.replay"].passed
    check = evaluated["training_dataset.both_classes"]
    assert not check.passed
    assert check.metadata["churned"].value == 0
    assert not closed.is_materialized("churn_model", JANUARY)


def test_onnx_matches_fails_before_anything_is_registered(
    closed: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    from churn.model import tracking

    exported = tracking.to_onnx

    def without_a_tree(fitted: Fitted) -> bytes:
        pipeline = copy.deepcopy(fitted.pipeline)
        pipeline["forest"].estimators_ = pipeline["forest"].estimators_[1:]
        return exported(replace(fitted, pipeline=pipeline))

    monkeypatch.setattr(tracking, "to_onnx", without_a_tree)
    result = closed.make("training_dataset", "churn_model", "champion", month=JANUARY)
    assert not result.success
    check = evaluations(result)["churn_model.onnx_matches"]
    assert (check.passed, check.severity) == (False, ERROR)
    assert check.metadata["difference"].value > 1e-5
    assert "off by" in (check.description or "")
    assert versions() == {}
    assert not closed.is_materialized("churn_model", JANUARY)
    assert [r.info.status for r in records(closed) if "rf_baseline" in r.info.run_name] == [
        "FAILED"
    ]


def test_beats_chance_fails_on_a_model_that_knows_it_backwards(closed: State) -> None:
    with connect() as connection:
        users = [row[0] for row in connection.execute("SELECT user_id FROM labels_snapshots")]
    held = [user for user, is_held in zip(users, is_holdout(users), strict=True) if is_held]
    change(
        "UPDATE labels_snapshots AS l SET churn_label = (s.months_active < 12) <> (l.user_id = ANY(%s))"
        " FROM subscriptions_profile_snapshots AS s WHERE s.user_id = l.user_id",
        held,
    )
    result = closed.make("training_dataset", "churn_model", "champion", month=JANUARY)
    assert not result.success
    evaluated = evaluations(result)
    assert evaluated["churn_model.onnx_matches"].passed
    check = evaluated["churn_model.beats_chance"]
    assert (check.passed, check.severity) == (False, ERROR)
    assert max(check.metadata["auc"].value.values()) < 0.5
    assert not closed.is_materialized("champion", JANUARY)
    assert versions() == {}  # refused before anything was registered
    statuses = {r.info.status for r in records(closed) if "_2024-01-31" in r.info.run_name}
    assert statuses == {"FAILED"}  # the runs stay, as evidence
    assert champion_month() is None
    assert ledger.entries() == []


def test_no_leak_fails_where_a_feature_knows_the_label(
    closed: State, drops: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = closed.home / "oracle"
    oracle.mkdir()
    # As if January were not the benchmark's own month: its probabilities are known as any other's.
    shutil.copy(drops[0].parent / "oracle" / "month_000.parquet", oracle / "month_001.parquet")
    monkeypatch.setenv("CHURN_ORACLE", str(oracle))
    monkeypatch.setenv("CHURN_FIRST_MONTH", "2023-12")
    get_settings.cache_clear()
    change(
        "UPDATE payments_agg_90d_snapshots AS p SET failed_payments_90d = 3 * l.churn_label::int"
        " FROM labels_snapshots AS l WHERE l.user_id = p.user_id"
    )
    result = closed.make(
        "payments_agg_90d_fv", "training_dataset", "churn_model", "champion", month=JANUARY
    )
    assert not result.success
    evaluated = evaluations(result)
    assert evaluated["churn_model.beats_chance"].passed
    check = evaluated["churn_model.no_leak"]
    assert (check.passed, check.severity) == (False, ERROR)
    assert "a leak" in (check.description or "")
    figures = check.metadata["against_truth"].value
    assert len(figures) == 3
    assert all(each["lower_bound"] > 0 for each in figures.values())
    assert versions() == {}
    assert not closed.is_materialized("champion", JANUARY)
    assert ledger.entries() == []

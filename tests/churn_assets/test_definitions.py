import warnings
from collections import defaultdict
from collections.abc import Iterator

import dagster as dg
import pytest

from churn.contract.in_force import DEFAULT_SERVICE, LABELS, PROFILE_TABLES, TABLES, VIEWS
from churn.scoring.scores import SCHEMA
from churn.settings import Settings
from churn_assets.definitions import defs
from churn_assets.executor import one_process
from churn_assets.monthly import monthly_partitions

# group: asset <- what it reads | kinds | checks, those that block with !
GRAPH = """
raw: users <- | csv postgres | agrees_with_users! plausible possible! valid!
raw: labels <- users | csv postgres | agrees_with_users! plausible possible! valid!
raw: payments_agg_90d <- users | csv postgres | agrees_with_users! plausible possible! valid!
raw: subscriptions <- users | csv postgres | agrees_with_users! plausible possible! valid!
raw: support_agg_90d <- users | csv postgres | agrees_with_users! plausible possible! valid!
raw: usage_agg_30d <- users | csv postgres | agrees_with_users! plausible possible! valid!
snapshots: labels_snapshots <- labels | postgres | matches_raw!
snapshots: payments_agg_90d_snapshots <- payments_agg_90d | postgres | matches_raw!
snapshots: subscriptions_profile_snapshots <- subscriptions | postgres | matches_raw!
snapshots: support_agg_90d_snapshots <- support_agg_90d | postgres | matches_raw!
snapshots: usage_agg_30d_snapshots <- usage_agg_30d | postgres | matches_raw!
snapshots: users_snapshots <- users | postgres | matches_raw!
feature_views: payments_agg_90d_fv <- payments_agg_90d_snapshots | feast parquet | filled matches_snapshot!
feature_views: subs_contract_fv <- subscriptions_profile_snapshots | feast parquet | filled matches_snapshot!
feature_views: subs_profile_fv <- subscriptions_profile_snapshots | feast parquet | filled matches_snapshot!
feature_views: support_agg_90d_fv <- support_agg_90d_snapshots | feast parquet | filled matches_snapshot!
feature_views: usage_agg_30d_fv <- usage_agg_30d_snapshots | feast parquet | filled matches_snapshot!
feature_views: users_profile_fv <- users_snapshots | feast parquet | filled matches_snapshot!
online: online_features <- VIEWS | feast postgres | features_api_answers parity! whole!
training: training_dataset <- labels_snapshots VIEWS | feast parquet | both_classes! filled replay!
model: churn_model <- training_dataset | mlflow onnx scikitlearn | beats_chance! calibrated no_leak! onnx_matches!
model: champion <- champion churn_model training_dataset | mlflow postgres |
scores: churn_scores <- champion VIEWS | onnx parquet postgres | everybody! probabilities! unsaturated
scores: action_list <- churn_scores | csv postgres |
model: backtest <- training_dataset | postgres scikitlearn |
scores: uplift <- action_list labels_snapshots | postgres |
monitoring: feature_drift <- churn_scores VIEWS | postgres | no_drift
monitoring: model_performance <- churn_scores training_dataset | postgres | as_estimated
reports: monthly_report <- action_list champion feature_drift model_performance online_features uplift | markdown |
"""  # noqa: E501
CLOSE = """
users subscriptions usage_agg_30d payments_agg_90d support_agg_90d
users_snapshots subscriptions_profile_snapshots usage_agg_30d_snapshots payments_agg_90d_snapshots
support_agg_90d_snapshots
subs_profile_fv usage_agg_30d_fv payments_agg_90d_fv support_agg_90d_fv subs_contract_fv users_profile_fv
online_features
"""
TRAIN = """
labels labels_snapshots training_dataset churn_model champion model_performance uplift monthly_report
"""
SCORE = "churn_scores action_list feature_drift model_performance uplift monthly_report"


@pytest.fixture(scope="module")
def specs() -> list[dg.AssetSpec]:
    return list(defs.resolve_all_asset_specs())


@pytest.fixture(scope="module")
def checks() -> list[dg.AssetCheckSpec]:
    graph = defs.resolve_asset_graph()
    return [graph.get_check_spec(key) for key in graph.asset_check_keys]


def lines(specs: list[dg.AssetSpec], checks: list[dg.AssetCheckSpec]) -> Iterator[str]:
    of_asset = defaultdict(list)
    for check in checks:
        of_asset[check.asset_key].append(check.name + "!" * check.blocking)
    views = {view.name for view in VIEWS}
    for spec in specs:
        deps = {dep.asset_key.to_user_string() for dep in spec.deps}
        names = [*sorted(deps - views), "VIEWS"] if views <= deps else sorted(deps)
        reads = " ".join(["<-", *names])
        parts = (reads, " ".join(sorted(spec.kinds)), " ".join(sorted(of_asset[spec.key])))
        yield f"{spec.group_name}: {spec.key.to_user_string()} {' | '.join(parts)}".rstrip()


def test_the_graph_is_this(specs: list[dg.AssetSpec], checks: list[dg.AssetCheckSpec]) -> None:
    assert sorted(lines(specs, checks)) == sorted(GRAPH.strip().splitlines())


def test_every_table_and_view_of_the_contract_is_an_asset(specs: list[dg.AssetSpec]) -> None:
    keys = {spec.key.to_user_string() for spec in specs}
    assert {t.name for t in TABLES} | {t.snapshot for t in TABLES} | {v.name for v in VIEWS} < keys


def test_every_asset_is_owned_described_and_monthly(specs: list[dg.AssetSpec]) -> None:
    for spec in specs:
        assert spec.owners == ["team:churn"], spec.key
        assert len(spec.description or "") > 60, spec.key
        assert spec.group_name != "default", spec.key
        assert isinstance(spec.partitions_def, dg.MonthlyPartitionsDefinition), spec.key
        assert len(spec.kinds) <= 3, spec.key  # Dagster refuses more


def test_every_check_is_described(checks: list[dg.AssetCheckSpec]) -> None:
    assert all(check.description for check in checks)
    # the smoke check asks for the newest month, whichever that is
    assert {c.name for c in checks if c.partitions_def is None} == {"features_api_answers"}


def test_tables_and_views_show_their_columns(specs: list[dg.AssetSpec]) -> None:
    columns = {
        spec.key.to_user_string(): [c.name for c in spec.metadata["dagster/column_schema"].columns]
        for spec in specs
        if "dagster/column_schema" in spec.metadata
    }
    version = ["user_id", "as_of", "known_at", "is_withdrawn"]
    for table in TABLES:
        own = [column.name for column in table.columns]
        assert columns.pop(table.name) == own
        assert columns.pop(table.snapshot) == version + own[1:]
    for view in VIEWS:
        assert columns.pop(view.name) == version + [f.name for f in view.features]
    trained = columns.pop("training_dataset")
    assert trained == ["user_id", "as_of", *DEFAULT_SERVICE.feature_names, "churn_label"]
    assert columns.pop("churn_scores") == SCHEMA.names
    assert columns == {}


def job_keys(name: str) -> set[str]:
    nodes = defs.resolve_job_def(name).asset_layer.executable_asset_keys
    return {key.to_user_string() for key in nodes}


def test_closing_a_month_needs_no_label_and_no_model() -> None:
    closed = job_keys("month_close")
    assert closed == set(CLOSE.split())
    assert not [key for key in closed if "label" in key or "model" in key or "train" in key]


def test_training_a_month_reads_only_what_closing_it_has_made() -> None:
    assert job_keys("train_month") == set(TRAIN.split())
    assert job_keys("month_close") & job_keys("train_month") == set()
    assert {LABELS.name, *(t.name for t in PROFILE_TABLES)} == {t.name for t in TABLES}


def test_scoring_a_month_makes_its_scores_its_list_and_its_report() -> None:
    assert job_keys("score_month") == set(SCORE.split())
    assert job_keys("month_close") & job_keys("score_month") == set()
    both = {"model_performance", "uplift", "monthly_report"}  # made again when labels are there
    assert job_keys("train_month") & job_keys("score_month") == both


def test_the_smoke_check_runs_at_the_end_of_every_close() -> None:
    for job, runs in (("month_close", True), ("train_month", False), ("score_month", False)):
        nodes = {node.name for node in defs.resolve_job_def(job).graph.nodes}
        assert ("online_features_features_api_answers" in nodes) is runs


def test_sensors_and_schedules_are_on_from_the_start() -> None:
    sensors = {s.name: s.default_status for s in defs.sensors or []}
    assert sensors == dict.fromkeys(
        [
            "drops_folder",
            "alarms",
            "dead_runs",
            "events",
            "requests",
            "records_of_success",
            "records_of_failure",
            "records_of_canceled",
        ],
        dg.DefaultSensorStatus.RUNNING,
    )
    [schedule] = defs.schedules or []
    assert (schedule.name, schedule.cron_schedule) == ("late_drops", "0 6 3 * *")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING


def test_only_new_drops_and_alarms_launch_runs() -> None:
    launchers = {s.name: [t.job_name for t in s.targets] for s in defs.sensors or [] if s.targets}
    assert launchers == {
        "drops_folder": ["month_close", "train_month", "score_month"],
        "alarms": ["train_month"],
    }
    assert all(spec.automation_condition is None for spec in defs.resolve_all_asset_specs())


def test_definitions_are_valid_and_run_in_one_process() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", dg.PreviewWarning)
        dg.Definitions.validate_loadable(defs)
    assert defs.executor is one_process
    assert defs.resources is not None
    assert set(defs.resources) == {"mlflow"}


def partitions(monkeypatch: pytest.MonkeyPatch, first: str, last: str | None) -> list[str]:
    monkeypatch.setenv("CHURN_FIRST_MONTH", first)
    monkeypatch.delenv("CHURN_LAST_MONTH", raising=False)
    if last is not None:
        monkeypatch.setenv("CHURN_LAST_MONTH", last)
    return list(monthly_partitions(Settings()).get_partition_keys())


def test_partitions_run_from_the_first_to_the_last_month(monkeypatch: pytest.MonkeyPatch) -> None:
    months = partitions(monkeypatch, "2023-11", "2024-02")
    assert months == ["2023-11-01", "2023-12-01", "2024-01-01", "2024-02-01"]
    assert partitions(monkeypatch, "2024-01", "2024-01") == ["2024-01-01"]


@pytest.mark.parametrize("last", [None, ""])
def test_partitions_are_open_where_no_last_month_is_set(
    monkeypatch: pytest.MonkeyPatch, last: str | None
) -> None:
    months = partitions(monkeypatch, "2024-01", last)
    assert months[:2] == ["2024-01-01", "2024-02-01"]
    assert len(months) > 20


def test_a_month_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="is not a month"):  # get_settings says it as a ChurnError
        partitions(monkeypatch, "January", None)

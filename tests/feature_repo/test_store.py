import asyncio
import datetime as dt
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from feast import FeatureStore

from churn.contract.in_force import BASELINE, SERVICE_VERSIONS, VIEW_BY_NAME, VIEWS
from churn.database import connect
from churn.lake.files import lake_file, write_file
from churn.online.publish import publish
from churn.settings import Settings
from feature_repo.store import apply_features, open_store, registry_url, repository
from tests.kit.snapshot_rows import FEBRUARY, JANUARY, put_profile


@pytest.fixture
def store(settings: Settings) -> FeatureStore:
    apply_features()
    store = open_store()
    yield store
    asyncio.run(store.close())


def read(store: FeatureStore, *users: str) -> dict[str, list]:
    service = store.get_feature_service(BASELINE.name)
    rows = [{"user_id": user} for user in users]
    return store.get_online_features(features=service, entity_rows=rows).to_dict()


def test_the_registry_holds_the_contract_s_views_and_services(store: FeatureStore) -> None:
    registered = {
        view.name: [(f.name, str(f.dtype)) for f in view.features]
        for view in store.list_feature_views()
    }
    assert registered == {view.name: [(f.name, f.dtype) for f in view.features] for view in VIEWS}
    names = {name for each in SERVICE_VERSIONS for name in (each.name, each.versioned_name)}
    assert {s.name for s in store.list_feature_services()} == names
    baseline = store.get_feature_service(BASELINE.name).feature_view_projections
    assert sum(len(view.features) for view in baseline) == len(BASELINE.features)


def test_feast_s_own_plan_finds_nothing_to_change(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By Feast's command, in this process: Feast alone takes seconds to import."""
    from feast.cli.cli import cli

    put_profile(JANUARY, ["a"])
    monkeypatch.setenv("FEAST_REGISTRY_URL", registry_url())
    monkeypatch.chdir(
        Path.cwd()
    )  # it changes into the repository, whose modules it imports by their bare names
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
    done = CliRunner().invoke(cli, ["-c", str(repository()), "plan"])
    assert done.exit_code == 0, done.output
    assert "No changes to registry" in done.stdout
    assert "WARNING" not in done.output + caplog.text


def test_online_answers_are_the_published_rows_and_none_for_strangers(store: FeatureStore) -> None:
    put_profile(JANUARY, ["a", "b"], monthly_fee=29.85, plan_stream_tv=None)
    publish(JANUARY)
    answer = read(store, "b", "nobody", "a")
    assert answer["monthly_fee"] == [
        pytest.approx(29.85, rel=1e-6),
        None,
        pytest.approx(29.85, rel=1e-6),
    ]
    assert answer["plan_stream_tv"] == [None, None, None]
    assert answer["months_active"] == [3, None, 3]


def test_a_missing_row_is_told_from_a_stored_null(store: FeatureStore) -> None:
    put_profile(JANUARY, ["a"], plan_stream_tv=None)
    publish(JANUARY)
    with connect() as connection:
        connection.execute("UPDATE online.users SET usage_agg_30d_fv = false")
    service = store.get_feature_service(BASELINE.name)
    proto = store.get_online_features(features=service, entity_rows=[{"user_id": "a"}]).proto
    statuses = dict(
        zip(proto.metadata.feature_names.val, [r.statuses[0] for r in proto.results], strict=True)
    )
    from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

    present, null, missing = FieldStatus.PRESENT, FieldStatus.NULL_VALUE, FieldStatus.NOT_FOUND
    assert statuses["monthly_fee"] == present
    assert statuses["plan_stream_tv"] in {null, present}
    assert statuses["watch_hours_30d"] == missing


def test_feast_materialize_writes_our_tables_and_never_an_older_month(store: FeatureStore) -> None:
    put_profile(JANUARY, ["a", "b"], monthly_fee=1.0)
    put_profile(FEBRUARY, ["a"], monthly_fee=2.0)
    hour = dt.timedelta(hours=1)
    for month in (FEBRUARY, JANUARY):
        store.materialize(month.as_of - hour, month.as_of + hour, feature_views=["subs_profile_fv"])
    assert read(store, "a", "b")["monthly_fee"] == [2.0, 1.0]


def test_feast_reads_months_of_before_and_after_a_contract_grew(store: FeatureStore) -> None:
    put_profile(JANUARY, ["a"])
    put_profile(FEBRUARY, ["a"], watch_hours_30d=1.5, skips_7d=4)
    path = lake_file(VIEW_BY_NAME["usage_agg_30d_fv"], JANUARY)
    rows = pq.ParquetFile(path).read().drop_columns(["skips_7d"])
    at = rows.schema.get_field_index("watch_hours_30d")
    write_file(rows.set_column(at, "watch_hours_30d", pa.array([1], pa.int64())), path)
    hour = dt.timedelta(hours=1)
    store.materialize(
        FEBRUARY.as_of - hour, FEBRUARY.as_of + hour, feature_views=["usage_agg_30d_fv"]
    )
    values = read(store, "a")
    assert (values["watch_hours_30d"], values["skips_7d"]) == ([1.5], [4])


def test_teardown_empties_the_online_tables_only(store: FeatureStore) -> None:
    put_profile(JANUARY, ["a"])
    publish(JANUARY)
    views = store.list_feature_views()
    store._get_provider().online_store.teardown(store.config, views, [])
    assert read(store, "a")["monthly_fee"] == [None]
    with connect() as connection:
        [(kept,)] = connection.execute("SELECT count(*) FROM subscriptions_profile_snapshots")
    assert kept == 1


def test_feast_is_loaded_without_compiling_its_classes_again() -> None:
    program = (
        "import typeguard._decorators as t\n"
        "t.instrument = None\n"  # what would compile a class cannot be called
        "import feature_repo.streamflow, feature_repo.online_store, feature_repo.offline_store, feast\n"
        "print(feast.FeatureStore.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "FeatureStore"

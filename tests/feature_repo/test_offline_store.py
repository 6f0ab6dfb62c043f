import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureStore
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from hypothesis import given, settings
from hypothesis import strategies as st

from churn.errors import ChurnError
from churn.months import Month
from feature_repo.offline_store import MonthLakeOfflineStore
from feature_repo.store import open_store
from feature_repo.streamflow import feast_objects
from tests.kit.random_lakes import ASKED, DAY, VIEWS, Asked, Lake, lake_of, lakes, row, write_lake

JANUARY, FEBRUARY = Month.parse("2024-01"), Month.parse("2024-02")
REFS = [f"{view.name}:{feature.name}" for view in VIEWS for feature in view.features]
LIVES = {"month": 27 * DAY, "long": 45 * DAY, "endless": None}


@dataclasses.dataclass
class Stores:
    """Feast on one lake, with our store and with its own, for each life of a row."""

    lake: Path
    ours: dict[str, FeatureStore]
    theirs: dict[str, FeatureStore]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    folder = tmp_path_factory.mktemp("stores")
    opened = Stores(folder / "lake", {}, {})
    for name, life in LIVES.items():
        registry = {"registry_type": "file", "path": str(folder / f"{name}.db")}
        objects = feast_objects(opened.lake)
        for view in VIEWS:
            objects[view.name].ttl = life
        options: dict[str, Any] = {"registry": registry, "online_store": None}
        opened.ours[name] = open_store(**options)
        opened.theirs[name] = open_store(**options, offline_store={"type": "duckdb"})
        opened.ours[name].apply([*objects.values()])
    assert isinstance(opened.ours["month"]._get_provider().offline_store, MonthLakeOfflineStore)
    return opened


def frame(asked: list[Asked]) -> pd.DataFrame:
    rows = pd.DataFrame([dataclasses.asdict(one) for one in asked]).drop(columns="known_by")
    return rows.astype({"event_timestamp": "datetime64[us, UTC]"})


def ask(store: FeatureStore, entities: Any, features: Any = REFS, **how: Any) -> pa.Table:
    return store.get_historical_features(entity_df=entities, features=features, **how).to_arrow()


def tuples(table: pa.Table) -> list[tuple]:
    return sorted((tuple(one.values()) for one in table.to_pylist()), key=repr)


def january(user: str) -> Asked:
    return Asked(user, JANUARY.as_of, JANUARY.as_of, 1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # ibis uses what duckdb has renamed
@settings(max_examples=25)
@given(
    lakes(),
    ASKED,
    st.sampled_from([*LIVES]),
    st.lists(st.sampled_from(REFS), min_size=1, unique=True),
    st.booleans(),
    st.booleans(),
)
def test_answers_are_those_of_feast_s_duckdb_store(
    stores: Stores,
    lake: Lake,
    asked: list[Asked],
    life: str,
    features: list[str],
    as_known: bool,
    full_names: bool,
) -> None:
    write_lake(lake, stores.lake)
    how = {
        "features": features,
        "filter_by_created_timestamp": as_known,
        "full_feature_names": full_names,
    }
    ours, theirs = (ask(some[life], frame(asked), **how) for some in (stores.ours, stores.theirs))
    assert ours.column_names == theirs.column_names
    assert tuples(ours) == tuples(theirs)


def test_entity_rows_may_be_pandas_arrow_or_sql(stores: Stores, tmp_path: Path) -> None:
    write_lake(lake_of(row("a", JANUARY, 1), row("b", JANUARY, 2)), stores.lake)
    entities = frame([january("b"), january("a"), january("nobody")])
    file = tmp_path / "entities.parquet"
    entities.to_parquet(file)
    store = stores.ours["month"]
    forms = [
        entities,
        pa.Table.from_pandas(entities),
        f"SELECT * FROM '{file}' ORDER BY label, user_id",
    ]
    texts = entities.assign(event_timestamp=entities["event_timestamp"].astype(str))
    answers = [ask(store, form) for form in [*forms, texts]]
    assert all(tuples(one) == tuples(answers[0]) for one in answers)
    assert answers[0]["user_id"].to_pylist() == ["b", "a", "nobody"]
    assert answers[0]["failed_payments_90d"].to_pylist() == [2, 1, None]
    assert store.get_historical_features(entities, REFS).to_df()["failed_payments_90d"].count() == 2


def test_known_by_asks_for_a_month_as_it_became_known_later(stores: Stores) -> None:
    write_lake(
        lake_of(row("a", JANUARY, 1), row("a", JANUARY, 7, late=20 * DAY), row("a", FEBRUARY, 2)),
        stores.lake,
    )
    rows = [
        Asked("a", JANUARY.as_of, JANUARY.as_of + after, 0)
        for after in (0 * DAY, 20 * DAY - dt.timedelta(microseconds=1), 20 * DAY, 400 * DAY)
    ]
    entities = pd.DataFrame([dataclasses.asdict(one) for one in rows])
    answer = ask(stores.ours["month"], entities, filter_by_created_timestamp=True)
    assert answer["failed_payments_90d"].to_pylist() == [1, 1, 7, 7]
    without = ask(stores.ours["month"], entities)
    assert without["failed_payments_90d"].to_pylist() == [7, 7, 7, 7]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Retrieving datasets is an experimental feature:RuntimeWarning")
def test_a_saved_dataset_can_be_read_again(stores: Stores, tmp_path: Path) -> None:
    write_lake(lake_of(row("a", JANUARY, 1)), stores.lake)
    store = stores.ours["month"]
    job = store.get_historical_features(frame([january("a")]), REFS)
    storage = SavedDatasetFileStorage(str(tmp_path / "saved.parquet"))
    with pytest.warns(RuntimeWarning, match="Saving dataset is an experimental feature"):
        saved = store.create_saved_dataset(job, "saved", storage)
    assert saved.features == REFS
    assert store.get_saved_dataset("saved").to_df()["failed_payments_90d"].tolist() == [1]


def test_a_lake_without_files_is_refused(stores: Stores) -> None:
    write_lake({view.name: [] for view in VIEWS}, stores.lake)
    with pytest.raises(ChurnError, match="no month of this view"):
        ask(stores.ours["month"], frame([january("a")]))

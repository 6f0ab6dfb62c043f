"""The smoke check asks the running API for what was delivered, whatever the ids and the values."""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.champion import ChampionWatcher
from api.dependencies import Parts
from api.features import StorePart, open_store_reader
from api.keys import KeyRing
from api.main import create_app
from churn.api_keys import keep_own_key
from churn.contract.in_force import USERS
from churn.database import connect
from churn.lake.files import lake_file, write_file
from churn.online.publish import publish
from churn.settings import Settings, get_settings
from churn.verification.smoke import SmokeResult, smoke_test
from feature_repo.store import apply_features
from tests.kit.api_fakes import MemoryRegistry
from tests.kit.servers import served
from tests.kit.snapshot_rows import JANUARY, put, put_profile, write_month
from tests.kit.streamflow import PAYMENTS, SUBS_CONTRACT, SUBSCRIPTIONS, SUPPORT, USAGE


@pytest.fixture
def smoke(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    """Publish what a test has put into January, and ask the API for it."""

    def ask(*, by_key: bool = False) -> SmokeResult:
        publish(JANUARY)
        apply_features()
        keys = KeyRing() if by_key else None
        if keys is not None:
            keys.poll()
        parts = Parts(StorePart(open_store_reader), ChampionWatcher(MemoryRegistry()), keys)
        with served(create_app(lambda: parts)) as url:
            monkeypatch.setenv("CHURN_API_URL", url)
            get_settings.cache_clear()
            return smoke_test(sample=20)

    return ask


def test_ids_that_mean_something_in_a_url_are_asked_for_as_they_are(smoke) -> None:
    ids = ["rxIP2f2aN0rYNp+toI0Obt/N/FYQX8hcO1fTmmy2h34=", "#17", "a?b=c", "100%", "a%2Fb", "a/b"]
    put_profile(JANUARY, ids)
    result = smoke()
    assert result.problems == []
    assert (result.users_compared, result.passed) == (6, True)


def test_an_api_that_asks_for_keys_is_asked_by_the_platforms_own(
    smoke: Callable[..., SmokeResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_profile(JANUARY, ["a"])
    with connect() as connection:
        keep_own_key(connection, OWN)
    assert "GET /features/a answered 401" in smoke(by_key=True).problems
    monkeypatch.setenv("CHURN_API_KEY", OWN)
    assert smoke(by_key=True).passed


OWN = "of-the-platform-0123456789abcdef"
MONEY = [1234567.89, 131072.01, 2388000.55, 16777217.0, 99999999.99, 0.0]


def test_money_is_served_to_the_cent_as_it_was_delivered(smoke) -> None:
    for at, paid in enumerate(MONEY):
        put(SUBSCRIPTIONS, JANUARY, [f"u{at}"], total_paid=paid, monthly_fee=65536.01)
    for table in (USERS, USAGE, PAYMENTS, SUPPORT):
        put(table, JANUARY, [f"u{at}" for at in range(len(MONEY))])
    write_month(JANUARY)
    result = smoke()
    assert result.problems == []
    assert (result.users_compared, result.passed) == (len(MONEY), True)


def test_a_column_that_loses_cents_on_its_way_is_seen(smoke) -> None:
    put_profile(JANUARY, ["a"], total_paid=1234567.89)
    path = lake_file(SUBS_CONTRACT, JANUARY)
    rows = pq.ParquetFile(path).read()
    rounded = rows["total_paid"].cast(pa.float32()).cast(pa.float64())
    at = rows.schema.get_field_index("total_paid")
    write_file(rows.set_column(at, rows.schema.field(at), rounded), path)
    assert smoke().problems == ["a: total_paid is 1234567.875 online, 1234567.89 delivered"]

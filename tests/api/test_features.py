import datetime as dt
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from api.errors import NotReadyError
from api.features import (
    NO_RIGHT,
    NOTHING_PUBLISHED,
    FeatureRows,
    StorePart,
    StoreState,
    open_store_reader,
)
from churn.contract.in_force import BASELINE, DEFAULT_SERVICE, SERVICES
from churn.contract.structure import Service
from churn.database import connect
from churn.database.init import admit_readers
from churn.online.publish import publish
from churn.settings import Settings, get_settings
from churn.stack.parts import make_plan
from churn.stack.record import StackRecord
from feature_repo.store import apply_features, open_store
from tests.kit.snapshot_rows import FEBRUARY, JANUARY, LATER, MARCH, put_profile
from tests.kit.streamflow import SUPPORT, USAGE
from tests.kit.waiting import until

pytestmark = pytest.mark.usefixtures("settings")


class StoreReader:
    """The real reader, its event loop in a thread of its own; may be asked by many threads."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal
        self._reader = portal.call(open_store_reader)

    def read(self, user_ids: list[str], service: Service) -> FeatureRows:
        return self._portal.call(self._reader.read, user_ids, service)

    def check(self) -> dt.date:
        return self._portal.call(self._reader.check)

    def close(self) -> None:
        self._portal.call(self._reader.close)


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as opened:
        yield opened


@pytest.fixture
def reader(
    settings: Settings, portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StoreReader]:
    """A reader that connects as the API does, which is not as those who publish."""
    apply_features()
    admit_readers()
    with monkeypatch.context() as patch:
        for name, value in make_plan(StackRecord()).parts["api"].environment.items():
            patch.setenv(name, value)
        get_settings.cache_clear()
        assert get_settings().postgres_user == "churn_api"
        opened = StoreReader(portal)
    get_settings.cache_clear()
    yield opened
    opened.close()


def publish_month(month, users: list[str], **values) -> None:
    put_profile(month, users, **values)
    publish(month)


def test_values_are_those_of_the_month_in_the_contracts_order(reader: StoreReader) -> None:
    publish_month(
        JANUARY, ["a"], monthly_fee=29.85, total_paid=0.1, plan_stream_tv=None, net_service="No"
    )
    reading = reader.read(["a"], DEFAULT_SERVICE)
    user = reading.users[0]
    assert reading.newest == user.as_of == dt.date(2024, 1, 31)
    assert reading.is_current(user)
    assert user.missing_views == []
    assert list(user.values) == DEFAULT_SERVICE.feature_names
    expected = {
        "monthly_fee": 29.85,
        "total_paid": 0.1,
        "plan_stream_tv": None,
        "net_service": "No",
    }
    assert {name: user.values[name] for name in expected} == expected
    assert user.values["months_active"] == 3
    assert user.values["paperless_billing"] is True
    types = {f.name: f.dtype for f in DEFAULT_SERVICE.features}
    python = {"Int64": int, "Float64": float, "Float32": float, "Bool": bool, "String": str}
    for name, value in user.values.items():
        assert value is None or type(value) is python[types[name]]


@pytest.mark.parametrize("service", SERVICES, ids=lambda s: s.name)
def test_only_the_services_views_are_read(reader: StoreReader, service) -> None:
    publish_month(JANUARY, ["a"])
    assert list(reader.read(["a"], service).users[0].values) == service.feature_names


def test_users_come_in_the_order_asked_unknown_and_repeated_ones_too(reader: StoreReader) -> None:
    publish_month(JANUARY, ["a", "b"])
    publish_month(FEBRUARY, ["a", "c"])
    reading = reader.read(["c", "nobody", "b", "a", "c"], BASELINE)
    january, february = dt.date(2024, 1, 31), dt.date(2024, 2, 29)
    assert [(u.user_id, u.as_of) for u in reading.users] == [
        ("c", february),
        ("nobody", None),
        ("b", january),
        ("a", february),
        ("c", february),
    ]
    assert [reading.is_current(u) for u in reading.users] == [True, False, False, True, True]


def test_a_view_without_a_row_is_missing_a_row_of_nulls_is_not(reader: StoreReader) -> None:
    publish_month(JANUARY, ["a"], **{column.name: None for column in USAGE.values})
    with connect() as connection:
        connection.execute("UPDATE online.users SET support_agg_90d_fv = false")
    user = reader.read(["a"], DEFAULT_SERVICE).users[0]
    assert user.missing_views == [
        view.name for view in DEFAULT_SERVICE.views if view.table is SUPPORT
    ]
    assert user.values["watch_hours_30d"] is None
    assert user.as_of == dt.date(2024, 1, 31)


def test_a_correction_is_served(reader: StoreReader) -> None:
    publish_month(JANUARY, ["a", "b"], monthly_fee=1.0)
    publish_month(JANUARY, ["a"], monthly_fee=2.0, known_at=LATER, withdrawn=["b"])
    a, b = reader.read(["a", "b"], BASELINE).users
    assert a.values["monthly_fee"] == 2.0
    assert b.as_of is None


def test_nothing_published_is_not_ready(reader: StoreReader) -> None:
    with pytest.raises(NotReadyError, match="no month has been published yet"):
        reader.check()
    publish_month(JANUARY, ["a"])
    assert reader.check() == dt.date(2024, 1, 31)


def test_a_right_that_is_missing_is_named_until_it_is_granted(reader: StoreReader) -> None:
    publish_month(JANUARY, ["a"])
    with connect() as connection:
        connection.execute("REVOKE SELECT ON online.users FROM churn_api")
    with pytest.raises(NotReadyError) as refused:
        reader.check()
    assert refused.value.detail["reason"] == NO_RIGHT
    admit_readers()
    assert reader.check() == dt.date(2024, 1, 31)


def test_a_statement_that_hangs_is_given_up(reader: StoreReader) -> None:
    publish_month(JANUARY, ["a"])
    with connect() as connection:
        connection.execute("LOCK TABLE online.publications IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(NotReadyError, match="Postgres does not answer"):
            reader.read(["a"], DEFAULT_SERVICE)
    assert reader.read(["a"], DEFAULT_SERVICE).users[0].as_of == dt.date(2024, 1, 31)


def test_publishing_never_makes_a_user_look_gone_or_mixed(reader: StoreReader) -> None:
    publish_month(JANUARY, ["a"], monthly_fee=1.0, watch_hours_30d=1.0)
    put_profile(FEBRUARY, ["a"], monthly_fee=2.0, watch_hours_30d=2.0)
    put_profile(MARCH, ["a"], monthly_fee=3.0, watch_hours_30d=3.0)
    stop, seen, gone = threading.Event(), set(), []

    def read() -> None:
        while not stop.is_set():
            reading = reader.read(["a"], BASELINE)
            user = reading.users[0]
            fee, hours = user.values["monthly_fee"], user.values["watch_hours_30d"]
            seen.add((str(user.as_of), fee, hours))
            if not reading.is_current(user):
                gone.append(reading)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for month, fee in ((FEBRUARY, 2.0), (MARCH, 3.0)):
            publish(month)
            until(lambda f=fee: any(f == one[1] for one in seen))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not gone
    assert seen <= {
        ("2024-01-31", 1.0, 1.0),
        ("2024-02-29", 2.0, 2.0),
        ("2024-03-31", 3.0, 3.0),
    }


def test_the_store_opens_once_the_features_are_registered(portal: BlockingPortal) -> None:
    part = StorePart(open_store_reader, retry_seconds=0.05)

    async def start() -> None:
        part.start()

    def state() -> StoreState:
        return portal.call(part.state)

    portal.call(start)
    try:
        until(lambda: "cannot be opened" in (state().problem or ""))
        apply_features()
        until(lambda: state().problem == NOTHING_PUBLISHED)
    finally:
        portal.call(part.stop)


@pytest.mark.parametrize("service", SERVICES, ids=lambda s: s.name)
def test_feast_answers_the_same(reader: StoreReader, service: Service) -> None:
    publish_month(JANUARY, ["a", "b"], monthly_fee=29.85, plan_stream_tv=None)
    publish_month(FEBRUARY, ["a"], monthly_fee=0.1, total_paid=1234567.89)
    users = ["a", "b", "nobody"]
    store = open_store()
    feasts = store.get_online_features(
        store.get_feature_service(service.name), {"user_id": users}
    ).to_dict()
    floats = {feature.name for feature in service.features if feature.dtype == "Float32"}
    ours = reader.read(users, service).users
    assert set(feasts) == {"user_id", *service.feature_names}
    for name in service.feature_names:
        for row, value in zip(ours, feasts[name], strict=True):
            if name in floats and value is not None:
                value = float(str(np.float32(value)))  # the same float32, by its shortest text
            assert row.values[name] == value

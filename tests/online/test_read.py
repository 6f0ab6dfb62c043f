import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable, Sequence

import psycopg
import pytest

from churn.contract.in_force import DEFAULT_SERVICE, VIEWS
from churn.contract.structure import View
from churn.database import connect
from churn.online.publish import publish
from churn.online.read import CONNECTION, OnlineRow, read_rows, read_rows_async
from churn.online.redis_copy import copy_to_redis
from churn.online.redis_read import AsyncRedisReader, RedisReader
from churn.settings import Settings, get_settings
from tests.kit.redis_servers import read_from_redis
from tests.kit.snapshot_rows import FEBRUARY, JANUARY, put_profile
from tests.kit.streamflow import SUPPORT_AGG, USAGE, USAGE_AGG

Read = Callable[[Sequence[str], Sequence[View]], tuple[dt.datetime | None, list[OnlineRow]]]


def blocking(users: Sequence[str], views: Sequence[View]):
    with psycopg.connect(get_settings().dsn(), **CONNECTION) as connection:
        return read_rows(connection, users, views)


def not_blocking(users: Sequence[str], views: Sequence[View]):
    async def read():
        connection = await psycopg.AsyncConnection.connect(get_settings().dsn(), **CONNECTION)
        async with connection:
            return await read_rows_async(connection, users, views)

    return asyncio.run(read())


def copied(users: Sequence[str], views: Sequence[View]):
    with contextlib.closing(RedisReader()) as reader:
        return reader.read(users, views)


def copied_not_blocking(users: Sequence[str], views: Sequence[View]):
    async def read():
        reader = await AsyncRedisReader.open()
        async with contextlib.aclosing(reader):
            return await reader.read(users, views)

    return asyncio.run(read())


@pytest.fixture(
    params=[
        pytest.param((blocking, None), id="postgres"),
        pytest.param((not_blocking, None), id="postgres-async"),
        pytest.param((copied, "redis_server"), id="redis"),
        pytest.param((copied_not_blocking, "redis_server"), id="redis-async"),
        pytest.param((copied, "redis_cluster_servers"), id="cluster"),
        pytest.param((copied_not_blocking, "redis_cluster_servers"), id="cluster-async"),
    ]
)
def read(
    request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Read:
    """Every way to read what is online has to give the same answers."""
    way, servers = request.param
    if servers is not None:
        read_from_redis(monkeypatch, request.getfixturevalue(servers))
    return way


def test_rows_come_in_the_order_asked_with_the_newest_publication(read: Read) -> None:
    put_profile(JANUARY, ["a", "b"], monthly_fee=29.85)
    put_profile(FEBRUARY, ["a", "c"], monthly_fee=0.1, plan_stream_tv=None)
    publish(JANUARY)
    publish(FEBRUARY)
    newest, rows = read(["c", "nobody", "b", "c"], DEFAULT_SERVICE.views)
    assert newest == FEBRUARY.as_of
    assert [(r.user_id, r.as_of, r.known_at) for r in rows] == [
        ("c", FEBRUARY.as_of, FEBRUARY.as_of),
        ("nobody", None, None),
        ("b", JANUARY.as_of, JANUARY.as_of),
        ("c", FEBRUARY.as_of, FEBRUARY.as_of),
    ]
    assert all(list(row.values) == DEFAULT_SERVICE.feature_names for row in rows)
    assert [row.values["monthly_fee"] for row in rows] == [0.1, None, 29.85, 0.1]
    assert rows[0].values["plan_stream_tv"] is None
    assert rows[0].missing_views == []
    assert rows[1].missing_views == [view.name for view in DEFAULT_SERVICE.views]
    assert set(rows[1].values.values()) == {None}


def test_every_type_is_python_s_own(read: Read) -> None:
    put_profile(JANUARY, ["a"])
    publish(JANUARY)
    python = {"Int64": int, "Float64": float, "Float32": float, "Bool": bool, "String": str}
    values = read(["a"], VIEWS)[1][0].values
    assert {n: type(v) for n, v in values.items()} == {
        f.name: python[f.dtype] for view in VIEWS for f in view.features
    }


def test_some_views_in_any_order(read: Read) -> None:
    put_profile(JANUARY, ["a"], **{column.name: None for column in USAGE.values})
    publish(JANUARY)
    with connect() as connection:
        connection.execute("UPDATE online.users SET support_agg_90d_fv = false")
        if get_settings().online == "redis":
            copy_to_redis(connection)
    [row] = read(["a"], [SUPPORT_AGG, USAGE_AGG])[1]
    assert list(row.values) == [f.name for v in (SUPPORT_AGG, USAGE_AGG) for f in v.features]
    assert row.missing_views == [SUPPORT_AGG.name]  # a row of nulls is not missing


def test_before_the_first_publication_nobody_is_known(read: Read) -> None:
    newest, [row] = read(["a"], VIEWS)
    assert newest is None
    assert row.as_of is None
    assert read([], VIEWS) == (None, [])


def test_what_looks_like_sql_is_a_user_id(read: Read) -> None:
    put_profile(JANUARY, ["a"])
    publish(JANUARY)
    odd = ["x' OR true --", '{"a"}', "a,b", "NULL", "\\", ""]
    assert [row.as_of for row in read(odd, VIEWS)[1]] == [None] * len(odd)

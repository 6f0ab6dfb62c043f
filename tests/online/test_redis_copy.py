"""The copy in Redis: what readers of it see while it is made, replaced, refused, or lost."""

import contextlib
import threading
from collections.abc import Iterator

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from churn.contract.in_force import VIEWS
from churn.database import connect
from churn.errors import ChurnError
from churn.online import redis_copy
from churn.online.publish import publish
from churn.online.read import newest_publication, read_rows
from churn.online.redis_copy import BEGUN_COPIES, LAST_NUMBER, PRESENT_COPY, READER_SECONDS
from churn.online.redis_read import RedisReader
from churn.online.redis_servers import await_replicas, connect_redis
from churn.settings import Settings
from tests.kit.redis_servers import RedisServers, read_from_redis, redis_cluster
from tests.kit.snapshot_rows import FEBRUARY, JANUARY, LATER, MARCH, put_profile
from tests.kit.waiting import until

USERS = [f"user {number}" for number in range(300)]


@pytest.fixture(params=["redis_server", "redis_cluster_servers"])
def servers(
    request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> RedisServers:
    chosen: RedisServers = request.getfixturevalue(request.param)
    read_from_redis(monkeypatch, chosen)
    return chosen


@pytest.fixture
def reader(servers: RedisServers) -> Iterator[RedisReader]:
    with contextlib.closing(RedisReader()) as opened:
        yield opened


def keys(servers: RedisServers) -> dict[str, int]:
    """Return every key of a copy with the seconds that it is kept, -1 for ever."""
    kept: dict[str, int] = {}
    for port in servers.ports:
        with redis.Redis(port=port, decode_responses=True) as client:
            of_copies = client.scan_iter("churn:online:[0-9]*", count=10_000)
            kept |= {name: client.ttl(name) for name in of_copies}
    return kept


def assert_the_same_as_in_postgres(reader: RedisReader, users: list[str]) -> None:
    with connect() as connection:
        assert reader.read(users, VIEWS) == read_rows(connection, users, VIEWS)


def test_it_follows_months_corrections_and_withdrawals_in_any_order(reader: RedisReader) -> None:
    put_profile(JANUARY, ["a", "b", "gone"], monthly_fee=1.0)
    put_profile(MARCH, ["a", "late"], monthly_fee=3.0)
    put_profile(FEBRUARY, ["a", "b"], monthly_fee=2.0)
    everybody = ["a", "b", "gone", "late", "nobody"]
    for month in (JANUARY, MARCH, FEBRUARY, JANUARY):
        publish(month)
        assert_the_same_as_in_postgres(reader, everybody)
    put_profile(FEBRUARY, ["b"], known_at=LATER, withdrawn=["a"], monthly_fee=2.5)
    put_profile(MARCH, ["a"], known_at=LATER, withdrawn=["late"], monthly_fee=3.5)
    for month in (FEBRUARY, MARCH):
        publish(month)
        assert_the_same_as_in_postgres(reader, everybody)
    assert [row.values["monthly_fee"] for row in reader.read(["a", "b"], VIEWS)[1]] == [3.5, 2.5]


def test_every_user_is_read_where_they_are_spread_over_many_hashes(
    servers: RedisServers, reader: RedisReader
) -> None:
    put_profile(JANUARY, USERS)
    publish(JANUARY)
    assert_the_same_as_in_postgres(reader, USERS)
    assert len(keys(servers)) > 1


def test_no_answer_mixes_two_copies(reader: RedisReader) -> None:
    for month, fee in ((JANUARY, 1.0), (FEBRUARY, 2.0), (MARCH, 3.0)):
        put_profile(month, USERS, monthly_fee=fee)
    publish(JANUARY)
    ended = threading.Event()

    def publish_the_others() -> None:
        try:
            publish(FEBRUARY)
            publish(MARCH)
        finally:
            ended.set()

    publisher = threading.Thread(target=publish_the_others)
    publisher.start()
    fees: list[float] = []
    while not ended.is_set() or not fees or fees[-1] != 3.0:
        newest, rows = reader.read(USERS[::10], VIEWS)
        [(as_of, fee)] = {(row.as_of, row.values["monthly_fee"]) for row in rows}
        assert as_of == newest
        fees.append(fee)
    publisher.join()
    assert fees == sorted(fees)


def test_a_reader_in_the_middle_of_a_replaced_copy_asks_again(reader: RedisReader) -> None:
    put_profile(JANUARY, ["a"], monthly_fee=1.0)
    put_profile(FEBRUARY, ["a"], monthly_fee=2.0)
    publish(JANUARY)
    assert reader.read(["a"], VIEWS)[0] == JANUARY.as_of
    publish(FEBRUARY)
    newest, [row] = reader.read(["a"], VIEWS)
    assert (newest, row.values["monthly_fee"]) == (FEBRUARY.as_of, 2.0)


def test_replaced_copies_stay_for_readers_and_then_go(servers: RedisServers) -> None:
    put_profile(JANUARY, USERS)
    publish(JANUARY)
    first = keys(servers)
    assert set(first.values()) == {-1}
    publish(JANUARY)
    both = keys(servers)
    assert first.keys() < both.keys()
    assert all(0 < both[name] <= READER_SECONDS for name in first)
    assert {both[name] for name in both.keys() - first.keys()} == {-1}


def break_off(patched: pytest.MonkeyPatch) -> None:
    """Let a copy fail when half of it is written."""
    whole = redis_copy._batches

    def half(connection, copy, table):
        for batch in whole(connection, copy, table):
            yield batch[: len(batch) // 2]
            raise redis.exceptions.ConnectionError("the line is dead")

    patched.setattr(redis_copy, "_batches", half)


def test_a_month_whose_copy_breaks_off_is_not_published_and_leaves_nothing(
    servers: RedisServers, reader: RedisReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_profile(JANUARY, USERS, monthly_fee=1.0)
    put_profile(FEBRUARY, USERS, monthly_fee=2.0)
    publish(JANUARY)
    before = keys(servers)
    with monkeypatch.context() as patched:
        break_off(patched)
        with pytest.raises(redis.exceptions.ConnectionError):
            publish(FEBRUARY)
    assert keys(servers) == before
    assert len(_members(servers)) == 1
    newest, rows = reader.read(USERS, VIEWS)
    assert newest == JANUARY.as_of
    assert {row.values["monthly_fee"] for row in rows} == {1.0}
    with connect() as connection:
        assert newest_publication(connection) == JANUARY.as_of
    publish(FEBRUARY)
    assert_the_same_as_in_postgres(reader, USERS)


def test_what_a_killed_copier_left_is_never_read_and_goes_with_the_next(
    servers: RedisServers, reader: RedisReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_profile(JANUARY, USERS)
    put_profile(FEBRUARY, USERS)
    publish(JANUARY)
    with monkeypatch.context() as patched:
        break_off(patched)
        # Whoever is killed cleans nothing.
        patched.setattr(redis_copy, "_expire", lambda *_, **__: None)
        with pytest.raises(redis.exceptions.ConnectionError):
            publish(FEBRUARY)
    assert len(_members(servers)) == 2
    assert redis_copy.erase_of_copy(USERS[0], dry_run=True) in (1, 2)
    left = {name for name, seconds in keys(servers).items() if seconds == -1}
    publish(FEBRUARY)
    assert_the_same_as_in_postgres(reader, USERS)
    after = keys(servers)
    assert all(after.get(name, 0) != -1 for name in left)
    assert len(_members(servers)) == 1


def test_a_part_that_was_lost_is_no_unknown_user(
    servers: RedisServers, reader: RedisReader
) -> None:
    put_profile(JANUARY, USERS)
    publish(JANUARY)
    reader.read(["nobody"], VIEWS)
    with contextlib.closing(connect_redis()) as client:
        present = redis_copy.Copy.from_json(client.get(PRESENT_COPY))
        client.delete(present.key_of("nobody"))
    with pytest.raises(redis.exceptions.ResponseError, match="lost"):
        reader.read(["nobody"], VIEWS)


def test_a_copy_meets_no_hashes_that_are_on_their_way_out(
    servers: RedisServers, reader: RedisReader
) -> None:
    put_profile(JANUARY, USERS)
    publish(JANUARY)
    with connect() as connection:
        redis_copy.prepare_copy(connection)
        # Of what was prepared and never given, the next copy takes the hashes away, after some seconds.
        redis_copy.prepare_copy(connection)
    redis_copy.forget_copy()
    publish(JANUARY)
    with contextlib.closing(connect_redis()) as client:
        present = redis_copy.Copy.from_json(client.get(PRESENT_COPY))
    kept = keys(servers)
    assert {kept[present.key(part)] for part in range(present.hashes)} == {-1}


def test_a_redis_that_counts_from_before_gives_no_number_twice(
    servers: RedisServers, reader: RedisReader
) -> None:
    put_profile(JANUARY, ["a"])
    publish(JANUARY)
    with contextlib.closing(connect_redis()) as client:
        before = redis_copy.Copy.from_json(client.get(PRESENT_COPY)).number
        client.delete(LAST_NUMBER)
        publish(JANUARY)
        after = redis_copy.Copy.from_json(client.get(PRESENT_COPY)).number
        assert (after, int(client.get(LAST_NUMBER))) == (before + 1, before + 1)


def test_a_lost_name_of_the_copy_is_no_lack_of_publications(reader: RedisReader) -> None:
    put_profile(JANUARY, ["a"])
    publish(JANUARY)
    assert_the_same_as_in_postgres(reader, ["a"])
    with contextlib.closing(connect_redis()) as client:
        client.delete(PRESENT_COPY)
    with pytest.raises(redis.exceptions.ResponseError, match="lost"):
        reader.read(["a"], VIEWS)
    publish(JANUARY)
    assert_the_same_as_in_postgres(reader, ["a"])


def test_a_later_copy_in_the_same_redis_is_never_replaced(
    servers: RedisServers, reader: RedisReader
) -> None:
    put_profile(JANUARY, ["a"])
    publish(JANUARY)
    with connect() as connection:
        prepared, _ = redis_copy.prepare_copy(connection)
        redis_copy.copy_to_redis(connection)
    with pytest.raises(ChurnError, match="a later copy"):
        redis_copy.give_copy(prepared)
    assert_the_same_as_in_postgres(reader, ["a"])


def test_an_erased_user_is_gone_from_the_copy_at_once(reader: RedisReader) -> None:
    put_profile(JANUARY, ["a", "b"])
    publish(JANUARY)
    assert redis_copy.erase_of_copy("a", dry_run=True) == 1
    assert redis_copy.erase_of_copy("a", dry_run=False) == 1
    assert [row.as_of for row in reader.read(["a", "b"], VIEWS)[1]] == [None, JANUARY.as_of]
    assert redis_copy.erase_of_copy("a", dry_run=False) == 0


def _members(servers: RedisServers) -> set[bytes]:
    client = connect_redis()
    with contextlib.closing(client):
        return set(client.smembers(BEGUN_COPIES))


def test_a_copier_that_comes_late_does_not_take_readers_back(
    servers: RedisServers, reader: RedisReader
) -> None:
    put_profile(JANUARY, ["a"])
    put_profile(FEBRUARY, ["a"])
    publish(JANUARY)
    with contextlib.closing(connect_redis()) as client:
        earlier = redis_copy.Copy.from_json(client.get(PRESENT_COPY))
        publish(FEBRUARY)
        switched = client.eval(
            redis_copy._SWITCH, 1, PRESENT_COPY, earlier.as_json(), str(earlier.number)
        )
    assert switched == 0
    assert reader.read(["a"], VIEWS)[0] == FEBRUARY.as_of


def test_a_column_that_the_copy_lacks_is_null_and_a_view_has_no_row(
    reader: RedisReader,
) -> None:
    put_profile(JANUARY, ["a"])
    publish(JANUARY)
    view = VIEWS[-1]
    gone = view.features[0].name
    with connect() as connection:
        connection.execute(f'ALTER TABLE online.users DROP COLUMN "{gone}"')
        connection.execute(f'ALTER TABLE online.users DROP COLUMN "{view.name}"')
        redis_copy.copy_to_redis(connection)
    [row] = reader.read(["a"], VIEWS)[1]
    assert row.missing_views == [view.name]
    assert row.values[gone] is None


@hypothesis_settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    fee=st.floats(0, 1e6, allow_nan=False, width=32),
    text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    number=st.integers(0, 2**31 - 1),
    answer=st.booleans() | st.none(),
)
def test_values_come_back_to_the_last_bit(
    reader: RedisReader, fee: float, text: str, number: int, answer: bool | None
) -> None:
    cells = {"monthly_fee": fee, "net_service": text, "months_active": number}
    assignments = ", ".join(f'"{name}" = %s' for name in [*cells, "plan_stream_tv"])
    if reader.read([], VIEWS)[0] is None:
        put_profile(JANUARY, ["a"])
        publish(JANUARY)
    with connect() as connection:
        connection.execute(f"UPDATE online.users SET {assignments}", [*cells.values(), answer])
        redis_copy.copy_to_redis(connection)
    assert_the_same_as_in_postgres(reader, ["a"])


@pytest.mark.services
def test_replicas_are_waited_for_but_not_for_ever(
    settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with redis_cluster(tmp_path_factory.mktemp("six"), replicas=1) as servers:
        read_from_redis(monkeypatch, servers)
        with contextlib.closing(connect_redis()) as client:
            assert isinstance(client, redis.cluster.RedisCluster)
            assert await_replicas(client)
            with servers.held_up(node.port for node in client.get_replicas()):
                client.set(PRESENT_COPY, "the name of a copy")
                assert not await_replicas(client, 0.1)
                assert "replicas are behind" in caplog.text
            assert await_replicas(client, 300)


@pytest.mark.services
def test_a_primary_that_is_killed_is_replaced_and_no_answer_is_wrong(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_profile(JANUARY, USERS, monthly_fee=1.0)
    with redis_cluster(tmp_path_factory.mktemp("six"), replicas=1) as servers:
        read_from_redis(monkeypatch, servers)
        publish(JANUARY)
        with contextlib.closing(RedisReader()) as reader:
            assert_the_same_as_in_postgres(reader, USERS)
            servers.kill(_primary_of(servers, PRESENT_COPY))

            def answers() -> bool:
                try:
                    assert_the_same_as_in_postgres(reader, USERS)
                except (
                    redis.exceptions.RedisError,
                    redis.exceptions.RedisClusterException,
                ):
                    return False
                return True

            until(answers)
        # The next publication reaches the cluster as it is now.
        put_profile(FEBRUARY, USERS, monthly_fee=2.0)
        publish(FEBRUARY)
        with contextlib.closing(RedisReader()) as reader:
            assert_the_same_as_in_postgres(reader, USERS)


def _primary_of(servers: RedisServers, key: str) -> int:
    with contextlib.closing(connect_redis()) as client:
        assert isinstance(client, redis.cluster.RedisCluster)
        return int(client.get_node_from_key(key).port)

import pytest

from bench.load import constant_server, load, request
from churn.stack.ports import free_port


def test_every_answer_is_counted_on_every_connection() -> None:
    port = free_port()
    with constant_server(port):
        found = load(port, [request("GET", "/"), request("POST", "/", b"{}")], 4, seconds=0.2)
    assert set(found.statuses) == {200}
    assert sum(found.statuses.values()) == round(found.per_second * 0.2)
    assert 0 < found.p50_ms <= found.p99_ms


def test_a_server_that_is_not_there_is_no_result() -> None:
    with pytest.raises(OSError, match="refused"):
        load(free_port(), [request("GET", "/")], 1, seconds=0.2)

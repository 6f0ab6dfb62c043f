"""What passes is tried again, a bounded number of times; what does not pass fails at once."""

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from churn.cli import scores as predict
from churn.database import connect
from churn.errors import ChurnError
from churn.mlflow_client import mlflow_client
from churn.retry import is_passing, repeat
from churn.settings import Settings, get_settings
from churn.stack.processes import free_port
from churn.verification import smoke
from tests.kit.servers import Relay


@pytest.fixture
def mlflow_relay(mlflow_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    port = urlsplit(mlflow_settings.mlflow_tracking_uri).port
    assert port
    with Relay(port) as relay:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{relay.port}")
        get_settings.cache_clear()
        yield relay


@pytest.fixture
def postgres_relay(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    with Relay(settings.postgres_port) as relay:
        monkeypatch.setenv("POSTGRES_PORT", str(relay.port))
        get_settings.cache_clear()
        yield relay


def test_mlflow_is_asked_again_where_it_drops_connections(
    mlflow_relay: Relay, settings: Settings
) -> None:
    mlflow_relay.drop = 2
    client = mlflow_client()
    assert client.get_experiment_by_name("nobody's") is None
    mlflow_relay.cut()
    mlflow_relay.drop = 2  # of MLflow's own client, too
    assert client.create_experiment(settings.postgres_db)
    assert mlflow_relay.drop == 0


def test_an_mlflow_that_stays_away_is_given_up(mlflow_relay: Relay) -> None:
    mlflow_relay.drop = 1000
    with pytest.raises(ChurnError, match="MLflow does not answer") as raised:
        mlflow_client()
    assert is_passing(raised.value)  # whoever has more time may try again
    assert mlflow_relay.accepted == 6


def test_postgres_is_asked_again_where_it_drops_connections(postgres_relay: Relay) -> None:
    postgres_relay.drop = 2
    with connect() as connection:
        assert connection.execute("SHOW TIME ZONE").fetchone() == ("UTC",)
    assert postgres_relay.accepted == 3


def test_a_wrong_password_is_told_at_once(
    postgres_relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "wrong")
    get_settings.cache_clear()
    with pytest.raises(ChurnError, match="password authentication failed") as raised, connect():
        pass
    assert not is_passing(raised.value)
    assert postgres_relay.accepted == 1


def test_the_work_of_a_transaction_is_not_repeated(settings: Settings) -> None:
    calls = []

    def work() -> None:
        with connect() as connection:
            calls.append(1)
            connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(psycopg.OperationalError):
        work()
    assert calls == [1]


def test_the_command_line_asks_the_api_again(
    mlflow_relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow_relay.drop = 2
    monkeypatch.setenv("CHURN_API_URL", f"http://127.0.0.1:{mlflow_relay.port}")
    get_settings.cache_clear()
    with pytest.raises(ChurnError, match="something else than the API answers"):
        predict._ask("a")  # MLflow knows no /predict, but answers
    assert mlflow_relay.accepted == 3


def test_the_smoke_check_asks_again(mlflow_relay: Relay) -> None:
    mlflow_relay.drop = 2
    result = smoke.SmokeResult("")
    with httpx.Client(base_url=f"http://127.0.0.1:{mlflow_relay.port}") as api:
        smoke._ask_unknown(api, result)
    assert result.problems == []  # MLflow answers 404 to what it does not know
    assert mlflow_relay.accepted == 3


def _raised(call: Callable[[], object]) -> Exception:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("it was to fail")


def _server_error(status: int) -> Exception:
    from mlflow.exceptions import RestException

    codes = {500: "INTERNAL_ERROR", 503: "TEMPORARILY_UNAVAILABLE", 404: "RESOURCE_DOES_NOT_EXIST"}
    return RestException({"error_code": codes[status], "message": "as told"})


def _of_postgres(number: str) -> Exception:
    return psycopg.errors.lookup(number)("as told")


def _caused_by(cause: Exception) -> Exception:
    error = ChurnError("told by us")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            lambda: httpx.RemoteProtocolError("Server disconnected without sending a response."),
            True,
        ),
        (lambda: _raised(lambda: httpx.get(f"http://127.0.0.1:{free_port()}")), True),
        (lambda: _raised(lambda: httpx.get("nowhere://")), False),
        (lambda: httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] unknown issuer"), False),
        (lambda: ConnectionResetError("reset by peer"), True),
        (lambda: _server_error(500), True),
        (lambda: _server_error(503), True),
        (lambda: _server_error(404), False),
        (lambda: _of_postgres("40001"), True),  # serialization failure
        (lambda: _of_postgres("40P01"), True),  # deadlock
        (lambda: _of_postgres("57P01"), True),  # terminated by an administrator
        (lambda: psycopg.OperationalError("FATAL:  the database system is starting up"), True),
        (lambda: _of_postgres("53100"), False),  # the disk is full until somebody frees it
        (lambda: _of_postgres("23505"), False),  # unique violation
        (lambda: _caused_by(ConnectionResetError("reset by peer")), True),
        (lambda: _caused_by(KeyError("a")), False),
        (lambda: OSError(28, "No space left on device"), False),
    ],
)
def test_which_failures_pass(make: Callable[[], Exception], expected: bool) -> None:
    assert is_passing(make()) is expected


def test_what_does_not_pass_is_not_repeated() -> None:
    calls = []

    def fails() -> None:
        calls.append(1)
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        repeat(fails)
    assert calls == [1]

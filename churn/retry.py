"""Retrying calls over a network: which failures pass by themselves, and how soon a call is made again.

Whether a call may be repeated at all is decided where it is made, since a call that is not idempotent must
not be made twice blindly.
"""

import functools
import logging
import ssl
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    import stamina
    from stamina.instrumentation import RetryDetails

P = ParamSpec("P")
T = TypeVar("T")

LOG = logging.getLogger(__name__)
_PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
# Classes 08 (connection) and 40 (serialization, deadlock), and single codes: a server that is shutting down
# (57P01), has crashed (57P02), is starting up (57P03), or has no connection left (53300).
_PASSING_SQLSTATE_CLASSES = ("08", "40")
_PASSING_SQLSTATES = frozenset({"57P01", "57P02", "57P03", "53300"})
# libpq reports a refused login without an SQLSTATE, in these words only.
_REFUSED_LOGIN = (
    "password authentication failed",
    "no password supplied",
    "does not exist",
    "pg_hba.conf",
    "not permitted to log in",
    "permission denied",
    "certificate",
    "does not support SSL",
)


def repeat(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Make a call, and repeat it for some seconds while it fails in a way that may pass.

    This is for dropped connections and servers that are just being restarted. The last error is raised as is.
    """
    return _caller(attempts=6, timeout=20.0, wait_initial=0.1, wait_max=3.0, wait_jitter=0.2)(
        call, *args, **kwargs
    )


def repeat_at_once(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Make a call, and repeat it once, at once, where it fails in a way that may pass.

    This is for callers that try again by themselves after a while: it gets past a kept-alive connection that
    the server has closed.
    """
    return _caller(attempts=2, timeout=None, wait_initial=0.0, wait_max=0.0, wait_jitter=0.0)(
        call, *args, **kwargs
    )


def repeat_patiently(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Make a call, and repeat it for up to a minute and a half, since its work would otherwise be lost.

    That is long enough for a person or Docker to restart a server.
    """
    return _caller(attempts=12, timeout=90.0, wait_initial=0.5, wait_max=15.0, wait_jitter=1.0)(
        call, *args, **kwargs
    )


def backoff_seconds(attempt: int) -> float:
    """Return how many seconds to wait before a whole step is repeated: 5, then 20, then 80.

    CHURN_RETRY_MINUTES is for runs that have ended; this run is under way, and keeps its place in the queue
    and in its pool meanwhile. Single calls are repeated sooner, by the functions above.

    Args:
        attempt: how often the step has been repeated already.
    """
    import stamina

    return 0.0 if stamina.is_testing() else 5.0 * 4.0**attempt


def is_passing(error: BaseException | None) -> bool:
    """Return whether a failure may pass by itself, so that the same call may succeed if it is repeated.

    An error of ours (`raise ChurnError(...) from error`) passes if its cause does.
    """
    return any(_passes(each) for each in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        # MLflow raises its own error while it handles that of the connection, without naming it as the cause.
        unnamed = (
            error.__context__ if _is_a(error, "mlflow.exceptions", "MlflowException") else None
        )
        error = error.__cause__ or unnamed


def _passes(error: BaseException) -> bool:
    if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
        return False
    return (
        isinstance(error, ConnectionError | TimeoutError)
        or _is_a(error, "httpx", "TimeoutException", "NetworkError", "RemoteProtocolError")
        or _is_a(error, "requests", "ConnectionError", "Timeout")
        or _is_a(error, "requests.exceptions", "ChunkedEncodingError")
        or _is_a(error, "redis.exceptions", "ConnectionError", "TimeoutError")
        or _is_a(error, "redis.exceptions", "ClusterDownError", "RedisClusterException")
        or _http_status(error) in _PASSING_STATUSES
        or _postgres_passes(error)
    )


def _http_status(error: BaseException) -> int | None:
    if _is_a(error, "mlflow.exceptions", "RestException"):
        return int(error.get_http_status_code())  # type: ignore[attr-defined]
    if _is_a(error, "httpx", "HTTPStatusError") or _is_a(error, "requests", "HTTPError"):
        return getattr(getattr(error, "response", None), "status_code", None)
    return None


def _postgres_passes(error: BaseException) -> bool:
    if _is_a(error, "sqlalchemy.exc", "DBAPIError"):
        error = getattr(error, "orig", None) or error
    if not (
        _is_a(error, "psycopg", "OperationalError")
        or _is_a(error, "psycopg2", "OperationalError", "InterfaceError")
    ):
        return False
    code = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    # The connection could not be opened, or was lost.
    if code is None:
        return not any(words in str(error) for words in _REFUSED_LOGIN)
    return code.startswith(_PASSING_SQLSTATE_CLASSES) or code in _PASSING_SQLSTATES


def _is_a(error: BaseException, module: str, *names: str) -> bool:
    """Return whether an error is of a library's class, without importing a library that is not in use."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(error, tuple(getattr(loaded, n) for n in names))


@functools.cache
def _caller(**pace: Any) -> "stamina.BoundRetryingCaller":
    import stamina
    from stamina.instrumentation import set_on_retry_hooks

    # By default it would print to standard output, which is for answers.
    set_on_retry_hooks([_log])
    return stamina.RetryingCaller(**pace).on(is_passing)


def _log(details: "RetryDetails") -> None:
    """Log what a call waits for; as a warning only once it has failed several times."""
    level = logging.INFO if details.retry_num < 3 else logging.WARNING
    LOG.log(level, "%s; trying again in %.1f s", details.caused_by, details.wait_for)

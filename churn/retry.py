"""Calls over a network: which failures pass by themselves, and how such a call is made again.

Belongs here: the rule and the pace. What may be repeated is said where the call is made, since a call
that is not idempotent must not be made twice blindly.
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
# Classes 08 (connection) and 40 (serialization, deadlock), and single codes: a server that is stopped
# (57P01), has crashed (57P02) or is starting up (57P03), and one that has no connection left (53300).
_PASSING_SQLSTATE_CLASSES = ("08", "40")
_PASSING_SQLSTATES = frozenset({"57P01", "57P02", "57P03", "53300"})
# libpq gives a refused login no SQLSTATE, only these words.
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
    """Make a call, and make it again for some seconds while it fails in a way that passes.

    For a dropped connection, or a server that is just being restarted. The last error is raised as it is.
    """
    return _caller(attempts=6, timeout=20.0, wait_initial=0.1, wait_max=3.0, wait_jitter=0.2)(
        call, *args, **kwargs
    )


def repeat_at_once(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Make a call once more, without delay: for a caller that asks again by itself after a while.

    It outlives a kept connection that the server has closed meanwhile.
    """
    return _caller(attempts=2, timeout=None, wait_initial=0.0, wait_max=0.0, wait_jitter=0.0)(
        call, *args, **kwargs
    )


def repeat_patiently(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Make a call again for up to a minute and a half: for work that is lost if it is given up.

    Long enough for a server that a person or Docker starts again.
    """
    return _caller(attempts=12, timeout=90.0, wait_initial=0.5, wait_max=15.0, wait_jitter=1.0)(
        call, *args, **kwargs
    )


def backoff_seconds(attempt: int) -> float:
    """Return how long to wait before a whole step is made again: 5 s, then 20 s, then 80 s.

    Seconds, and not CHURN_RETRY_MINUTES, which is for a run that has ended: this one is under way and
    keeps its place in the queue and in its pool. A single call is made again sooner still, as above.

    Args:
        attempt: how often it has been made again already.
    """
    import stamina

    return 0.0 if stamina.is_testing() else 5.0 * 4.0**attempt


def is_passing(error: BaseException | None) -> bool:
    """Return whether a failure passes by itself: the same call may succeed if it is made again.

    An error of ours (`raise ChurnError(...) from error`) passes as its cause does.
    """
    return any(_passes(each) for each in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        # MLflow raises its own error while it handles that of the connection, without naming it.
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
    """Return whether an error is of a library's class, without importing a library that nobody uses."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(error, tuple(getattr(loaded, n) for n in names))


@functools.cache
def _caller(**pace: Any) -> "stamina.BoundRetryingCaller":
    import stamina
    from stamina.instrumentation import set_on_retry_hooks

    # Its default would print to stdout, which is for answers.
    set_on_retry_hooks([_log])
    return stamina.RetryingCaller(**pace).on(is_passing)


def _log(details: "RetryDetails") -> None:
    """Say aloud what keeps us waiting; a fault that is over at once is nobody's concern."""
    level = logging.INFO if details.retry_num < 3 else logging.WARNING
    LOG.log(level, "%s; trying again in %.1f s", details.caused_by, details.wait_for)

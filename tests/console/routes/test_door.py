"""Whom the console lets through to Dagster and MLflow."""

from collections.abc import Callable

import httpx
import pytest

from churn.settings import get_settings
from console.roles import Role
from tests.console.conftest import Someone

VERIFY = "/door/verify"


@pytest.mark.parametrize("cookie", [None, "", "made up"])
def test_nobody_is_let_through_without_a_session(
    stranger: httpx.Client, cookie: str | None
) -> None:
    if cookie is not None:
        stranger.cookies.set("churn_console", cookie)
    answer = stranger.get(VERIFY)
    assert answer.status_code == 401
    assert answer.headers["location"].endswith("/sign-in")


@pytest.mark.parametrize(
    ("role", "status"),
    [
        (Role.VIEWER, 403),
        (Role.CALLER, 403),
        (Role.APPROVER, 204),
        (Role.ADMINISTRATOR, 204),
    ],
)
def test_a_role_decides(sign_in: Callable[..., Someone], role: Role, status: int) -> None:
    assert sign_in(role).get(VERIFY).status_code == status


def test_who_signs_out_is_let_through_no_longer(sign_in: Callable[..., Someone]) -> None:
    ann = sign_in(Role.APPROVER)
    session = dict(ann.client.cookies)
    ann.post("/sign-out")
    ann.client.cookies.update(session)
    assert ann.get(VERIFY).status_code == 401


@pytest.mark.parametrize(
    ("url", "host", "sign_in"),
    [
        ("", "localhost", "http://localhost:9080/sign-in"),
        ("", "127.0.0.1", "http://127.0.0.1:9080/sign-in"),
        ("", "[::1]", "http://[::1]:9080/sign-in"),
        ("", "elsewhere.example", "http://127.0.0.1:9080/sign-in"),
        ("", None, "http://127.0.0.1:9080/sign-in"),
        ("https://churn.example/", "localhost", "https://churn.example/sign-in"),
    ],
)
def test_who_has_no_session_is_led_to_the_console_under_the_same_name(
    stranger: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    host: str | None,
    sign_in: str,
) -> None:
    monkeypatch.setenv("CONSOLE_PORT", "9080")
    monkeypatch.setenv("CHURN_CONSOLE_URL", url)
    get_settings.cache_clear()
    answer = stranger.get(VERIFY, headers={} if host is None else {"X-Door-Host": host})
    assert answer.headers["location"] == sign_in

"""No route is open that should not be: every one is asked without a session, and without its form's token."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from console.access import FORM_FIELD
from console.main import create_app
from console.roles import Role
from tests.console.conftest import Someone, cookie_of

OPEN = {
    ("GET", "/health/live"),
    ("GET", "/sign-in"),
    ("POST", "/sign-in"),
    ("GET", "/sign-in/link"),
    ("POST", "/sign-in/link"),
}
# A proxy asks it, which wants a 401 instead of a way to the form: tests/console/routes/test_door.py.
OF_A_PROXY = {("GET", "/door/verify")}


def routes() -> list[tuple[str, str]]:
    """Return method and path of every route, parameters filled in."""
    declared = []
    for route in _flat(create_app().routes):
        path = re.sub(r"{[^}]*}", "1", route.path)
        declared += [(method, path) for method in sorted(route.methods - {"HEAD"})]
    return declared


def _flat(routes: Iterable[Any]) -> Iterator[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif isinstance(route, Mount):
            assert isinstance(route.app, StaticFiles)  # what is not ours to show is not in it
        else:  # a router that was included
            yield from _flat(route.original_router.routes)


ROUTES = routes()


def test_there_are_routes_of_both_kinds() -> None:
    assert ("GET", "/data") in ROUTES
    assert ("POST", "/sign-out") in ROUTES
    assert set(ROUTES) > OPEN | OF_A_PROXY


@pytest.mark.parametrize(
    ("method", "path"), [each for each in ROUTES if each not in OPEN | OF_A_PROXY]
)
def test_none_answers_without_a_session(stranger: httpx.Client, method: str, path: str) -> None:
    form = {"data": {FORM_FIELD: "0" * 64}} if method != "GET" else {}
    answer = stranger.request(method, path, **form)
    if method == "GET":
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/sign-in?to=")
    else:
        assert answer.status_code == 401
    stranger.cookies.set(cookie_of(stranger), "made up")
    assert stranger.request(method, path, **form).status_code == answer.status_code


@pytest.mark.parametrize(("method", "path"), [each for each in ROUTES if each[0] != "GET"])
def test_none_takes_a_form_that_is_not_ours(
    sign_in: Callable[..., Someone], method: str, path: str
) -> None:
    someone = sign_in(Role.ADMINISTRATOR)
    for form in ({}, {FORM_FIELD: ""}, {FORM_FIELD: "0" * 64}, {FORM_FIELD: "é"}):
        answer = someone.client.request(method, path, data={"x": "y", **form})
        assert answer.status_code == 403, form
        assert "This form has expired." in answer.text
    other = sign_in(Role.ADMINISTRATOR, "bob")
    answer = someone.client.request(method, path, data={FORM_FIELD: other.csrf})
    assert answer.status_code == 403
    assert someone.get("/data").status_code == 200  # still signed in

"""Nothing is taken in from whom it will not be: a form is refused by its headers, before it is read."""

import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import pytest

from console.access import FORM_FIELD
from console.forms import FORM_BYTES
from console.main import UPLOADS
from console.roles import Role
from tests.console.conftest import Someone, cookie_of

MEGABYTES = 20 * 1024 * 1024


def told(console: str, path: str, length: int, cookie: str = "") -> bytes:
    """Send the headers of a long form, nothing of the form itself, and return the answer."""
    address = urlsplit(console)
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        lines = (
            f"POST {path} HTTP/1.1",
            f"Host: {address.netloc}",
            "Content-Type: application/x-www-form-urlencoded",
            f"Content-Length: {length}",
            *([f"Cookie: {cookie}"] if cookie else []),
            "",
            "",
        )
        connection.sendall("\r\n".join(lines).encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


@pytest.mark.parametrize("path", ["/actions/file", "/actions/calls", "/nowhere"])
def test_who_is_not_signed_in_is_refused_before_a_byte_of_the_form(console: str, path: str) -> None:
    answer = told(console, path, MEGABYTES)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in answer.lower()
    assert b"content-security-policy" in answer.lower()


def test_whose_role_is_too_small_is_refused_likewise(console: str, viewer: Someone) -> None:
    name = cookie_of(viewer.client)
    cookie = f"{name}={viewer.client.cookies[name]}"
    answer = told(console, "/actions/file", MEGABYTES, cookie)
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"This needs the role caller; yours is viewer." in answer


def test_every_form_but_an_upload_is_short(
    console: str, stranger: httpx.Client, sign_in: Callable[..., Someone]
) -> None:
    for path in ("/sign-in", "/sign-in/link"):
        assert stranger.post(path, data={"x": "y" * FORM_BYTES}).status_code == 413
    someone = sign_in(Role.CALLER)
    answer = someone.post("/actions/calls", {"back": "y" * FORM_BYTES})
    assert answer.status_code == 413
    assert "longer than" in answer.text
    stated = f"{FORM_FIELD}={someone.csrf}&x=".encode()
    answer = someone.client.post(  # in pieces, without a stated length
        "/actions/calls",
        content=(part for part in (stated, b"y" * FORM_BYTES)),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 413
    assert max(each.max_bytes for each in UPLOADS.values()) > FORM_BYTES

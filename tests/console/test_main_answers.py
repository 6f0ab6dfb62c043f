"""What every answer carries, what is refused before any page, and what is shown where there is none."""

import re
from pathlib import Path

import httpx
import psycopg
import pytest
from fastapi.testclient import TestClient

import console as package
from churn.settings import Settings
from console.headers import HEADERS, POLICY
from console.main import create_app
from tests.console.conftest import Someone

STATIC = Path(package.__path__[0]) / "static"
TEMPLATES = Path(package.__path__[0]) / "templates"
MAX_PAGE_BYTES = 300_000
ADDRESS = re.compile(r'(?:href|src)="(/static/[^"]+)"')


@pytest.mark.parametrize(
    "path", ["/", "/data", "/trust", "/sign-in", "/static/console.css", "/none", "/health/live"]
)
def test_every_answer_has_the_headers(viewer: Someone, path: str) -> None:
    headers = viewer.get(path).headers
    assert headers["content-security-policy"] == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    kept = "max-age=3600" if path.startswith("/static") else "no-store"
    assert headers["cache-control"] == kept


def test_an_error_that_nobody_foresaw_is_a_page_with_the_headers() -> None:
    app = create_app()

    @app.get("/broken")
    def broken() -> None:
        raise ZeroDivisionError

    # The lifespan is not run: nothing here asks the database.
    client = TestClient(app, "http://localhost", raise_server_exceptions=False)
    answer = client.get("/broken")
    assert answer.status_code == 500
    assert "Something went wrong that nobody foresaw." in answer.text
    assert "ZeroDivisionError" not in answer.text
    assert HEADERS.items() <= dict(answer.headers).items()


def test_the_policy_leaves_no_way_in() -> None:
    told = dict(part.strip().split(" ", 1) for part in POLICY.split(";"))
    assert told["default-src"] == "'self'"
    assert told["frame-ancestors"] == told["base-uri"] == told["object-src"] == "'none'"
    assert "script-src" not in told
    assert "unsafe" not in POLICY


@pytest.mark.parametrize("path", ["/", "/data", "/trust", "/sign-in"])
def test_a_page_weighs_little_and_needs_nothing_from_elsewhere(viewer: Someone, path: str) -> None:
    page = viewer.get(path)
    assert page.status_code == 200
    assert not re.search(r'(?:href|src|action)="(?:https?:)?//', page.text)
    assert "<style" not in page.text
    assert ' style="' not in page.text
    assert not re.search(r"<script(?![^>]*src=)", page.text)
    weight = len(page.content)
    for address in set(ADDRESS.findall(page.text)):
        file = viewer.get(address)
        assert file.status_code == 200, address
        weight += len(file.content)
    assert weight < MAX_PAGE_BYTES


def test_what_is_vendored_has_its_licence() -> None:
    for name in ("pico", "uPlot"):
        assert (STATIC / f"{name}.LICENSE.txt").stat().st_size > 100
        assert list(STATIC.glob(f"{name}.*min.*"))


@pytest.mark.parametrize("file", sorted(TEMPLATES.glob("*.html")), ids=lambda file: file.name)
def test_no_template_turns_escaping_off(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert "|safe" not in text.replace(" ", "")
    assert "autoescape false" not in text
    for form in re.findall(r'<form[^>]*method="post".*?</form>', text, re.S):
        assert 'name="csrf"' in form, file.name


def test_another_host_and_another_page_are_refused(stranger: httpx.Client) -> None:
    assert stranger.get("/sign-in", headers={"Host": "evil.example"}).status_code == 421
    evil = {"Origin": "http://evil.example"}
    assert stranger.post("/sign-in", data={"x": "y"}, headers=evil).status_code == 403
    assert stranger.post("/sign-in", json={"x": "y"}).status_code == 415
    assert stranger.get("/sign-in").status_code == 200


def test_a_page_that_is_none_is_shown_as_one(viewer: Someone) -> None:
    for path in ("/none", "/static/none.css", "/?month=2031-01", "/?month=x", "/trust?metric=x"):
        answer = viewer.get(path)
        assert answer.status_code == 404, path
    release = f"/trust/releases/{'0' * 64}"
    for path in ("/data?only=x", "/trust?judged_on=x", "/trust/releases/%00", release):
        answer = viewer.get(path)
        assert answer.status_code == 404, path
        assert "<h1>Not Found</h1>" in answer.text


def test_what_somebody_typed_is_shown_as_text(viewer: Someone) -> None:
    answer = viewer.get("/", params={"month": "<script>alert(1)</script>"})
    assert answer.status_code == 404
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;alert" in answer.text


def test_without_any_drop_the_pages_say_so(viewer: Someone) -> None:
    assert "No drop was accepted yet" in viewer.get("/").text
    assert "No drop was accepted yet." in viewer.get("/data").text
    assert "Nothing was decided yet." in viewer.get("/trust").text


def test_without_the_database_the_page_says_so(viewer: Someone, settings: Settings) -> None:
    with psycopg.connect(settings.dsn("postgres"), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {settings.postgres_db} ALLOW_CONNECTIONS false")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            [settings.postgres_db],
        )
        answer = viewer.get("/")
        assert answer.status_code == 503
        assert "The database does not answer." in answer.text
        assert viewer.get("/health/live").status_code == 200
        connection.execute(f"ALTER DATABASE {settings.postgres_db} ALLOW_CONNECTIONS true")
    assert viewer.get("/").status_code == 200

"""The OpenAPI page is whole where there is no internet."""

import re

from fastapi.testclient import TestClient


def test_every_address_of_the_page_is_our_own_and_answers(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    addresses = re.findall(r"""(?:src|href)=["']([^"']+)["']|url: ["']([^"']+)["']""", page.text)
    linked = {first or second for first, second in addresses}
    assert {"docs/swagger-ui-bundle.js", "docs/swagger-ui.css", "openapi.json"} <= linked
    for address in linked:
        assert "//" not in address
        answer = client.get(f"/{address}")
        assert answer.status_code == 200
        assert len(answer.content) > 1_000
    assert "//" not in page.text.replace("<!--", "").replace("http://www.w3.org", "")


def test_the_page_may_run_its_own_scripts_and_nothing_else(client: TestClient) -> None:
    policy = client.get("/docs").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'self' 'sha256-[\w+/=]+';", policy)
    assert "frame-ancestors 'none'" in policy


def test_there_is_no_other_page_and_no_other_file(client: TestClient) -> None:
    for path in (
        "/redoc",
        "/docs/redoc.standalone.js",
        "/docs/..%2f__init__.py",
        "/docs/oauth2-redirect",
    ):
        assert client.get(path).status_code == 404

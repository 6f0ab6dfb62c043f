"""GET /docs: the OpenAPI page, whole without the internet. Its files come from a package, not from a CDN."""

import base64
import hashlib
import re
from importlib.resources import as_file, files
from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse
from starlette.exceptions import HTTPException

_FILES = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")


def serve_documentation(app: FastAPI) -> None:
    """Add the page and its files. Addresses are relative: a proxy may put a path in front."""
    script, style, icon = (f"docs/{name}" for name in _FILES)
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=app.title,
        swagger_js_url=script,
        swagger_css_url=style,
        swagger_favicon_url=icon,
    ).body
    headers = {"Content-Security-Policy": _policy(bytes(page).decode())}

    @app.get("/docs", include_in_schema=False)
    async def documentation() -> Response:
        return HTMLResponse(page, headers=headers)

    @app.get("/docs/{name}", include_in_schema=False)
    def documentation_file(name: str) -> Response:
        if name not in _FILES:
            raise HTTPException(404)
        return FileResponse(_folder() / name)


def _folder() -> Path:
    with as_file(files("fastapi_offline") / "static") as folder:
        return folder


def _policy(html: str) -> str:
    """Return a policy that lets the page run its own scripts and nothing else."""
    inline = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in re.findall(r"<script>(.*?)</script>", html, re.S)
    ]
    scripts = " ".join(["'self'", *(f"'sha256-{digest}'" for digest in inline)])
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline';"
        " img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    )

"""The reference of what is asked over HTTP, made from the code: the API, metrics, and alerts.

What the routes are is asked of the API's own OpenAPI document. Codes of errors are those of `api.errors`, and
those with which `churn.http_guard` refuses a request, found in its source.
"""

import ast
import asyncio
import inspect
import re
from collections.abc import Iterator, Mapping
from datetime import date
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from prometheus_client import CollectorRegistry

from api import errors, metrics
from api.main import app
from churn import http_guard
from churn.exporter import families
from churn.markdown import table

ROOT = Path(__file__).parents[1]
MADE = "*Made from the code when the site is built.*"
Lines = Iterator[str]


def api() -> Lines:
    """Yield every route of the API, what it takes and gives, and every code of an error."""
    document = app.openapi()
    yield from ("# API", "", MADE, "")
    yield (
        "A running API shows the same at `/docs`, with examples, and gives it to programs at"
        " `/openapi.json`."
    )
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            yield from ("", f"## {method.upper()} {path}", "", route.get("description", ""), "")
            if body := route.get("requestBody"):
                yield from (f"Takes {_schema_of(body['content'])}.", "")
            rows = [
                (status, cell(f"{answer['description']} {_schema_of(answer.get('content', {}))}"))
                for status, answer in sorted(route["responses"].items())
            ]
            yield from table(("status", "what it means"), rows)
    yield from ("", "## What is sent and answered", "")
    for name, schema in document["components"]["schemas"].items():
        yield from (f"### {name}", "", schema.get("description", ""), "")
        needed = schema.get("required", ())
        fields = [
            (
                f"`{key}`",
                _type(each),
                "yes" if key in needed else "",
                cell(each.get("description")),
            )
            for key, each in schema.get("properties", {}).items()
        ]
        yield from (*table(("field", "type", "always", "meaning"), fields), "")
    yield from ("## Errors", "")
    yield 'Every error has one shape, `{"error": {"code": ..., "message": ..., "detail": ...}}`.'
    yield ""
    yield from table(("status", "code", "what it means"), sorted(error_codes()))


def _schema_of(content: Mapping[str, Any]) -> str:
    return ", ".join(_type(each["schema"]) for each in content.values() if each.get("schema"))


def _type(schema: Mapping[str, Any]) -> str:
    """Return a JSON Schema's type in a word; that of a named schema leads to it."""
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


def error_codes() -> Iterator[tuple[int, str, str]]:
    """Yield each code that an answer may carry, with its status: the API's own, then the guard's."""
    for kind in errors.ApiError.__subclasses__():
        yield kind.status, f"`{kind.code}`", cell(inspect.getdoc(kind))
    yield 422, "`invalid_request`", "The body or a parameter is not what the route takes."
    yield (
        errors.ApiError.status,
        f"`{errors.ApiError.code}`",
        "Unexpected; the log has the details.",
    )
    for call in ast.walk(ast.parse(inspect.getsource(http_guard))):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "HttpRefusal":
            status, code, message = call.args
            word = code.value if isinstance(code, ast.Constant) else ""
            word = word or getattr(http_guard, ast.unparse(code))
            yield (
                HTTPStatus[ast.unparse(status).rpartition(".")[2]].value,
                f"`{word}`",
                _text(message),
            )


def _text(message: ast.expr) -> str:
    """Return a message of the source, with dots for what is put into it."""
    parts = message.values if isinstance(message, ast.JoinedStr) else [message]
    return cell(
        "".join(str(each.value) if isinstance(each, ast.Constant) else "..." for each in parts)
    )


def metrics_and_alerts() -> Lines:
    """Yield the metrics of the exporter and of the API, and the alerts that are made of them."""
    yield from ("# Metrics and alerts", "", MADE, "", "## Of the pipeline", "")
    yield from ("Served by the exporter: `churn metrics`, or METRICS_PORT with `churn up`.", "")
    every = [each for each in vars(families).values() if isinstance(each, families.Family)]
    rows = [(f"`{each.name}`", _names(each.labels), cell(each.text)) for each in every]
    yield from table(("metric", "labels", "what it says"), rows)
    yield from ("", "## Of the API", "", "Served by the API at `/metrics`.", "")
    yield from table(("metric", "labels", "what it says"), _of_api())
    yield from ("", "## Alerts", "", "From `monitoring/alerts.yml`.", "")
    groups = yaml.safe_load((ROOT / "monitoring/alerts.yml").read_text(encoding="utf-8"))["groups"]
    alerts = [_alert(rule) for group in groups for rule in group["rules"] if "alert" in rule]
    yield from table(("alert", "severity", "after", "what is wrong", "what to do"), alerts)


def _names(labels: Any) -> str:
    return ", ".join(f"`{label}`" for label in labels)


def _of_api() -> Iterator[tuple[str, str, str]]:
    """Yield the API's metrics: those of one request that is passed through, and those of what is served."""
    registry = CollectorRegistry()

    async def answered(*_: Any) -> None:
        """Answer nothing."""

    counted = metrics.RequestMetrics(answered, registry)
    asyncio.run(counted({"type": "http", "method": "GET"}, answered, answered))
    version = SimpleNamespace(version="1", as_of="2024-01-31")
    champion = SimpleNamespace(version=version, service=SimpleNamespace(versioned_name="churn_v1"))
    store = SimpleNamespace(ready=True, newest=date(2024, 1, 31))
    served: Any = metrics.served_metrics
    for family in (*registry.collect(), *served(store, champion).collect()):
        labels = dict.fromkeys(label for sample in family.samples for label in sample.labels)
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield (
            f"`{name}`",
            _names(each for each in labels if each != "le"),
            cell(family.documentation),
        )


def _alert(rule: Mapping[str, Any]) -> tuple[str, ...]:
    notes = rule["annotations"]
    page, _, anchor = notes["runbook"].partition("#")
    told = f"../{Path(page).name}#{anchor}"
    return (
        f"[{rule['alert']}]({told})",
        rule["labels"]["severity"],
        rule.get("for", "at once"),
        cell(_filled_in(notes["summary"])),
        cell(_filled_in(notes["action"])),
    )


def _filled_in(template: str) -> str:
    """Return an alert's text with dots for what Prometheus puts in, or the label's name."""
    text = re.sub(r"\{\{\s*\$labels\.(\w+)\s*\}\}", r"(\1)", template)
    text = re.sub(r"\{\{\s*(with|end)\b[^}]*\}\}", "", text)
    return re.sub(r"\{\{[^}]*\}\}", "...", text)


def cell(text: Any) -> str:
    """Return a text as a cell of a table, on one line."""
    return " ".join(str(text or "").split()).replace("|", "\\|")

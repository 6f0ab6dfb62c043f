"""The reference says all that the code has, and nothing in the code is without a word."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
import yaml

from api import errors
from churn.cli.main import app
from churn.contract.schema import json_schema
from churn.exporter import families
from churn.settings import CampaignSettings, GateSettings, Settings
from docs import reference, reference_http
from tests.kit.environment_variables import known_variables

PAGES = reference.pages()
CONTRACT = reference.CONTRACT_PAGE.read_text(encoding="utf-8")


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    for child, below in getattr(command, "commands", {}).items():
        yield f"{name} {child}", below
        yield from commands(below, f"{name} {child}")


COMMANDS = dict(commands(typer.main.get_command(app), "churn"))


def entries() -> dict[str, Any]:
    schema = json_schema()
    return {"the file": schema, **schema["$defs"]}


def test_every_command_has_a_heading_and_help() -> None:
    assert re.findall(r"^## (.+)$", PAGES["commands.md"], re.M) == list(COMMANDS)
    assert [name for name, command in COMMANDS.items() if not command.help] == []


def test_every_argument_and_option_is_explained() -> None:
    silent = {
        f"{name} {each.name}"
        for name, command in COMMANDS.items()
        for each in command.params
        if not each.help
    }
    assert silent == set()


def test_every_setting_says_what_it_is() -> None:
    silent = [
        name
        for kind in (Settings, CampaignSettings, GateSettings)
        for name, field in kind.model_fields.items()
        if not field.description
    ]
    assert silent == [], "write a docstring below it"
    told = set(re.findall(r"^\| `(\w+)` \|", PAGES["settings.md"], re.M))
    assert known_variables() - {"CAMPAIGN", "GATE"} <= told
    compose = (reference.ROOT / ".env.example").read_text(encoding="utf-8")
    assert set(re.findall(r"^(\w+)=", compose, re.M)) <= told


def test_no_password_has_a_default() -> None:
    rows = re.findall(r"^\| `\w*PASSWORD` \| (.*?)\|", PAGES["settings.md"], re.M)
    assert len(rows) >= 5
    assert set(rows) == {" "}


def test_every_key_of_a_contract_is_explained() -> None:
    silent = {
        f"{name}.{key}"
        for name, entry in entries().items()
        for key, each in entry["properties"].items()
        if not each.get("description")
    }
    assert silent == set(), "give its field a description"


def test_the_page_of_the_contract_lists_every_key() -> None:
    assert reference.rendered(CONTRACT) == CONTRACT, "run `make map`"
    assert {"exact", "segments", "bands", "snapshot", "oddities"} <= set(
        re.findall(r"^\| `(\w+)` \|", CONTRACT, re.M)
    )


def test_a_page_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="where the keys go"):
        reference.rendered("# The contract\n")


def test_an_entry_that_nobody_placed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = json_schema()
    schema["$defs"]["NewEntry"] = {"properties": {}}
    monkeypatch.setattr(reference, "json_schema", lambda: schema)
    with pytest.raises(ValueError, match="NewEntry"):
        list(reference.keys_of_contract())


def test_every_code_of_an_error_is_told() -> None:
    codes = {code.strip("`") for _, code, _ in reference_http.error_codes()}
    assert {kind.code for kind in errors.ApiError.__subclasses__()} <= codes
    assert {"invalid_request", "internal_error", "unknown_host", "body_too_large"} <= codes
    assert all(meaning for *_, meaning in reference_http.error_codes())


def test_every_metric_and_every_alert_is_told() -> None:
    page = PAGES["metrics.md"]
    told = set(re.findall(r"^\| `(\w+)` \|", page, re.M))
    assert {
        each.name for each in vars(families).values() if isinstance(each, families.Family)
    } < told
    assert {"api_requests_total", "api_request_latency_seconds", "api_model_info"} < told
    rules = yaml.safe_load((reference.ROOT / "monitoring/alerts.yml").read_text(encoding="utf-8"))
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    assert alerts <= set(re.findall(r"^\| \[(\w+)\]", page, re.M))
    assert "{{" not in page


def test_a_type_that_may_be_another_is_told_in_words() -> None:
    page = PAGES["api.md"]
    assert "## POST /predict\n" in page
    assert "[Prediction](#prediction)" in page
    assert "string or null" in page

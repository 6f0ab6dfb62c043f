"""Rules, boards and configurations in monitoring/: right in themselves, and about metrics that there are."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from fastapi.testclient import TestClient

from churn.exporter import families
from churn.exporter.app import FRESH_SECONDS
from churn.exporter.families import Family
from churn.schedule.due import STAGES, State
from tests.api.conftest import client, reader, registry, unready  # noqa: F401  (fixtures)
from tests.exporter.conftest import World, parsed
from tests.kit.prometheus_tools import MONITORING, check, program
from tests.whole.docs.test_docs import anchors

ROOT = MONITORING.parent
RULES = yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))
TESTS = yaml.safe_load((MONITORING / "alerts_test.yml").read_text(encoding="utf-8"))
ALERTS: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"]]
BOARDS = sorted((MONITORING / "grafana" / "boards").glob("*.json"))
# A name that begins like one of ours, and the labels that it is asked for.
SELECTOR = re.compile(r"\b((?:churn|api)_\w+)\s*(?:\{([^}]*)\})?")
LABEL = re.compile(r"(\w+)\s*(=~|!~|!=|=)\s*\"([^\"]*)\"")
BY_PROMETHEUS = {"job", "instance"}


def board(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def panel_expressions() -> Iterator[tuple[str, str]]:
    for path in BOARDS:
        for panel in board(path)["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"]


EXPRESSIONS = [*((rule["alert"], rule["expr"]) for rule in ALERTS), *panel_expressions()]


@pytest.fixture
def exposed(world: World, client: TestClient) -> dict[str, list[dict[str, str]]]:  # noqa: F811
    """The labels of every sample that the exporter and the API expose, by its name."""
    client.get("/health/live")
    of_api = parsed(client.get("/metrics").content)
    labels: dict[str, list[dict[str, str]]] = {}
    for family in [*world.families.values(), *of_api.values()]:
        for sample in family.samples:
            labels.setdefault(sample.name, []).append(sample.labels)
    return labels


def test_rules_and_boards_ask_for_metrics_and_labels_that_are_exposed(
    exposed: dict[str, list[dict[str, str]]],
) -> None:
    asked = 0
    for where, expression in EXPRESSIONS:
        for name, selector in SELECTOR.findall(expression):
            asked += 1
            assert name in exposed, f"{where}: {name}"
            for label, _, _ in LABEL.findall(selector):
                known = BY_PROMETHEUS.union(*exposed[name])
                assert label in known, f"{where}: {name} has no label {label}"
    assert asked > len(ALERTS)


def test_the_values_that_rules_compare_with_are_those_that_are_exposed(
    exposed: dict[str, list[dict[str, str]]],
) -> None:
    """A state or a stage that this world does not show is one that the look knows."""
    known_elsewhere = {"state": get_args(State), "stage": STAGES}
    compared = 0
    for where, expression in EXPRESSIONS:
        for name, selector in SELECTOR.findall(expression):
            for label, operator, value in LABEL.findall(selector):
                if label == "status":  # of HTTP
                    continue
                values = {labels.get(label, "") for labels in exposed[name]}
                values.update(known_elsewhere.get(label, ()))
                pattern = value if operator in ("=~", "!~") else re.escape(value)
                assert any(re.fullmatch(pattern, each) for each in values), f"{where}: {value}"
                compared += 1
    assert compared >= len(known_elsewhere)


def test_an_alert_says_what_to_do_and_where_that_is_told() -> None:
    names = [rule["alert"] for rule in ALERTS]
    assert len(set(names)) == len(names)
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
        told = rule["annotations"]
        assert told.keys() == {"summary", "action", "runbook"}, rule["alert"]
        page, _, anchor = told["runbook"].partition("#")
        assert anchor in anchors(ROOT / page), told["runbook"]


def test_every_alert_is_tested_where_it_fires_and_where_it_does_not() -> None:
    fires, silent = set(), set()
    for test in TESTS["tests"]:
        for each in test["alert_rule_test"]:
            (fires if each["exp_alerts"] else silent).add(each["alertname"])
    names = {rule["alert"] for rule in ALERTS}
    assert fires == silent == names


def test_the_rules_do_what_their_tests_say() -> None:
    done = check(program("promtool"), "test", "rules", "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_rule_that_is_wrong_fails_its_test(tmp_path: Path) -> None:
    promtool = program("promtool")
    text = (MONITORING / "alerts.yml").read_text(encoding="utf-8")
    assert text.count("> 4 * 86400") == 1
    (tmp_path / "alerts.yml").write_text(text.replace("> 4 * 86400", "> 5 * 86400"))
    shutil.copy(MONITORING / "alerts_test.yml", tmp_path)
    done = check(promtool, "test", "rules", "alerts_test.yml", folder=tmp_path)
    assert done.returncode != 0
    assert "MonthNotClosed" in done.stdout + done.stderr


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    """It looks for the file with the key for the API, which its service under compose writes first."""
    text = (MONITORING / "prometheus.yml").read_text(encoding="utf-8")
    [key_file] = re.findall(r"credentials_file: (\S+)", text)
    (tmp_path / "key").touch()
    (tmp_path / "prometheus.yml").write_text(text.replace(key_file, str(tmp_path / "key")))
    shutil.copy(MONITORING / "alerts.yml", tmp_path)
    done = check(program("promtool"), "check", "config", "prometheus.yml", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_expression_of_a_board_is_one_of_prometheus(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression}
        for number, (_, expression) in enumerate(panel_expressions())
    ]
    groups = {"groups": [{"name": "boards", "rules": rules}]}
    (tmp_path / "boards.yml").write_text(yaml.safe_dump(groups))
    done = check(program("promtool"), "check", "rules", "boards.yml", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def test_alertmanager_takes_its_configuration_and_routes_by_severity() -> None:
    amtool = program("amtool")
    done = check(amtool, "check-config", "alertmanager.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    for severity, receiver in (("critical", "at-once"), ("warning", "in-working-hours")):
        command = (amtool, "config", "routes", "test", "--config.file=alertmanager.yml")
        done = check(*command, f"--verify.receivers={receiver}", f"severity={severity}")
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_month_that_was_given_up_is_told_within_a_minute() -> None:
    """What each program waits at most: the exporter's cache, a scrape, an evaluation, a group."""
    prometheus, alertmanager = (
        yaml.safe_load((MONITORING / name).read_text(encoding="utf-8"))
        for name in ("prometheus.yml", "alertmanager.yml")
    )
    [alert] = [rule for rule in ALERTS if rule["alert"] == "MonthGivenUp"]
    assert "for" not in alert
    waits = [
        prometheus["global"]["scrape_interval"],
        prometheus["global"]["evaluation_interval"],
        alertmanager["route"]["group_wait"],
    ]
    assert FRESH_SECONDS + sum(int(each.removesuffix("s")) for each in waits) < 60


def test_inhibitions_name_alerts_that_there_are() -> None:
    config = yaml.safe_load((MONITORING / "alertmanager.yml").read_text(encoding="utf-8"))
    names = {rule["alert"] for rule in ALERTS}
    for rule in config["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            [(_, _, pattern)] = LABEL.findall(matcher)
            for alternative in pattern.split("|"):
                assert any(re.fullmatch(alternative, name) for name in names), alternative


def test_boards_are_whole_and_read_only() -> None:
    assert [path.stem for path in BOARDS] == ["month", "service"]
    [source] = yaml.safe_load(
        (MONITORING / "grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8")
    )["datasources"]
    for path in BOARDS:
        loaded = board(path)
        assert loaded["uid"] == f"churn-{path.stem}"
        assert loaded["editable"] is False
        panels = loaded["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        for panel in panels:
            assert panel["title"]
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {source["uid"]}
        assert _do_not_overlap([panel["gridPos"] for panel in panels])


def _do_not_overlap(places: list[dict[str, int]]) -> bool:
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    return len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24


def test_every_metric_and_every_alert_is_documented() -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(churn_\w+)`(?: by [\w, ]+)? \| (.*) \|$", text, re.M))
    declared = {each.name: each for each in vars(families).values() if isinstance(each, Family)}
    assert rows == {name: each.text for name, each in declared.items()}
    for name, each in declared.items():
        by = f" by {', '.join(each.labels)}" if each.labels else ""
        assert f"| `{name}`{by} |" in text
    alerts = dict(re.findall(r"^\| (\w+) \| .* \| \[.*\]\((\S+)\) \|$", text, re.M))
    assert alerts == {
        rule["alert"]: rule["annotations"]["runbook"].removeprefix("docs/") for rule in ALERTS
    }

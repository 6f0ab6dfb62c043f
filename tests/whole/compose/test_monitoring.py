"""The profile `monitoring` of docker-compose.yml: Prometheus, Alertmanager, Grafana and our exporter."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from churn.settings import GateSettings, Settings
from churn.stack.parts import http_command
from tests.kit.compose_files import API_SECRET, PASSWORDS, ROOT, SECRET, compose, resolved
from tests.whole.compose.test_file import OF_MONITORING, default_of

SERVICES = {"metrics", "prometheus", "alertmanager", "grafana"}
OWN = "g'$x\"h"  # what a shell would make something else of
RESOLVED = OWN.replace("$", "$$")  # as Compose spells it
GIVEN = dict.fromkeys(OF_MONITORING, OWN)
PORTS = {
    ("prometheus", "127.0.0.1", "9090", 9090),
    ("alertmanager", "127.0.0.1", "9093", 9093),
    ("grafana", "127.0.0.1", "3001", 3000),
}


def with_profile(**variables: str) -> dict[str, Any]:
    command = ("--profile", "monitoring", "config", "--format", "json")
    done = compose(*command, **PASSWORDS | variables)
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    return services


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return with_profile(**GIVEN)


def test_the_profile_adds_these_services_and_changes_no_other(services: dict[str, Any]) -> None:
    without = resolved(**GIVEN)["services"]
    assert services.keys() - without.keys() == SERVICES
    assert {name: services[name] for name in without} == without
    by_variable = compose("config", "--services", **PASSWORDS, COMPOSE_PROFILES="monitoring")
    assert set(by_variable.stdout.split()) == services.keys()


def test_only_what_people_open_is_published_and_on_the_loopback(services: dict[str, Any]) -> None:
    published = {
        (name, port["host_ip"], port["published"], port["target"])
        for name in SERVICES
        for port in services[name].get("ports", [])
    }
    assert published == PORTS


def test_every_service_is_pinned_confined_and_watched(services: dict[str, Any]) -> None:
    for name in SERVICES:
        service = services[name]
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        assert service["restart"] == "unless-stopped", name
        assert "healthcheck" in service, name
        assert service.get("user", "10001").split(":")[0] not in ("root", "0"), name
        for mount in service["volumes"]:
            assert mount["type"] == "volume" or mount["read_only"] is True, name


def test_postgres_is_reached_by_the_exporter_alone(services: dict[str, Any]) -> None:
    reaching = {name for name in SERVICES if "database" in services[name]["networks"]}
    assert reaching == {"metrics"}


def test_secrets_are_told_to_those_alone_who_need_them(services: dict[str, Any]) -> None:
    for name in SERVICES:
        told = services[name].get("environment", {})
        assert not {SECRET, API_SECRET} & set(told.values()), name
        secret = {variable for variable, value in told.items() if value == RESOLVED}
        expected = {"metrics": {OF_MONITORING[0]}, "grafana": {OF_MONITORING[1]}}
        assert secret == expected.get(name, set())
    assert services["init"]["environment"]["METRICS_POSTGRES_PASSWORD"] == RESOLVED


@pytest.mark.parametrize(
    ("name", "wanted", "given"),
    [
        ("metrics", "POSTGRES_PASSWORD", "METRICS_POSTGRES_PASSWORD"),
        ("grafana", "GF_SECURITY_ADMIN_PASSWORD", "GRAFANA_ADMIN_PASSWORD"),
    ],
)
def test_without_its_password_a_service_does_not_start(
    services: dict[str, Any], name: str, wanted: str, given: str
) -> None:
    """A shell runs the entry point as the container's would, with `env` in the place of the program."""
    entry = [word.replace("$$", "$") for word in services[name]["entrypoint"]]
    for password in (None, ""):
        environment = {} if password is None else {given: password}
        done = subprocess.run(
            [*entry, "env"], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode != 0
        assert given in done.stderr
        assert ".env.example" in done.stderr
    done = subprocess.run(
        [*entry, "env"], env={given: OWN}, capture_output=True, text=True, check=True
    )
    assert f"{wanted}={OWN}" in done.stdout.splitlines()


def test_prometheus_asks_the_api_by_the_platforms_key(
    services: dict[str, Any], tmp_path: Path
) -> None:
    """Its shell writes the key into the file that its configuration names, and then becomes Prometheus."""
    config = yaml.safe_load((ROOT / "monitoring" / "prometheus.yml").read_text(encoding="utf-8"))
    [file] = [
        job["authorization"]["credentials_file"]
        for job in config["scrape_configs"]
        if job["job_name"] == "churn-api"
    ]
    places = {"$$": "$", file: str(tmp_path / "key"), "/bin/prometheus": "echo"}
    entry = services["prometheus"]["entrypoint"]
    for there, here in places.items():
        assert there in entry[-1]
        entry = [*entry[:-1], entry[-1].replace(there, here)]
    command = services["prometheus"]["command"]
    environment = {"CHURN_API_KEY": OWN}
    done = subprocess.run(
        [*entry, *command], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == command
    assert (tmp_path / "key").read_text() == OWN
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0


def test_the_exporter_is_served_as_by_churn_up(services: dict[str, Any]) -> None:
    application = "churn.exporter.app:app"
    ours = http_command(application, "0.0.0.0", 9108)  # noqa: S104
    module = ours.index("churn.stack.http_server")
    assert services["metrics"]["command"] == ["python", "-m", *ours[module:]]


def test_the_exporter_goes_by_the_settings_of_those_who_do_the_work(
    services: dict[str, Any],
) -> None:
    told, code = services["metrics"]["environment"], services["code"]["environment"]
    shared = told.keys() & code.keys() - {"POSTGRES_USER"}
    assert {"CHURN_LAST_MONTH", "CHURN_GATE_AUC_FLOOR", "CHURN_CONTRACT"} <= shared
    assert {name: told[name] for name in shared} == {name: code[name] for name in shared}
    assert told["POSTGRES_USER"] == default_of(Settings, "metrics_postgres_user")
    assert told["POSTGRES_USER"] == services["init"]["environment"]["METRICS_POSTGRES_USER"]
    assert told["CHURN_GATE_AUC_FLOOR"] == str(default_of(GateSettings, "auc_floor"))
    contracts = [
        [mount for mount in services[name]["volumes"] if mount["type"] == "bind"]
        for name in ("metrics", "api")
    ]
    assert contracts[0] == contracts[1]


def test_prometheus_asks_services_by_names_that_they_answer_to(services: dict[str, Any]) -> None:
    config = yaml.safe_load((ROOT / "monitoring" / "prometheus.yml").read_text(encoding="utf-8"))
    names = {
        "churn-pipeline": ("metrics", "METRICS_HOST_NAMES", "9108"),
        "churn-api": ("api", "API_HOST_NAMES", "8000"),
    }
    assert {job["job_name"] for job in config["scrape_configs"]} == names.keys()
    for job in config["scrape_configs"]:
        service, variable, port = names[job["job_name"]]
        [target] = job["static_configs"][0]["targets"]
        assert target == f"{service}:{port}"
        assert service in services[service]["environment"][variable].split(",")
        assert port in services[service]["command"]
    [manager] = config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    assert manager == "alertmanager:9093"


def test_what_is_mounted_is_there(services: dict[str, Any]) -> None:
    mounts = {
        mount["target"]: Path(mount["source"])
        for name in SERVICES
        for mount in services[name]["volumes"]
        if mount["type"] == "bind"
    }
    assert all(source.exists() for source in mounts.values())
    boards = yaml.safe_load(
        (ROOT / "monitoring/grafana/provisioning/dashboards/boards.yml").read_text(encoding="utf-8")
    )
    assert {provider["options"]["path"] for provider in boards["providers"]} <= mounts.keys()
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (mounts[str(Path(home).parent)] / Path(home).name).is_file()
    own = with_profile(ALERTMANAGER_CONFIG="./own.yml", **GIVEN)["alertmanager"]["volumes"]
    assert str(ROOT / "own.yml") in {mount["source"] for mount in own}

import importlib
import re
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster
import mlflow
import pytest
import yaml
from pydantic_settings import BaseSettings

import churn
from churn.contract.in_force import CONTRACT
from churn.settings import CampaignSettings, GateSettings, Settings
from churn.stack.parts import GUNICORN, http_command
from tests.kit.compose_files import (
    API_SECRET,
    CONSOLE_SECRET,
    PASSWORDS,
    ROOT,
    SECRET,
    compose,
    resolved,
    stages,
)
from tests.kit.environment_variables import known_variables

OURS = {"init", "mlflow", "code", "webserver", "daemon", "api", "console", "door"}
# Variables that the contract decides where they are empty.
OF_THE_CONTRACT = ("MLFLOW_EXPERIMENT", "CHURN_FIRST_MONTH", "CHURN_CAMPAIGN_CUSTOMER_VALUE")
# Empty, there is no role for readers, and the console is on the loopback.
OPTIONAL = ("CHURN_CONSOLE_URL", "READER_POSTGRES_PASSWORD")
# Empty, MLflow is changed from pages of this machine alone.
OF_MLFLOW = ("MLFLOW_ORIGINS",)
# Empty, no event is sent there.
OF_EVENTS = (
    "CHURN_EVENTS_URL",
    "CHURN_EVENTS_SECRET",
    "CHURN_EVENTS_SLACK_URL",
    "CHURN_EVENTS_MAIL_TO",
    "CHURN_EVENTS_MAIL_FROM",
    "CHURN_EVENTS_SMTP_HOST",
    "CHURN_EVENTS_SMTP_USER",
    "CHURN_EVENTS_SMTP_PASSWORD",
)
# Passwords that the profile `monitoring` alone needs.
OF_MONITORING = ("METRICS_POSTGRES_PASSWORD", "GRAFANA_ADMIN_PASSWORD")
# Variables that are not ours, and the program whose source names them.
FOREIGN = {
    "POSTGRES_INITDB_ARGS": None,  # the entry point of the postgres image
    "PGPASSWORD": None,  # libpq
    "PGSSLMODE": None,  # libpq
    "NO_PROXY": None,  # HTTP clients
    "no_proxy": None,  # HTTP clients
    "no_grpc_proxy": None,  # gRPC
    "DAGSTER_CODE_HOST": ROOT / "workspace.yaml",
    "DAGSTER_CODE_PORT": ROOT / "workspace.yaml",
    "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": Path(dagster.__file__).parent / "_grpc",
    "MLFLOW_BACKEND_STORE_URI": Path(mlflow.__file__).parent / "cli",
    "MLFLOW_ARTIFACTS_DESTINATION": Path(mlflow.__file__).parent / "utils",
    "MLFLOW_SERVER_ALLOWED_HOSTS": Path(mlflow.__file__).parent / "utils",
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": Path(mlflow.__file__).parent / "utils",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": Path(mlflow.__file__).parent / "environment_variables.py",
}


def names_it(place: Path | None, name: str) -> bool:
    if place is None:
        return True
    files = place.rglob("*.py") if place.is_dir() else [place]
    return any(name in file.read_text(encoding="utf-8") for file in files)


def test_compose_accepts_the_file() -> None:
    done = compose("config", "--quiet", **PASSWORDS)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("name", "port"), [("api", 8000), ("console", 8080)])
def test_it_is_served_as_by_churn_up(config: dict[str, Any], name: str, port: int) -> None:
    ours = http_command(f"{name}.main:app", "0.0.0.0", port)  # noqa: S104
    module = ours.index("churn.stack.http_server")
    assert config["services"][name]["command"] == ["python", "-m", *ours[module:]]


def test_ports_are_asked_by_their_own_names_and_those_of_a_proxy() -> None:
    parts = ("API", "CONSOLE", "DAGSTER", "MLFLOW")
    added = {f"{name}_HOST_NAMES": f"{name.lower()}.example" for name in parts}
    services = resolved(**added)["services"]
    assert services["api"]["environment"]["API_HOST_NAMES"] == "api,api.example"
    assert services["console"]["environment"]["CONSOLE_HOST_NAMES"] == "console,console.example"
    assert services["webserver"]["environment"]["DAGSTER_HOST_NAMES"] == "webserver,dagster.example"
    allowed = services["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert {"mlflow:5000", "mlflow.example"} <= set(allowed)


@dataclass(frozen=True)
class MlflowPort:
    """Whom MLflow lets in, by its own rules and what the compose file tells it."""

    hosts: list[str]
    origins: list[str] | None

    def answers_to(self, host: str) -> bool:
        return bool(security_utils().is_allowed_host_header(self.hosts, host))

    def is_changed_from(self, origin: str) -> bool:
        return not security_utils().should_block_cors_request(origin, "POST", self.origins)


def security_utils() -> ModuleType:
    """Return MLflow's rules; imported late, since its whole server comes with them."""
    return importlib.import_module("mlflow.server.security_utils")


@pytest.fixture
def mlflow_port(monkeypatch: pytest.MonkeyPatch) -> Callable[..., MlflowPort]:
    """What the port lets in where `.env` has these variables."""

    def port(**variables: str) -> MlflowPort:
        environment = resolved(**variables)["services"]["mlflow"]["environment"]
        for name in ("MLFLOW_SERVER_ALLOWED_HOSTS", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"):
            monkeypatch.setenv(name, environment[name])
        rules = security_utils()
        return MlflowPort(rules.get_allowed_hosts_from_env(), rules.get_allowed_origins_from_env())

    return port


def test_mlflow_takes_the_name_and_the_origin_of_a_proxy(
    mlflow_port: Callable[..., MlflowPort],
) -> None:
    host, origin = "churn.example:5000", "https://churn.example:5000"
    port = mlflow_port(MLFLOW_HOST_NAMES=host, MLFLOW_ORIGINS=origin)
    assert port.answers_to(host)
    assert port.answers_to("localhost:5000")
    assert not port.answers_to("churn.example:5001")
    assert port.is_changed_from(origin)
    assert not port.is_changed_from("https://churn.example")
    assert not port.is_changed_from("https://other.example")


def test_mlflow_compares_the_port_of_a_name(mlflow_port: Callable[..., MlflowPort]) -> None:
    assert not mlflow_port(MLFLOW_HOST_NAMES="churn.example").answers_to("churn.example:5000")


def test_mlflow_takes_this_machine_alone_where_nothing_is_given(
    mlflow_port: Callable[..., MlflowPort],
) -> None:
    port = mlflow_port()
    assert port.origins is None
    assert port.answers_to("localhost:5000")
    assert not port.answers_to("churn.example:5000")
    assert port.is_changed_from("http://localhost:5000")
    assert not port.is_changed_from("https://churn.example:5000")


def test_example_of_a_proxy_leads_to_the_published_ports(
    config: dict[str, Any], mlflow_port: Callable[..., MlflowPort]
) -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    [nginx] = re.findall(r"^```nginx\n(.*?)^```", text, re.M | re.S)
    [variables] = re.findall(r"^```text\n(CHURN_CONSOLE_URL=.*?)^```", text, re.M | re.S)
    published = {
        port["published"] for each in config["services"].values() for port in each.get("ports", [])
    }
    assert set(re.findall(r"proxy_pass http://127\.0\.0\.1:(\d+);", nginx)) == published
    [listens] = re.findall(r"server \{ # MLflow\n  listen (\d+) ssl;", nginx)
    [name] = set(re.findall(r"server_name (\S+);", nginx))
    port = mlflow_port(**dict(line.split("=", 1) for line in variables.splitlines()))
    assert port.answers_to(f"{name}:{listens}")
    assert port.is_changed_from(f"https://{name}:{listens}")


def test_mlflow_is_served_as_by_churn_up() -> None:
    command = resolved()["services"]["mlflow"]["command"]
    assert command[command.index("--gunicorn-opts") + 1] == GUNICORN


@pytest.mark.parametrize("name", PASSWORDS)
@pytest.mark.parametrize("given", [None, ""], ids=["missing", "empty"])
def test_no_password_is_an_error_that_names_it(name: str, given: str | None) -> None:
    others = {other: value for other, value in PASSWORDS.items() if other != name}
    done = compose("config", "--quiet", **others, **({} if given is None else {name: given}))
    assert done.returncode != 0
    assert f'"{name}"' in done.stderr or f" {name} " in done.stderr
    assert ".env.example" in done.stderr


def test_example_needs_passwords_and_nothing_else() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert compose("config", "--quiet", **example).returncode != 0
    empty = {name for name, value in example.items() if not value}
    may_be = {
        *OPTIONAL,
        *OF_MLFLOW,
        *OF_EVENTS,
        *OF_MONITORING,
        "CHURN_CONTRACT",
        "CHURN_LAST_MONTH",
    }
    assert empty == {*PASSWORDS, *OF_THE_CONTRACT, *may_be}
    assert resolved(**example | PASSWORDS) == resolved(**dict.fromkeys(OF_MONITORING, ""))
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert set(example) == set(re.findall(r"\$\{(\w+)", text))


def test_secrets_have_no_default_and_come_from_outside(config: dict[str, Any]) -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    uses = re.findall(r"\$\{(\w*(?:PASSWORD|SECRET|TOKEN|KEY)\w*)([^}]*)\}", text)
    assert uses
    assert all(
        rest == ":-" if name in (*OPTIONAL, *OF_EVENTS) else rest.startswith(":?")
        for name, rest in uses
    )
    for service in config["services"].values():
        given = service.get("environment") or {}
        for secret in PASSWORDS.values():
            assert all(
                "PASSWORD" in name or name == "CHURN_API_KEY"
                for name, value in given.items()
                if secret in (value or "")
            )


@pytest.mark.parametrize(("part", "secret"), [("api", API_SECRET), ("console", CONSOLE_SECRET)])
def test_a_part_is_told_its_own_role_and_not_the_owner(
    config: dict[str, Any], part: str, secret: str
) -> None:
    told, init = (config["services"][name]["environment"] for name in (part, "init"))
    assert SECRET not in told.values()
    for name in ("POSTGRES_USER", "POSTGRES_PASSWORD"):
        assert told[name] == init[f"{part.upper()}_{name}"] != init[name]
    knowing = {
        name
        for name, service in config["services"].items()
        if secret in (service.get("environment") or {}).values()
    }
    assert knowing == {part, "init"}


def test_the_key_is_told_to_those_alone_who_ask_the_api(config: dict[str, Any]) -> None:
    services = config["services"]
    knowing = {
        name
        for name, service in services.items()
        if "CHURN_API_KEY" in (service.get("environment") or {})
    }
    asking = {
        name
        for name, service in services.items()
        if "CHURN_API_URL" in (service.get("environment") or {})
    }
    assert knowing == asking | {"init"}  # which makes it known
    assert services["api"]["environment"]["CHURN_API_KEYS"] == "required"


def test_dagster_and_mlflow_are_reached_through_the_door_alone(config: dict[str, Any]) -> None:
    services = config["services"]
    for name in ("webserver", "mlflow"):
        assert "ports" not in services[name]
    [mount] = services["door"]["volumes"]
    assert Path(mount["source"]) == ROOT / "door" / "nginx.conf"
    assert mount["read_only"] is True
    text = Path(mount["source"]).read_text(encoding="utf-8")
    sides = re.findall(r"^    (\d+) (\w+):(\d+);$", text, re.M)
    assert sides == [("3000", "webserver", "3000"), ("5000", "mlflow", "5000")]
    for _, name, port in sides:
        words = services[name]["command"]
        assert words[words.index("--port") + 1] == port
    listening = {int(port) for port in re.findall(r"^    listen (\d+);$", text, re.M)}
    assert listening == {port["target"] for port in services["door"]["ports"]}
    assert "\n    auth_request /_door;\n" in text


def test_the_console_knows_the_port_that_people_find_it_at() -> None:
    """The door and `churn console` lead there; in its container it listens where the door asks it."""
    services = resolved(CONSOLE_PORT="9080")["services"]
    [published] = services["console"]["ports"]
    assert (published["published"], published["target"]) == ("9080", 8080)
    for name in ("console", "init"):
        assert services[name]["environment"]["CONSOLE_PORT"] == "9080"
    assert services["console"]["command"][-2:] == ["--port", "8080"]


def test_services_are_those_of_the_contract(config: dict[str, Any]) -> None:
    assert set(config["services"]) == OURS | {"postgres"}
    published = {
        (name, port["host_ip"], port["published"], port["target"])
        for name, service in config["services"].items()
        for port in service.get("ports", [])
    }
    assert published == {
        ("door", "127.0.0.1", "3000", 3000),
        ("door", "127.0.0.1", "5000", 5000),
        ("api", "127.0.0.1", "8000", 8000),
        ("console", "127.0.0.1", "8080", 8080),
    }


def test_every_service_is_pinned_confined_and_watched(config: dict[str, Any]) -> None:
    for name, service in config["services"].items():
        assert re.search(r":\d+\.\d+(\.\d+)?(-\w+)?$", service["image"]), name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        assert ("healthcheck" in service) is (name != "init"), name
        assert service["restart"] == ("no" if name == "init" else "unless-stopped"), name
        assert "docker.sock" not in str(service.get("volumes")), name
        if "build" in service:
            assert service["image"].startswith(f"streamflow-churn-{service['build']['target']}:")
            assert service["image"].endswith(f":{version()}")


def version() -> str:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return re.search(r'^version = "(.+)"$', text, re.MULTILINE)[1]  # type: ignore[index]


def test_nothing_runs_as_root(config: dict[str, Any]) -> None:
    for name, service in config["services"].items():
        target = service.get("build", {}).get("target")
        user = service.get("user") or stages()[target].user
        assert user not in ("root", "0", "0:0"), name


def test_dependencies_wait_for_health(config: dict[str, Any]) -> None:
    for service in config["services"].values():
        for name, need in service.get("depends_on", {}).items():
            wanted = "completed_successfully" if name == "init" else "healthy"
            assert need["condition"] == f"service_{wanted}"
    users = {
        name
        for name, one in config["services"].items()
        if "postgres" in str(one.get("environment"))
    }
    assert all(
        # The door knows it only as a host that no proxy leads to.
        "postgres" in config["services"][name]["depends_on"]
        for name in users - {"postgres", "door"}
    )


def test_only_clients_of_postgres_can_reach_it(config: dict[str, Any]) -> None:
    assert list(config["services"]["postgres"]["networks"]) == ["database"]
    assert config["networks"]["database"]["internal"] is True


def test_every_variable_is_known_to_somebody(config: dict[str, Any]) -> None:
    for name, service in config["services"].items():
        for variable in service.get("environment") or {}:
            known = variable in known_variables() or names_it(
                FOREIGN.get(variable, Path()), variable
            )
            assert known, f"{name}: {variable}"


def test_services_agree_on_what_they_share(config: dict[str, Any]) -> None:
    seen: dict[str, set[str]] = {}
    for name, service in config["services"].items():
        for variable, value in (service.get("environment") or {}).items():
            is_login = variable in ("POSTGRES_USER", "POSTGRES_PASSWORD")
            own = name in ("api", "console") and is_login
            seen.setdefault(f"{name.upper()}_{variable}" if own else variable, set()).add(value)
    assert {name for name, values in seen.items() if len(values) > 1} == set()


def default_of(settings: type[BaseSettings], name: str) -> Any:
    return settings.model_fields[name].get_default(call_default_factory=True, validated_data={})


def test_default_settings_are_those_of_the_code(config: dict[str, Any]) -> None:
    given = config["services"]["code"]["environment"]
    init = config["services"]["init"]["environment"]
    for name in ("api_postgres_user", "console_postgres_user", "reader_postgres_user"):
        assert init[name.upper()] == default_of(Settings, name)
    for name in ("postgres_user", "postgres_db"):
        assert given[name.upper()] == default_of(Settings, name)
    assert given["CHURN_N_JOBS"] == str(default_of(Settings, "n_jobs"))
    assert given["CHURN_CANDIDATE_MONTHS"] == str(default_of(Settings, "candidate_months"))
    assert given["CHURN_LOOK_SECONDS"] == str(default_of(Settings, "look_seconds"))
    for rules in (CampaignSettings, GateSettings):
        prefix = rules.model_config["env_prefix"]
        for name in rules.model_fields:
            variable = f"{prefix}{name.upper()}"
            if variable not in OF_THE_CONTRACT:
                assert given[variable] == str(default_of(rules, name))


def test_what_is_left_empty_is_the_contract_s(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OF_THE_CONTRACT:
        given = config["services"]["code"]["environment"][name]
        assert given == ""
        monkeypatch.setenv(name, given)
    settings = Settings()
    assert settings.mlflow_experiment == CONTRACT.name
    assert settings.first_month == CONTRACT.first_month
    assert settings.campaign.customer_value == default_of(CampaignSettings, "customer_value")


def told_to(variables: dict[str, str], profile: str = "") -> dict[str, set[str]]:
    """Return of each variable the services that are told the value that it is given here."""
    services = resolved(COMPOSE_PROFILES=profile, **variables)["services"]
    return {
        variable: {
            name
            for name, service in services.items()
            if (service.get("environment") or {}).get(variable) == value
        }
        for variable, value in variables.items()
    }


def test_whoever_reads_months_is_told_which_there_are() -> None:
    """`churn init` compares the first month with that of the deliveries, and the stack waits for it."""
    given = {"CHURN_FIRST_MONTH": "2024-03", "CHURN_LAST_MONTH": "2024-09"}
    readers = {"init", "code", "console", "metrics"}
    assert told_to(given, profile="monitoring") == dict.fromkeys(given, readers)


def test_whoever_reads_the_terms_of_a_campaign_is_told_the_same() -> None:
    """The lists are made by them, the Planner begins with them, and `churn campaign` is run in `init`."""
    prefix = CampaignSettings.model_config["env_prefix"]
    given = dict.fromkeys(
        (f"{prefix}{name.upper()}" for name in CampaignSettings.model_fields), "3"
    )
    readers = {"init", "code", "console"}
    assert told_to(given) == dict.fromkeys(given, readers)


def test_one_variable_gives_the_contract_to_those_who_read_it(config: dict[str, Any]) -> None:
    place = "/etc/churn/contract.yaml"
    foreign = resolved(CHURN_CONTRACT="gym/contract.yaml")
    for services, given, source in (
        (config["services"], "", ROOT / "churn" / "contract" / "streamflow.yaml"),
        (foreign["services"], place, ROOT / "gym" / "contract.yaml"),
    ):
        told, mounted = {}, {}
        for name, service in services.items():
            environment = service.get("environment") or {}
            if "CHURN_CONTRACT" in environment:
                told[name] = environment["CHURN_CONTRACT"]
            for mount in service.get("volumes", []):
                if mount["target"] == place:
                    mounted[name] = (mount["type"], mount["source"], mount["read_only"])
        assert told == dict.fromkeys(("init", "code", "api", "console"), given)
        assert mounted == dict.fromkeys(told, ("bind", str(source), True))


def test_no_service_asks_another_or_itself_through_a_proxy(config: dict[str, Any]) -> None:
    """Docker's client gives HTTP_PROXY to containers, and no proxy of an office knows their names."""
    listening = set(config["services"]) - {"init", "daemon"}
    hosts = {"localhost", "127.0.0.1", *listening}
    for name in OURS:
        given = config["services"][name]["environment"]
        for variable in ("NO_PROXY", "no_proxy", "no_grpc_proxy"):
            proxies = {"http": "http://proxy.example:3128", "no": given.get(variable, "")}
            asked = {
                host
                for host in hosts
                if not urllib.request.proxy_bypass_environment(f"{host}:80", proxies)  # type: ignore[attr-defined]
            }
            assert not asked, f"{name}: {variable}"
            assert not urllib.request.proxy_bypass_environment("pypi.example", proxies)  # type: ignore[attr-defined]


def test_workspace_reads_variables_that_its_readers_have(config: dict[str, Any]) -> None:
    [entry] = yaml.safe_load((ROOT / "workspace.yaml").read_text(encoding="utf-8"))["load_from"]
    wanted = {entry["grpc_server"][key]["env"] for key in ("host", "port")}
    for name in ("webserver", "daemon"):
        assert wanted <= set(config["services"][name]["environment"])
    command = config["services"]["code"]["command"]
    assert command[command.index("--location-name") + 1] == entry["grpc_server"]["location_name"]
    assert command[command.index("--port") + 1] == "4000"
    assert Path(churn.__file__).parent.parent == ROOT

"""The parts of the stack: where each listens, its command, environment and probe.

docker-compose.yml declares the same for a server.
"""

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from churn.errors import ChurnError
from churn.files import replacing
from churn.settings import Settings, declared_settings, loopback_without_proxy
from churn.stack import probes
from churn.stack.postgres import READERS, EmbeddedPostgres
from churn.stack.processes import LOOPBACK, Part, free_port
from churn.stack.record import StackRecord

PARTS = ("postgres", "mlflow", "api", "console", "code", "webserver", "daemon")
# Started with the others where METRICS_PORT says where; nothing else needs it.
METRICS = "metrics"
# Steps that end by themselves.
INITS = frozenset({"init", "init-mlflow"})
# Each worker of this part executes one run, and does not need the part any more.
LEAVES_WORKERS = "code"
# The order in which parts are stopped: those that write before what they write to.
STOP_STAGES = (
    ("daemon", "webserver", "code", *sorted(INITS)),
    ("api", "console", METRICS, "mlflow"),
    ("postgres",),
)
# MLflow's WSGI application is served directly, which costs less per request than its usual ASGI wrapper.
GUNICORN = "--threads=8 --timeout=120 --graceful-timeout=2 --log-level=warning"
# With -P, no module in the current folder can shadow ours.
_PYTHON = (sys.executable, "-P", "-m")


@dataclass(frozen=True)
class Plan:
    """One stack: the variables of every process that belongs to it or uses it, and its parts by name.

    The parts are in the order in which they start. There is no Postgres where POSTGRES_HOST names another
    server, no MLflow where MLFLOW_TRACKING_URI does, no exporter without METRICS_PORT.
    """

    environment: dict[str, str]
    parts: dict[str, Part]


def make_plan(record: StackRecord) -> Plan:
    """Plan a stack: running parts keep their ports, and the environment decides on the rest.

    Raises:
        ChurnError: the environment has half of the settings of another Postgres.
    """
    declared = declared_settings()
    recorded = {name: part.port for name, part in record.parts.items() if part.port}
    ports = {
        "code": recorded.get("code") or free_port(),
        "mlflow": recorded.get("mlflow", declared.mlflow_port),
        "webserver": recorded.get("webserver", declared.dagster_port),
        "api": recorded.get("api", declared.api_port),
        "console": recorded.get("console", declared.console_port),
    }
    if metrics := recorded.get(METRICS, declared.metrics_port):
        ports[METRICS] = metrics
    server = _server(declared, recorded.get("postgres"))
    is_own = _is_own_mlflow(declared, ports["mlflow"])
    tracking = _url(ports["mlflow"]) if is_own else declared.mlflow_tracking_uri
    postgres = server.environment if server else _postgres_of(declared)
    # On a server, Dagster's home is the one that its containers share.
    home = declared.home / "dagster"
    environment = {
        **loopback_without_proxy(),
        **postgres,
        # Dagster's storage reads libpq's own variable.
        "PGSSLMODE": postgres["POSTGRES_SSLMODE"],
        "POSTGRES_DB": declared.postgres_db,
        "API_POSTGRES_USER": declared.api_postgres_user,
        "CONSOLE_POSTGRES_USER": declared.console_postgres_user,
        "READER_POSTGRES_USER": declared.reader_postgres_user,
        "METRICS_POSTGRES_USER": declared.metrics_postgres_user,
        "CHURN_HOME": str(declared.home),
        "CHURN_API_URL": declared.api_url or _url(ports["api"]),
        "API_PORT": str(ports["api"]),
        "CHURN_CONSOLE_URL": declared.console_url or _url(ports["console"]),
        "CONSOLE_PORT": str(ports["console"]),
        "MLFLOW_PORT": str(ports["mlflow"]),
        "MLFLOW_TRACKING_URI": tracking,
        "MLFLOW_EXPERIMENT": declared.mlflow_experiment,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DAGSTER_PORT": str(ports["webserver"]),
        "DAGSTER_HOME": str(home if server else declared.dagster_home or home),
        "DAGSTER_CODE_HOST": LOOPBACK,
        "DAGSTER_CODE_PORT": str(ports["code"]),
        "CHURN_FIRST_MONTH": str(declared.first_month),
        "CHURN_LAST_MONTH": str(declared.last_month or ""),
        "CHURN_DROPS": str(declared.drops_folder.resolve()),
        "CHURN_ORACLE": str(declared.oracle or ""),
    }
    parts = make_parts(declared, record, environment, ports, server)
    return Plan(environment, {part.name: part for part in parts})


def _url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"


def _server(declared: Settings, recorded: int | None) -> EmbeddedPostgres | None:
    given = declared.model_fields_set
    if "postgres_host" in given:
        return None
    passwords = {f"{reader.lower()}_postgres_password" for reader in READERS}
    if stray := given & {"postgres_user", "postgres_password", *passwords}:
        raise ChurnError(
            f"{' and '.join(sorted(stray)).upper()} without POSTGRES_HOST",
            where="environment",
            remedy="set POSTGRES_HOST to use that server, or unset them to use the embedded one",
        )
    chosen = declared.postgres_port if "postgres_port" in given else None
    return EmbeddedPostgres(declared.home / "postgres", port=recorded or chosen)


def _postgres_of(declared: Settings) -> dict[str, str]:
    return {
        "POSTGRES_HOST": declared.postgres_host,
        "POSTGRES_PORT": str(declared.postgres_port),
        "POSTGRES_USER": declared.postgres_user,
        "POSTGRES_PASSWORD": declared.postgres_password.get_secret_value(),
        "POSTGRES_SSLMODE": declared.postgres_sslmode,
        "API_POSTGRES_PASSWORD": declared.api_postgres_password.get_secret_value(),
        "CONSOLE_POSTGRES_PASSWORD": declared.console_postgres_password.get_secret_value(),
        "READER_POSTGRES_PASSWORD": declared.reader_postgres_password.get_secret_value(),
        "METRICS_POSTGRES_PASSWORD": declared.metrics_postgres_password.get_secret_value(),
    }


def _is_own_mlflow(declared: Settings, port: int) -> bool:
    if "mlflow_tracking_uri" not in declared.model_fields_set:
        return True
    address = urlsplit(declared.mlflow_tracking_uri)
    return address.hostname in {LOOPBACK, "localhost"} and address.port == port


def make_parts(
    declared: Settings,
    record: StackRecord,
    stack: Mapping[str, str],
    ports: Mapping[str, int],
    server: EmbeddedPostgres | None,
) -> list[Part]:
    """Return the parts in the order in which they start; see `make_plan` for what they are made of."""
    code, dagster = ports["code"], ports["webserver"]
    parts = [_postgres(server, stack)] if server else []
    # MLflow takes longest to start, so its database is made ready separately from the others.
    parts.append(_init("init-mlflow", "mlflow"))
    if stack["MLFLOW_TRACKING_URI"] == _url(ports["mlflow"]):
        parts.append(_mlflow(declared.home, stack, ports["mlflow"]))
    parts += [
        _init("init", "streamflow", "dagster"),
        Part(
            "code",
            lambda: [
                *_PYTHON, "dagster", "api", "grpc", "--host", LOOPBACK, "--port", str(code),
                "--module-name", "churn_assets.definitions", "--location-name", "churn",
                "--empty-working-directory",
            ],
            partial(probes.code_server, code),
            after=("init",), port=code, variable="DAGSTER_CODE_PORT",
        ),
        _http("api", "api.main:app", declared.api_host, ports["api"], stack, page="/docs"),
        _http("console", "console.main:app", declared.console_host, ports["console"], stack),
        Part(
            "webserver",
            lambda: [
                *_PYTHON, "churn.stack.dagster_webserver", "--host", LOOPBACK,
                "--port", str(dagster), "--workspace", str(repository_file("workspace.yaml")),
            ],
            partial(probes.webserver, dagster),
            after=("code",), port=dagster, variable="DAGSTER_PORT", url=_url(dagster),
        ),
        Part(
            "daemon",
            lambda: [
                *_PYTHON, "dagster._daemon", "run",
                "--workspace", str(repository_file("workspace.yaml")),
            ],
            # It needs the webserver, too, which may start at the same time.
            lambda: probes.daemon(dagster, record.parts["daemon"].started),
            # The sensor on the drops folder reads and checks whole drops.
            environment={"DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "300"},
            after=("code",),
        ),
    ]  # fmt: skip
    if METRICS in ports:
        app, pages = "churn.exporter.app:app", {"page": "/metrics", "health": "/healthy"}
        parts.append(_http(METRICS, app, LOOPBACK, ports[METRICS], stack, **pages))
    return parts


def _postgres(server: EmbeddedPostgres, stack: Mapping[str, str]) -> Part:
    return Part(
        "postgres", server.command, partial(probes.postgres, stack),
        port=server.port, variable="POSTGRES_PORT", patience=120,
    )  # fmt: skip


def _init(name: str, *services: str) -> Part:
    def is_done() -> bool:
        from churn.database.init import is_ready

        return is_ready(services)

    only = [f"--only={service}" for service in services]
    return Part(
        name,
        lambda: [*_PYTHON, "churn.cli.main", "init", *only],
        is_done=is_done,
        # These are hundreds of small commits, all of which may be repeated: none has to wait for the disk.
        environment={"PGOPTIONS": "-c synchronous_commit=off"},
        after=("postgres",),
    )


def _mlflow(home: Path, stack: Mapping[str, str], port: int) -> Part:
    own = {
        "MLFLOW_SERVER_ALLOWED_HOSTS": "localhost:*,127.0.0.1:*",
        # The password is in libpq's own variable, not in the address, which may turn up in an error.
        "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg2://{stack['POSTGRES_USER']}"
        f"@{stack['POSTGRES_HOST']}:{stack['POSTGRES_PORT']}/mlflow",
        "PGPASSWORD": stack["POSTGRES_PASSWORD"],
        "MLFLOW_ARTIFACTS_DESTINATION": str(home / "mlflow"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    url = stack["MLFLOW_TRACKING_URI"]
    return Part(
        "mlflow",
        lambda: [
            *_PYTHON, "churn.stack.mlflow_server", f"--bind={LOOPBACK}:{port}", "--workers=1",
            *GUNICORN.split(),
        ],
        partial(probes.mlflow, url),
        environment=own, after=("init-mlflow",), port=port, variable="MLFLOW_PORT", url=url,
    )  # fmt: skip


def _http(
    name: str, app: str, host: str, port: int, stack: Mapping[str, str], page: str = "",
    health: str = "/health/live",
) -> Part:  # fmt: skip
    """Return a service of ours, which connects as its own role where that has a password."""
    login = {
        variable: stack[f"{name.upper()}_{variable}"]
        for variable in ("POSTGRES_USER", "POSTGRES_PASSWORD")
    }
    return Part(
        name,
        lambda: http_command(app, host, port),
        partial(probes.http, f"{_url(port)}{health}"),
        environment=login if login["POSTGRES_PASSWORD"] else {},
        after=("init",), port=port, variable=f"{name.upper()}_PORT", url=f"{_url(port)}{page}",
    )  # fmt: skip


def http_command(app: str, host: str, port: int) -> list[str]:
    """Return the command that serves an ASGI application."""
    return [*_PYTHON, "churn.stack.http_server", app, "--host", host, "--port", str(port)]


def repository_file(name: str) -> Path:
    """Return the path of a file such as dagster.yaml: beside the packages in a clone, in this one in a wheel.

    Raises:
        ChurnError: it is missing.
    """
    beside = Path(__file__).parents[2] / name
    path = beside if beside.exists() else Path(__file__).with_name(name)
    if not path.exists():
        remedy = "restore the clone, or install the wheel again"
        raise ChurnError(f"{name} is missing", where=str(beside.parent), remedy=remedy)
    return path


def prepare_dagster_home(home: Path) -> None:
    """Put the repository's dagster.yaml into DAGSTER_HOME, which Dagster wants to exist."""
    with replacing(home / "dagster" / "dagster.yaml") as new:
        shutil.copyfile(repository_file("dagster.yaml"), new)

"""The parts of the stack: command, environment and probe of each. Compose declares the same for a server."""

import functools
import shutil
import sys
from pathlib import Path

from churn.errors import ChurnError
from churn.files import replacing
from churn.stack import probes
from churn.stack.plan import Plan
from churn.stack.processes import LOOPBACK, Part
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


def make_parts(plan: Plan, record: StackRecord) -> tuple[Part, ...]:
    """Return the parts of a planned stack in the order in which they start."""
    logs = plan.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    parts = [_postgres(plan, logs)]
    # MLflow takes longest to start, so its database is made ready separately from the others.
    parts += [_init("init-mlflow", logs, "mlflow"), _mlflow(plan, logs)]
    parts += [_init("init", logs, "streamflow", "dagster"), _code(plan, logs)]
    parts += [_api(plan, logs), _console(plan, logs)]
    parts += [_webserver(plan, logs), _daemon(plan, logs, record)]
    parts += [_metrics(plan, logs)]
    return tuple(part for part in parts if part is not None)


def _postgres(plan: Plan, logs: Path) -> Part | None:
    if plan.server is None:
        return None
    return Part(
        name="postgres",
        command=plan.server.command,
        log=logs / "postgres.log",
        probe=functools.partial(probes.postgres, plan.environment),
        port=plan.server.port,
        variable="POSTGRES_PORT",
        patience=120,
    )


def _init(name: str, logs: Path, *services: str) -> Part:
    return Part(
        name=name,
        command=lambda: [
            *_PYTHON, "churn.cli.main", "init", *(f"--only={service}" for service in services),
        ],
        is_done=functools.partial(_are_ready, services),
        # These are hundreds of small commits, all of which may be repeated: none has to wait for the disk.
        environment={"PGOPTIONS": "-c synchronous_commit=off"},
        log=logs / f"{name}.log",
        after=("postgres",),
    )  # fmt: skip


def _are_ready(services: tuple[str, ...]) -> bool:
    from churn.database.init import is_ready

    return is_ready(services)


def _mlflow(plan: Plan, logs: Path) -> Part | None:
    if not plan.own_mlflow:
        return None
    stack, url = plan.environment, plan.environment["MLFLOW_TRACKING_URI"]
    return Part(
        name="mlflow",
        command=lambda: [
            *_PYTHON, "churn.stack.mlflow_server", f"--bind={LOOPBACK}:{plan.mlflow_port}",
            "--workers=1", *GUNICORN.split(),
        ],
        environment={
            "MLFLOW_SERVER_ALLOWED_HOSTS": "localhost:*,127.0.0.1:*",
            # The password is in libpq's own variable, not in the address, which may turn up in an error.
            "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg2://{stack['POSTGRES_USER']}"
            f"@{stack['POSTGRES_HOST']}:{stack['POSTGRES_PORT']}/mlflow",
            "PGPASSWORD": stack["POSTGRES_PASSWORD"],
            "MLFLOW_ARTIFACTS_DESTINATION": str(plan.home / "mlflow"),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        },
        log=logs / "mlflow.log",
        probe=functools.partial(probes.mlflow, url),
        after=("init-mlflow",),
        port=plan.mlflow_port,
        variable="MLFLOW_PORT",
        url=url,
    )  # fmt: skip


def http_command(app: str, host: str, port: int) -> list[str]:
    """Return the command that serves an ASGI application: one worker, and no log of who asked about whom."""
    # Imported here since it brings uvicorn with it, which takes long to load.
    from churn.http_guard import SHUTDOWN_SECONDS

    return [
        *_PYTHON, "uvicorn", app, "--host", host, "--port", str(port),
        "--loop", "uvloop", "--http", "churn.http_guard:BoundedProtocol", "--no-access-log",
        "--no-server-header", "--header", "x-content-type-options:nosniff",
        "--timeout-graceful-shutdown", f"{SHUTDOWN_SECONDS}",
    ]  # fmt: skip


def _api(plan: Plan, logs: Path) -> Part:
    url = f"http://{LOOPBACK}:{plan.api_port}"
    return Part(
        name="api",
        command=lambda: http_command("api.main:app", plan.declared.api_host, plan.api_port),
        environment=plan.api_login,
        log=logs / "api.log",
        probe=functools.partial(probes.http, f"{url}/health/live"),
        after=("init",),
        port=plan.api_port,
        variable="API_PORT",
        url=f"{url}/docs",
    )


def _console(plan: Plan, logs: Path) -> Part:
    url = f"http://{LOOPBACK}:{plan.console_port}"
    return Part(
        name="console",
        command=lambda: http_command(
            "console.main:app", plan.declared.console_host, plan.console_port
        ),
        environment=plan.console_login,
        log=logs / "console.log",
        probe=functools.partial(probes.http, f"{url}/health/live"),
        after=("init",),
        port=plan.console_port,
        variable="CONSOLE_PORT",
        url=url,
    )


def _code(plan: Plan, logs: Path) -> Part:
    return Part(
        name="code",
        command=lambda: [
            *_PYTHON, "dagster", "api", "grpc", "--host", LOOPBACK, "--port", str(plan.code_port),
            "--module-name", "churn_assets.definitions", "--location-name", "churn",
            "--empty-working-directory",
        ],
        log=logs / "code.log",
        probe=functools.partial(probes.code_server, plan.code_port),
        after=("init",),
        port=plan.code_port,
        variable="DAGSTER_CODE_PORT",
    )  # fmt: skip


def _webserver(plan: Plan, logs: Path) -> Part:
    return Part(
        name="webserver",
        command=lambda: [
            *_PYTHON, "churn.stack.dagster_webserver", "--host", LOOPBACK,
            "--port", str(plan.dagster_port),
            "--workspace", str(repository_file("workspace.yaml")),
        ],
        log=logs / "webserver.log",
        probe=functools.partial(probes.webserver, plan.dagster_port),
        after=("code",),
        port=plan.dagster_port,
        variable="DAGSTER_PORT",
        url=f"http://{LOOPBACK}:{plan.dagster_port}",
    )  # fmt: skip


def _daemon(plan: Plan, logs: Path, record: StackRecord) -> Part:
    return Part(
        name="daemon",
        command=lambda: [
            *_PYTHON, "dagster._daemon", "run",
            "--workspace", str(repository_file("workspace.yaml")),
        ],
        # The sensor on the drops folder reads and checks whole drops.
        environment={"DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "300"},
        log=logs / "daemon.log",
        probe=lambda: probes.daemon(plan.dagster_port, record.parts["daemon"].started),
        # Its probe needs the webserver, too, which may start at the same time.
        after=("code",),
    )  # fmt: skip


def _metrics(plan: Plan, logs: Path) -> Part | None:
    port = plan.metrics_port
    if port is None:
        return None
    url = f"http://{LOOPBACK}:{port}"
    return Part(
        name=METRICS,
        command=lambda: http_command("churn.exporter.app:app", LOOPBACK, port),
        environment=plan.metrics_login,
        log=logs / "metrics.log",
        probe=functools.partial(probes.http, f"{url}/healthy"),
        after=("init",),
        port=port,
        variable="METRICS_PORT",
        url=f"{url}/metrics",
    )


def prepare_dagster_home(home: Path) -> None:
    """Put the repository's dagster.yaml into DAGSTER_HOME, which Dagster wants to exist."""
    with replacing(home / "dagster" / "dagster.yaml") as new:
        shutil.copyfile(repository_file("dagster.yaml"), new)

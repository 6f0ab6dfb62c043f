"""Where each part of a stack listens, and the environment that its processes get."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from churn.errors import ChurnError
from churn.settings import Settings, declared_settings, loopback_without_proxy
from churn.stack.postgres import EmbeddedPostgres
from churn.stack.processes import LOOPBACK, free_port
from churn.stack.record import StackRecord

_LOGINS = {
    "postgres_user",
    "postgres_password",
    "api_postgres_password",
    "console_postgres_password",
    "reader_postgres_password",
    "metrics_postgres_password",
}


@dataclass(frozen=True)
class Plan:
    """The addresses of one stack.

    Attributes:
        declared: the settings, without what a running stack adds to them.
        server: our own Postgres; None where POSTGRES_HOST names another server.
        own_mlflow: False where MLFLOW_TRACKING_URI names a server elsewhere.
        metrics_port: None where nobody asked for the pipeline's metrics: METRICS_PORT.
        environment: the variables of every process that belongs to the stack or uses it.
    """

    declared: Settings
    server: EmbeddedPostgres | None
    own_mlflow: bool
    code_port: int
    mlflow_port: int
    dagster_port: int
    api_port: int
    metrics_port: int | None
    console_port: int
    environment: dict[str, str]

    @property
    def home(self) -> Path:
        """The state folder."""
        return self.declared.home

    @property
    def api_login(self) -> dict[str, str]:
        """The variables by which the API connects as its own role; none where that has no password."""
        return self._login("API")

    @property
    def console_login(self) -> dict[str, str]:
        """The same for the console."""
        return self._login("CONSOLE")

    @property
    def metrics_login(self) -> dict[str, str]:
        """The same for the exporter of metrics."""
        return self._login("METRICS")

    def _login(self, reader: str) -> dict[str, str]:
        environment = self.environment
        login = {
            name: environment[f"{reader}_{name}"] for name in ("POSTGRES_USER", "POSTGRES_PASSWORD")
        }
        return login if login["POSTGRES_PASSWORD"] else {}


def make_plan(record: StackRecord) -> Plan:
    """Plan a stack: running parts keep their ports, and the environment decides on the rest.

    Raises:
        ChurnError: the environment has half of the settings of another Postgres.
    """
    declared = declared_settings()

    def recorded(name: str, otherwise: int) -> int:
        part = record.parts.get(name)
        return part.port if part and part.port else otherwise

    api_port = recorded("api", declared.api_port)
    console_port = recorded("console", declared.console_port)
    mlflow_port = recorded("mlflow", declared.mlflow_port)
    dagster_port = recorded("webserver", declared.dagster_port)
    code_port = recorded("code", 0) or free_port()
    server = _server(declared, recorded("postgres", 0))
    own_mlflow = _is_own_mlflow(declared, mlflow_port)
    tracking = f"http://{LOOPBACK}:{mlflow_port}" if own_mlflow else declared.mlflow_tracking_uri
    postgres = server.environment if server else _postgres_of(declared)
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
        "CHURN_API_URL": declared.api_url or f"http://{LOOPBACK}:{api_port}",
        "API_PORT": str(api_port),
        "CHURN_CONSOLE_URL": declared.console_url or f"http://{LOOPBACK}:{console_port}",
        "CONSOLE_PORT": str(console_port),
        "MLFLOW_PORT": str(mlflow_port),
        "MLFLOW_TRACKING_URI": tracking,
        "MLFLOW_EXPERIMENT": declared.mlflow_experiment,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DAGSTER_PORT": str(dagster_port),
        "DAGSTER_HOME": str(_dagster_home(declared, embedded=server is not None)),
        "DAGSTER_CODE_HOST": LOOPBACK,
        "DAGSTER_CODE_PORT": str(code_port),
        "CHURN_FIRST_MONTH": str(declared.first_month),
        "CHURN_LAST_MONTH": str(declared.last_month or ""),
        "CHURN_DROPS": str(declared.drops_folder.resolve()),
        "CHURN_ORACLE": str(declared.oracle or ""),
    }
    return Plan(
        declared=declared,
        server=server,
        own_mlflow=own_mlflow,
        code_port=code_port,
        mlflow_port=mlflow_port,
        dagster_port=dagster_port,
        api_port=api_port,
        metrics_port=recorded("metrics", declared.metrics_port or 0) or None,
        console_port=console_port,
        environment=environment,
    )


def _server(declared: Settings, recorded: int) -> EmbeddedPostgres | None:
    given = declared.model_fields_set
    if "postgres_host" in given:
        return None
    if stray := _LOGINS & given:
        raise ChurnError(
            f"{' and '.join(sorted(stray)).upper()} without POSTGRES_HOST",
            where="environment",
            remedy="set POSTGRES_HOST to use that server, or unset them to use the embedded one",
        )
    port = declared.postgres_port if "postgres_port" in given else 0
    return EmbeddedPostgres(declared.home / "postgres", port=recorded or port or None)


def _dagster_home(declared: Settings, *, embedded: bool) -> Path:
    """Return the state folder's own with our own Postgres; on a server, the one its containers share."""
    own = declared.home / "dagster"
    return own if embedded else declared.dagster_home or own


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

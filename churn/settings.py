"""Settings: the one place where the environment is read."""

import base64
import contextlib
import datetime as dt
import functools
import math
import os
import stat
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from churn.contract.document import read_contract, read_contract_file
from churn.contract.structure import Contract
from churn.errors import ChurnError
from churn.files import write_text
from churn.months import Month

# The settings that a state folder keeps. Each line is a variable; the environment takes precedence.
KEPT = "settings.env"
# The variables by which a second shell finds the running stack.
OF_THE_STACK = "stack.env"
# The umask of our processes: only their owner may read what they write.
PRIVATE = 0o077


_LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")


def loopback_without_proxy() -> dict[str, str]:
    """Return the variables that keep requests to the loopback away from the environment's proxy.

    HTTP clients and gRPC apply HTTP_PROXY to 127.0.0.1, too, which an office's proxy cannot reach. Hosts that
    are excepted already stay so, and all others keep their proxy.
    """
    hosts = _listed("no_proxy") + _listed("NO_PROXY")
    # A star counts only where it is alone, and gRPC does not know it.
    everywhere = "*" if "*" in hosts else ",".join(dict.fromkeys([*hosts, *_LOOPBACK_HOSTS]))
    of_grpc = [host for host in _listed("no_grpc_proxy") or hosts if host != "*"]
    return {
        "NO_PROXY": everywhere,
        "no_proxy": everywhere,
        "no_grpc_proxy": ",".join(dict.fromkeys([*of_grpc, *_LOOPBACK_HOSTS])),
    }


def _listed(variable: str) -> list[str]:
    return [host.strip() for host in os.environ.get(variable, "").split(",") if host.strip()]


def home_folder() -> Path:
    """Return the state folder: CHURN_HOME, or `.churn` under the current folder.

    Raises:
        ChurnError: it is something other than a folder.
    """
    home = Path(os.environ.get("CHURN_HOME") or ".churn").resolve()
    if home.exists() and not home.is_dir():
        raise ChurnError(
            "the state folder is not a folder",
            where=f"CHURN_HOME={home}",
            remedy="set CHURN_HOME to a folder, which need not exist yet",
        )
    return home


def wants_tracebacks() -> bool:
    """Return whether an unexpected error should be shown with its traceback: CHURN_DEBUG.

    This reads the environment and the state folder, not the settings, since those may be what is wrong.
    """
    value = os.environ.get("CHURN_DEBUG")
    if value is None:
        with contextlib.suppress(ChurnError, OSError, ValueError):
            value = dotenv_values(home_folder() / KEPT).get("CHURN_DEBUG")
    return (value or "").lower() not in ("", "0", "false", "no")


DEFAULT_CONTRACT = "streamflow"
# Used where neither the contract nor the environment says what a customer is worth.
_CUSTOMER_VALUE = 200.0


def contract_path() -> Path | None:
    """Return the path of the contract's file: CHURN_CONTRACT, from the environment or the state folder.

    A path in the state folder is relative to that folder, so that a project can be moved as a whole.
    """
    value = os.environ.get("CHURN_CONTRACT")
    if value:
        return Path(value).resolve()
    home = home_folder()
    kept = dotenv_values(home / KEPT).get("CHURN_CONTRACT")
    return (home / kept).resolve() if kept else None


@functools.cache
def default_contract() -> Contract:
    """Return StreamFlow's own contract, which comes with the package."""
    text = resources.files("churn.contract").joinpath(f"{DEFAULT_CONTRACT}.yaml")
    return read_contract(text.read_text(encoding="utf-8"), DEFAULT_CONTRACT)


@functools.cache
def contract_in_force() -> Contract:
    """Return the contract that this process works by; it is read once, and never changes within a process.

    Raises:
        ChurnError: the file does not exist, or is not a contract.
    """
    path = contract_path()
    return default_contract() if path is None else read_contract_file(path)


def kept_drops() -> Path | None:
    """Return the folder of drops that `churn new` recorded in the state folder; None where it did not."""
    kept = dotenv_values(home_folder() / KEPT).get("CHURN_DROPS")
    return Path(kept) if kept else None


# As many characters as 128 random bits have in hexadecimal.
_LEAST_KEY = 32
Port = Annotated[int, Field(ge=1, le=65535)]


def private_home() -> Path:
    """Make the state folder, or take other users' rights to it away; return it.

    Since it holds deliveries, scores, reports and passwords, the folder and everything directly below it are
    for their owner alone. A folder with other uses (a temporary folder, a home, a clone) keeps its rights.
    """
    home = home_folder()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    shared = home in (Path.home(), home.parent) or home.stat().st_mode & stat.S_ISVTX
    if not shared and not (home / ".git").exists():
        for path in (home, *home.iterdir()):
            _close_to_others(path)
    return home


def _close_to_others(path: Path) -> None:
    status = path.lstat()
    if status.st_uid != os.geteuid() or stat.S_ISLNK(status.st_mode):
        return
    # Where root is the owner, a group other than root's is that of the user who runs Postgres, and needs to
    # pass through the folder.
    walked_through = os.geteuid() == 0 and status.st_gid != 0 and stat.S_ISDIR(status.st_mode)
    mode = stat.S_IMODE(status.st_mode)
    closed = mode & (0o710 if walked_through else 0o700)
    if closed != mode:
        path.chmod(closed)


def _customer_value() -> float:
    worth = contract_in_force().customer_value
    return worth.amount if worth and worth.amount else _CUSTOMER_VALUE


class CampaignSettings(BaseSettings):
    """What a retention campaign costs and earns, in currency units per user: CHURN_CAMPAIGN_*."""

    model_config = SettingsConfigDict(
        env_prefix="CHURN_CAMPAIGN_",
        extra="ignore",
        env_ignore_empty=True,
        use_attribute_docstrings=True,
    )

    customer_value: float = Field(default_factory=lambda: _customer_value(), gt=0)
    """What a user who is kept is worth. By default it is what the contract says, where that is the same for
    all users, and else 200."""
    incentive_cost: float = Field(default=10.0, ge=0)
    """The cost of the offer, if it is accepted."""
    contact_cost: float = Field(default=1.0, ge=0)
    """The cost of contacting one user."""
    accept_alpha: float = Field(default=6.0, gt=0)
    """The probability that a leaver accepts the offer is distributed as Beta(alpha, beta); this is alpha."""
    accept_beta: float = Field(default=14.0, gt=0)
    """The beta of that distribution. With alpha 6 and beta 14, three leavers in ten accept on average."""
    budget: float = Field(default=5_000.0, ge=0)
    """The budget per month, for offers and contacts, in currency units."""
    control_share: float = Field(default=0.10, ge=0, lt=1)
    """The share of the users to be contacted who are left alone at random, as a control group."""


def chosen_campaign(terms: Mapping[str, Any]) -> CampaignSettings:
    """Return the terms of a campaign that somebody chose: all of them, so none comes from the environment.

    Raises:
        ChurnError: one is missing or unknown, is no finite number, or cannot be.
    """
    names = CampaignSettings.model_fields.keys()
    if terms.keys() != names:
        raise ChurnError(f"a campaign has the terms {', '.join(names)}, all of them and no others")
    try:
        campaign = CampaignSettings(**terms)
    except ValidationError as error:
        problems = [f"{each['loc'][0]}: {each['msg']}" for each in error.errors()]
        raise ChurnError("\n".join(problems), remedy="choose another value") from None
    endless = [name for name, value in campaign.model_dump().items() if not math.isfinite(value)]
    if endless:
        raise ChurnError(f"{', '.join(endless)}: not a finite number", remedy="write a number")
    return campaign


class GateSettings(BaseSettings):
    """What a challenger must show before it is promoted: CHURN_GATE_*."""

    model_config = SettingsConfigDict(
        env_prefix="CHURN_GATE_", extra="ignore", use_attribute_docstrings=True
    )

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """The confidence level of the paired intervals."""
    profit_margin: float = Field(default=0.0, ge=0)
    """The lower bound of the difference in profit per user must lie above this."""
    auc_margin: float = Field(default=-0.005)
    """The lower bound of the difference in AUC must lie above this: how much worse a challenger may be."""
    auc_floor: float = Field(default=0.70, gt=0, lt=1)
    """The least AUC that the champion must realise."""
    resamples: int = Field(default=1_000, ge=100)
    """How many times the users are drawn again for an interval."""


def _is_webhook_secret(text: str) -> bool:
    """Return whether a text is a secret of Standard Webhooks: 24 to 64 random bytes in base64."""
    prefix, _, key = text.partition("_")
    try:
        return prefix == "whsec" and 24 <= len(base64.b64decode(key, validate=True)) <= 64
    except ValueError:
        return False


class EventSettings(BaseSettings):
    """Where events are sent: CHURN_EVENTS_*. Nowhere, unless something is set."""

    model_config = SettingsConfigDict(
        env_prefix="CHURN_EVENTS_",
        extra="ignore",
        env_ignore_empty=True,
        use_attribute_docstrings=True,
    )

    url: SecretStr = SecretStr("")
    """The address of a receiver of Standard Webhooks."""
    secret: SecretStr = SecretStr("")
    """The secret that its signatures are made with: `whsec_` and 24 to 64 random bytes in base64."""
    slack_url: SecretStr = SecretStr("")
    """The address of an incoming webhook of Slack. Whoever knows it may post there."""
    mail_to: str = ""
    """The addresses that get a mail, comma-separated."""
    mail_from: str = ""
    """The sender of that mail."""
    smtp_host: str = ""
    """The server that takes the mail."""
    smtp_port: Port = 587
    """The port of that server."""
    smtp_user: str = ""
    """The user that the server knows; without one, nobody logs in."""
    smtp_password: SecretStr = SecretStr("")
    """The user's password."""
    smtp_starttls: bool = True
    """Whether the connection to the server is encrypted before anything is sent."""
    retry_minutes: Annotated[tuple[float, ...], NoDecode] = (1, 5, 30, 120, 300, 600, 600)
    """Minutes until an event is sent again: after the first failure, the second, and so on. Then it is given
    up."""

    @field_validator("retry_minutes", mode="before")
    @classmethod
    def _minutes_between(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("url", "slack_url", mode="after")
    @classmethod
    def _an_address(cls, value: SecretStr) -> SecretStr:
        address = urlsplit(value.get_secret_value())
        if any(address) and not (address.scheme in ("http", "https") and address.hostname):
            raise ValueError("write an address that begins with https:// (or http://)")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.url.get_secret_value() and not _is_webhook_secret(self.secret.get_secret_value()):
            raise ValueError(
                "CHURN_EVENTS_URL needs CHURN_EVENTS_SECRET, which its receiver knows, too: whsec_"
                " and 24 to 64 random bytes in base64"
            )
        if self.mail_to and not (self.mail_from and self.smtp_host):
            raise ValueError(
                "CHURN_EVENTS_MAIL_TO needs CHURN_EVENTS_MAIL_FROM and CHURN_EVENTS_SMTP_HOST"
            )
        if self.smtp_user and not self.smtp_starttls:
            raise ValueError(
                "CHURN_EVENTS_SMTP_USER needs CHURN_EVENTS_SMTP_STARTTLS: a password goes over TLS only"
            )
        return self

    @property
    def retry_delays(self) -> tuple[dt.timedelta, ...]:
        """How long to wait before an event is sent again: after its first failure, its second, and so on."""
        return tuple(dt.timedelta(minutes=minutes) for minutes in self.retry_minutes)


class Settings(BaseSettings):
    """The settings, by the names of their environment variables.

    The variables of the process take precedence. Next comes `stack.env` in the state folder, which a running
    embedded stack writes, so that a second shell finds the same Postgres, MLflow and API. Last comes
    `settings.env`, which holds what the state folder was made for, such as the last month of a demo.
    """

    model_config = SettingsConfigDict(extra="ignore", use_attribute_docstrings=True)

    home: Path = Field(default_factory=home_folder, validation_alias="CHURN_HOME")
    """The state folder, which holds everything that is kept. By default `.churn` in the current folder."""
    postgres_host: str = "127.0.0.1"
    """The Postgres server. Where it is set, that server is used, and `churn up` starts none of its own."""
    postgres_port: Port = 5432
    """The port of that server. The embedded server takes a free one and writes it to `stack.env`."""
    postgres_user: str = "streamflow"
    """The role that owns the databases, by which the pipeline and `churn init` connect."""
    postgres_password: SecretStr = SecretStr("")
    """The owner's password. The embedded server makes one up."""
    postgres_db: str = "streamflow"
    """The database of the product's tables. Dagster and MLflow have databases of their own beside it."""
    postgres_sslmode: str = "prefer"
    """How a connection is encrypted, in libpq's words: `disable`, `prefer`, `require`, `verify-full`."""
    api_postgres_user: str = Field(default="churn_api", min_length=1)
    """The role that the API connects as. It may read what is served, and nothing else."""
    api_postgres_password: SecretStr = SecretStr("")
    """Its password. `churn init` makes the role only where it has one; the embedded stack makes one up."""
    console_postgres_user: str = Field(default="churn_console", min_length=1)
    """The role that the console connects as."""
    console_postgres_password: SecretStr = SecretStr("")
    """Its password. `churn init` makes the role only where it has one; the embedded stack makes one up."""
    reader_postgres_user: str = Field(default="churn_reader", min_length=1)
    """The role by which BI tools read the views of the schema `retention`, and nothing else."""
    reader_postgres_password: SecretStr = SecretStr("")
    """Its password. `churn init` makes the role only where it has one; the embedded stack makes one up."""
    metrics_postgres_user: str = Field(default="churn_metrics", min_length=1)
    """The role that the exporter of metrics connects as."""
    metrics_postgres_password: SecretStr = SecretStr("")
    """Its password. `churn init` makes the role only where it has one; the embedded stack makes one up."""
    online: Literal["postgres", "redis"] = Field(
        default="postgres", validation_alias="CHURN_ONLINE"
    )
    """Where readers of online features find them: in Postgres, or in a copy in Redis."""
    redis_url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"), validation_alias="CHURN_REDIS_URL"
    )
    """The address of that Redis, or of some servers of a Redis Cluster, comma-separated. It may hold a
    password."""
    dagster_home: Path | None = None
    """Dagster's own folder on a server. The embedded stack has it in the state folder."""
    mlflow_tracking_uri: str = "http://127.0.0.1:5000"
    """The address of the MLflow server."""
    mlflow_experiment: str = Field(default_factory=lambda: contract_in_force().name)
    """The experiment to which every materialization is recorded. By default it has the contract's name."""
    mlflow_port: Port = 5000
    """The port on which `churn up` serves MLflow."""
    dagster_port: Port = 3000
    """The port on which `churn up` serves Dagster's pages."""
    api_port: Port = 8000
    """The port of the API."""
    api_host: str = "127.0.0.1"
    """The address on which the API listens."""
    metrics_port: Port | None = None
    """The port on which `churn up` serves the pipeline's metrics. Without one it does not serve them."""
    api_url: str = Field(default="", validation_alias="CHURN_API_URL")
    """Where commands and checks find the API, if not on this machine at API_PORT."""
    api_keys: Literal["off", "required"] = Field(default="off", validation_alias="CHURN_API_KEYS")
    """Whether the API asks for a key. On one's own machine it does not."""
    api_key: SecretStr = Field(default=SecretStr(""), validation_alias="CHURN_API_KEY")
    """The key by which the platform's own programs ask the API. `churn init` makes it known there."""
    api_per_minute: int = Field(default=0, ge=0, validation_alias="CHURN_API_PER_MINUTE")
    """How often a minute one key, or one address where no key is asked for, may ask the API. 0 is without
    limit."""
    console_port: Port = 8080
    """The port of the console."""
    console_host: str = "127.0.0.1"
    """The address on which the console listens."""
    console_url: str = Field(default="", validation_alias="CHURN_CONSOLE_URL")
    """Where people find the console, if not on this machine. Links lead there, and where it is https, cookies
    are sent by https only."""
    api_host_names: str = ""
    """Further host names, comma-separated, by which a proxy or another machine addresses the API."""
    console_host_names: str = ""
    """Further host names, comma-separated, by which the console is addressed."""
    dagster_host_names: str = ""
    """Further host names, comma-separated, by which Dagster's pages are addressed."""
    metrics_host_names: str = ""
    """Further host names, comma-separated, by which the exporter of metrics is addressed."""
    first_month: Annotated[Month, NoDecode] = Field(
        default_factory=lambda: contract_in_force().first_month,
        validation_alias="CHURN_FIRST_MONTH",
    )
    """The month of `month_000`, as `2024-01`; the first delivery settles it. By default the contract's."""
    last_month: Annotated[Month | None, NoDecode] = Field(
        default=None, validation_alias="CHURN_LAST_MONTH"
    )
    """The last month that there is; later drops wait. Without it, months go on to this day."""
    feast_repo: Path | None = Field(default=None, validation_alias="FEAST_REPO")
    """The folder of Feast's configuration. By default it is `feature_repo` of this installation."""
    drops: Path | None = Field(default=None, validation_alias="CHURN_DROPS")
    """The folder that is watched for drops. By default it is `drops` in the state folder."""
    n_jobs: int = Field(default=2, ge=1, validation_alias="CHURN_N_JOBS")
    """Processor cores for a training."""
    candidate_months: int = Field(default=1, ge=1, validation_alias="CHURN_CANDIDATE_MONTHS")
    """How many months one candidate is fitted on: its own month and those before it."""
    log_format: Literal["text", "json"] = Field(default="text", validation_alias="CHURN_LOG_FORMAT")
    """The form of the logs of the API, the console and the exporter: text for people, json for what collects
    the logs of a server."""
    lineage: bool = Field(default=False, validation_alias="CHURN_LINEAGE")
    """Whether a catalogue is told of the lineage of each asset. OpenLineage's own variables say which."""
    tracing: bool = Field(default=False, validation_alias="CHURN_TRACING")
    """Whether a collector is told of requests. OpenTelemetry's own variables say which."""
    debug: bool = Field(default=False, validation_alias="CHURN_DEBUG")
    """Whether an unexpected error is shown with its traceback."""
    retry_minutes: Annotated[tuple[float, ...], NoDecode] = Field(
        default=(1, 5, 30, 120), validation_alias="CHURN_RETRY_MINUTES"
    )
    """Minutes until a failed month is tried again: after the first failure, the second, and so on. Then it is
    given up. Empty: it is never tried again by itself."""
    look_seconds: int = Field(default=30, ge=5, validation_alias="CHURN_LOOK_SECONDS")
    """Seconds between two looks of the sensors, for new drops and for alarms; the daemon takes 5 at least."""
    oracle: Path | None = Field(default=None, validation_alias="CHURN_ORACLE")
    """A folder of true probabilities, which `churn generate` and `churn simulate` know. Scores that come too
    near them are a leak."""
    campaign: CampaignSettings = Field(default_factory=CampaignSettings)
    """The variables CHURN_CAMPAIGN_*."""
    gate: GateSettings = Field(default_factory=GateSettings)
    """The variables CHURN_GATE_*."""
    events: EventSettings = Field(default_factory=EventSettings)
    """The variables CHURN_EVENTS_*."""

    @field_validator("mlflow_experiment", mode="before")
    @classmethod
    def _experiment(cls, value: Any) -> Any:
        # Compose passes a variable that is not set as an empty text.
        return value or contract_in_force().name

    @field_validator("first_month", mode="before")
    @classmethod
    def _first_month(cls, value: Any) -> Any:
        return value or contract_in_force().first_month

    @field_validator("first_month", "last_month", mode="before")
    @classmethod
    def _month(cls, value: Any) -> Any:
        try:
            return (Month.parse(value) if value else None) if isinstance(value, str) else value
        except ChurnError as error:
            raise ValueError(f"{error.what}: {error.remedy}") from error

    @model_validator(mode="after")
    def _months_in_order(self) -> Self:
        if self.last_month is not None and self.last_month < self.first_month:
            raise ValueError(
                f"CHURN_LAST_MONTH ({self.last_month}) lies before CHURN_FIRST_MONTH ({self.first_month})"
            )
        return self

    @field_validator("log_format", mode="before")
    @classmethod
    def _text_if_blank(cls, value: Any) -> Any:
        return value or "text"

    @field_validator("api_key", mode="after")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        """Refuse a key that could be guessed: of keys only a quick hash is kept."""
        key = value.get_secret_value()
        if key and not (len(key) >= _LEAST_KEY and key.isascii() and key.isprintable()):
            raise ValueError(f"a key has {_LEAST_KEY} printable ASCII characters or more")
        if " " in key:
            raise ValueError("a key has no spaces")
        return value

    @field_validator("retry_minutes", mode="before")
    @classmethod
    def _minutes(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) and value else value or ()

    @field_validator("oracle", mode="before")
    @classmethod
    def _none_if_blank(cls, value: Any) -> Any:
        return value or None

    @field_validator("oracle", mode="after")
    @classmethod
    def _absolute_oracle(cls, value: Path | None) -> Path | None:
        return value.resolve() if value else None

    @field_validator("home", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.resolve()

    @property
    def retry_delays(self) -> tuple[dt.timedelta, ...]:
        """How long to wait before a month is tried again: after its first failure, its second, and so on."""
        return tuple(dt.timedelta(minutes=minutes) for minutes in self.retry_minutes)

    @property
    def deliveries(self) -> Path:
        """The deliveries store: each accepted file, unchanged, named by its sha256."""
        return self.home / "deliveries"

    @property
    def lake(self) -> Path:
        """The lake: plain Parquet, one folder per feature view, and in it one per as_of."""
        return self.home / "lake"

    @property
    def training_sets(self) -> Path:
        """The training sets, one Parquet file each."""
        return self.home / "training"

    @property
    def reports(self) -> Path:
        """The monthly reports, from `2024-01.md` on."""
        return self.home / "reports"

    @property
    def drops_folder(self) -> Path:
        """The folder that the sensor watches for new drops."""
        return self.drops or self.home / "drops"

    @property
    def smoke_url(self) -> str:
        """The API's address, for the smoke check and the command line."""
        return self.api_url or f"http://127.0.0.1:{self.api_port}"

    @property
    def api_headers(self) -> dict[str, str]:
        """What a request to the API carries, so that one that asks for keys answers."""
        key = self.api_key.get_secret_value()
        return {"Authorization": f"Bearer {key}"} if key else {}

    @property
    def console_address(self) -> str:
        """Where a browser finds the console."""
        return self.console_url.rstrip("/") or f"http://127.0.0.1:{self.console_port}"

    def dsn(self, database: str | None = None) -> str:
        """Return a libpq connection string for psycopg, with its values quoted."""
        from psycopg.conninfo import make_conninfo

        return make_conninfo(
            host=self.postgres_host,
            port=self.postgres_port,
            user=self.postgres_user,
            password=self.postgres_password.get_secret_value() or None,
            dbname=database or self.postgres_db,
            sslmode=self.postgres_sslmode,
        )

    def sqlalchemy_url(self, database: str, schema: str = "public") -> str:
        """Return a URL that names the psycopg2 driver: a bare `postgresql://` now means psycopg 3."""
        from urllib.parse import quote

        password = quote(self.postgres_password.get_secret_value(), safe="")
        user = quote(self.postgres_user, safe="")
        where = f"{self.postgres_host}:{self.postgres_port}/{database}"
        options = f"sslmode={self.postgres_sslmode}"
        if schema != "public":
            options += f"&options=-csearch_path%3D{schema}"
        return f"postgresql+psycopg2://{user}:{password}@{where}?{options}"


def declared_settings() -> Settings:
    """Read the settings from the environment and `settings.env` alone, as if no stack were running."""
    return _read(home_folder() / KEPT)


@functools.cache
def get_settings() -> Settings:
    """Read the settings once; `get_settings.cache_clear()` reads them again."""
    home = home_folder()
    return _read(home / KEPT, home / OF_THE_STACK)


def _read(*files: Path) -> Settings:
    try:
        return Settings(
            _env_file=files,
            campaign=CampaignSettings(_env_file=files),
            gate=GateSettings(_env_file=files),
            events=EventSettings(_env_file=files),
        )
    except ValidationError as error:
        problems = [_problem(error.title, each) for each in error.errors()]
        raise ChurnError(
            "\n".join(problems), where="settings", remedy="correct or unset the variable"
        ) from None


def _problem(settings: str, error: ErrorDetails) -> str:
    """Return which variable is wrong, and why; its value is shown unless it is a secret."""
    prefixes = {
        cls.__name__: cls.model_config["env_prefix"]
        for cls in (CampaignSettings, GateSettings, EventSettings)
    }
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return message
    name = f"{prefixes.get(settings, '')}{'_'.join(map(str, error['loc']))}".upper()
    is_secret = name.endswith("_KEY") or any(word in name for word in ("PASSWORD", "SECRET", "URL"))
    value = "" if is_secret else f"={error['input']}"
    return f"{name}{value}: {message}"


def keep_settings(values: Mapping[str, str]) -> None:
    """Keep variables in the state folder, so that later commands there use them, too.

    Args:
        values: the values by name, as in the environment; other variables that were kept stay.
    """
    path = private_home() / KEPT
    kept = {**dotenv_values(path), **values}
    write_env(path, {name: value for name, value in kept.items() if value is not None})


def write_env(path: Path, values: Mapping[str, str]) -> None:
    """Write variables to a file that only its owner may read, in a form that a shell can read, too."""
    lines = []
    for name, value in sorted(values.items()):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"{name}='{escaped}'\n")
    write_text(path, "".join(lines), mode=0o600)

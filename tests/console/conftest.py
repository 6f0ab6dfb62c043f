"""The console over real HTTP on a real Postgres, and people who are signed in to it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import pytest
from psycopg.conninfo import make_conninfo

from churn.database import connect
from churn.database.roles import CONSOLE, RETENTION, ensure_role
from churn.settings import Settings
from console.access import FORM_FIELD, form_token
from console.main import create_app
from console.people import make_link
from console.queries import Database
from console.roles import Role
from tests.kit.servers import served


def cookie_of(client: httpx.Client, of: str = "") -> str:
    """Return the name of a cookie of the console at this address; the session's, if not another's."""
    return "_".join(part for part in ("churn_console", of, str(client.base_url.port)) if part)


def use_link(client: httpx.Client, token: str, to: str = "/") -> httpx.Response:
    """Open a link and press its button."""
    opened = client.get("/sign-in", params={"token": token, "to": to}, follow_redirects=True)
    assert opened.status_code == 200
    form = {FORM_FIELD: form_token(client.cookies[cookie_of(client, "form")]), "to": to}
    return client.post("/sign-in/link", data=form)


@dataclass
class Someone:
    """A browser with a session, or without one."""

    client: httpx.Client

    @property
    def csrf(self) -> str:
        """What a form of this session carries."""
        return form_token(self.client.cookies[cookie_of(self.client)])

    def get(self, path: str, **more: object) -> httpx.Response:
        return self.client.get(path, **more)  # type: ignore[arg-type]

    def post(self, path: str, form: dict[str, str] | None = None, **more: object) -> httpx.Response:
        """Send a form as a page of the console would."""
        return self.client.post(path, data={FORM_FIELD: self.csrf, **(form or {})}, **more)  # type: ignore[arg-type]


def database_of(settings: Settings) -> Database:
    """Return the console's connections to a test's database, each as its own role."""
    roles = (
        (CONSOLE, settings.console_postgres_user, settings.console_postgres_password),
        (RETENTION, settings.reader_postgres_user, settings.reader_postgres_password),
    )
    dsns = []
    for role, name, password in roles:
        secret = password.get_secret_value()
        with connect() as connection:
            ensure_role(connection, role, name, secret)
        dsns.append(make_conninfo(settings.dsn(), user=name, password=secret))
    return Database(*dsns)


@pytest.fixture
def console(settings: Settings) -> Iterator[str]:
    """The address of a console on the test's own database."""
    with served(create_app(lambda: database_of(settings))) as url:
        yield url


@pytest.fixture
def stranger(console: str) -> Iterator[httpx.Client]:
    """A browser without a session."""
    with httpx.Client(base_url=console, timeout=60) as client:
        yield client


@pytest.fixture
def sign_in(console: str) -> Iterator[Callable[..., Someone]]:
    """Return somebody signed in with a role: `sign_in(Role.CALLER, "ann")`."""
    clients = []

    def make(role: Role = Role.VIEWER, name: str = "ann") -> Someone:
        with connect() as connection:
            token = make_link(connection, name, role)
        client = httpx.Client(base_url=console, timeout=60)
        clients.append(client)
        assert use_link(client, token).status_code == 303
        return Someone(client)

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def viewer(sign_in: Callable[..., Someone]) -> Someone:
    return sign_in(Role.VIEWER)

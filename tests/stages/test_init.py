"""Making databases ready: once for each version of the code, and whole again whenever something is new."""

import psycopg
import pytest

from churn.database import connect, init
from churn.database.init import initialise
from churn.database.made_by import made_by, maker
from churn.settings import Settings

OWN = ("streamflow",)


@pytest.fixture
def made(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is made in our own database, each time it is."""
    seen: list[str] = []
    real = init.create_schema

    def create_schema(connection: psycopg.Connection) -> None:
        seen.append("schema")
        real(connection)

    monkeypatch.setattr(init, "create_schema", create_schema)
    return seen


def signed(settings: Settings) -> str | None:
    with connect("postgres") as connection:
        return made_by(connection, settings.postgres_db)


def test_the_same_code_makes_it_once_unless_it_is_told_to(
    settings: Settings, made: list[str]
) -> None:
    assert signed(settings) is None
    for _ in range(2):
        initialise(OWN, if_changed=True)
    assert made == ["schema"]
    assert signed(settings) == maker("streamflow")
    initialise(OWN)
    assert made == ["schema"] * 2


def test_other_code_makes_it_again(
    settings: Settings, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    initialise(OWN, if_changed=True)
    before = maker("streamflow")
    monkeypatch.setattr("churn.database.made_by.metadata.version", lambda name: "the next one")
    assert maker("streamflow") != before
    initialise(OWN, if_changed=True)
    assert made == ["schema"] * 2


def test_what_fails_half_way_is_made_again(
    settings: Settings, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("feature_repo.store.apply_features", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            initialise(OWN, if_changed=True)
    assert signed(settings) is None
    initialise(OWN, if_changed=True)
    assert made == ["schema"] * 2
    assert signed(settings) == maker("streamflow")


def test_each_service_is_signed_by_its_own_libraries() -> None:
    assert len({maker(service) for service in init.SERVICES}) == len(init.SERVICES)

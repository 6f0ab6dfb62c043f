from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from churn.errors import ChurnError
from churn.months import Month
from churn.settings import Settings, declared_settings, get_settings, keep_settings


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHURN_HOME", str(tmp_path))
    for name in ("POSTGRES_PORT", "POSTGRES_PASSWORD", "POSTGRES_HOST", "CHURN_LAST_MONTH"):
        monkeypatch.delenv(name, raising=False)
    get_settings.cache_clear()
    yield tmp_path
    get_settings.cache_clear()


def test_what_the_running_stack_wrote_fills_what_the_environment_leaves_open(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_home / "stack.env").write_text("POSTGRES_PORT=6001\nPOSTGRES_PASSWORD='of-the-stack'\n")
    monkeypatch.setenv("POSTGRES_PORT", "6002")
    settings = get_settings()
    assert settings.postgres_port == 6002
    assert settings.postgres_password.get_secret_value() == "of-the-stack"


def test_what_a_state_folder_was_made_for_is_known_to_every_later_command(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_settings({"CHURN_LAST_MONTH": "2024-12", "CHURN_ORACLE": str(own_home / "it's a \\ file")})
    keep_settings({"CHURN_LAST_MONTH": "2025-01"})
    get_settings.cache_clear()
    for settings in (get_settings(), declared_settings()):
        assert settings.last_month == Month.parse("2025-01")
        assert settings.oracle == own_home / "it's a \\ file"
    assert (own_home / "settings.env").stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("CHURN_LAST_MONTH", "2025-02")
    assert declared_settings().last_month == Month.parse("2025-02")


def test_a_password_is_shown_nowhere_and_survives_every_url() -> None:
    password = "a:b/c@d%e 'f"
    settings = Settings(POSTGRES_PASSWORD=password)
    assert password not in repr(settings)
    assert conninfo_to_dict(settings.dsn())["password"] == password
    from sqlalchemy import make_url

    url = make_url(settings.sqlalchemy_url("dagster", schema="feast"))
    assert url.password == password
    assert url.drivername == "postgresql+psycopg2"
    assert url.query["options"] == "-csearch_path=feast"


def test_months_are_read_as_text() -> None:
    settings = Settings(CHURN_FIRST_MONTH="2023-05", CHURN_LAST_MONTH="")
    assert settings.first_month == Month.parse("2023-05")
    assert settings.last_month is None


def test_no_oracle_is_not_the_working_directory(tmp_path: Path) -> None:
    assert Settings(CHURN_ORACLE="").oracle is None
    assert Settings(CHURN_ORACLE=str(tmp_path / "a" / ".." / "b")).oracle == tmp_path / "b"


def test_everything_is_on_the_loopback_unless_told_otherwise() -> None:
    settings = Settings()
    assert settings.postgres_host == "127.0.0.1"
    assert settings.smoke_url == "http://127.0.0.1:8000"
    assert settings.mlflow_tracking_uri == "http://127.0.0.1:5000"


def test_a_state_folder_keeps_settings_of_campaign_and_gate_too(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_settings({"CHURN_GATE_PROFIT_MARGIN": "0.5", "CHURN_CAMPAIGN_BUDGET": "123"})
    get_settings.cache_clear()
    for settings in (get_settings(), declared_settings()):
        assert (settings.gate.profit_margin, settings.campaign.budget) == (0.5, 123)
    monkeypatch.setenv("CHURN_GATE_PROFIT_MARGIN", "0.7")
    assert declared_settings().gate.profit_margin == 0.7
    keep_settings({"CHURN_CAMPAIGN_BUDGET": "-1"})
    with pytest.raises(ChurnError, match="CHURN_CAMPAIGN_BUDGET=-1"):
        declared_settings()


WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"URL": "ftp://example.org/secret"}, "begins with https://"),
        ({"SLACK_URL": "hooks.slack.example/secret"}, "begins with https://"),
        ({"URL": "https://example.org/secret"}, "needs CHURN_EVENTS_SECRET"),
        ({"URL": "https://example.org/secret", "SECRET": "secret"}, "needs CHURN_EVENTS_SECRET"),
        ({"MAIL_TO": "ops@example.org"}, "needs CHURN_EVENTS_MAIL_FROM"),
        ({"SMTP_USER": "churn", "SMTP_STARTTLS": "false"}, "over TLS only"),
    ],
)
def test_half_of_a_target_of_events_is_refused_and_no_secret_is_shown(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], problem: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"CHURN_EVENTS_{name}", value)
    with pytest.raises(ChurnError, match=problem) as error:
        declared_settings()
    assert "secret" not in str(error.value)


def test_targets_of_events_are_settings_and_empty_ones_are_none(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHURN_EVENTS_URL", "")
    assert declared_settings().events.url.get_secret_value() == ""
    monkeypatch.setenv("CHURN_EVENTS_URL", "http://127.0.0.1:9000/hook")
    keep_settings({"CHURN_EVENTS_SECRET": WEBHOOK_SECRET, "CHURN_EVENTS_RETRY_MINUTES": "2,4"})
    events = declared_settings().events
    assert WEBHOOK_SECRET not in repr(events)
    assert events.secret.get_secret_value() == WEBHOOK_SECRET
    assert [each.total_seconds() for each in events.retry_delays] == [120, 240]

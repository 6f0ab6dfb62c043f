"""Lineage is off by default, and a catalogue that does not answer stops no month."""

import datetime as dt
import logging
import sys
from collections.abc import Iterator

import pytest

from churn.errors import ChurnError
from churn.lineage import LineageStep, _client, tell_lineage
from churn.settings import get_settings
from churn.stack.processes import free_port

NOW = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
STEP = LineageStep("5e" * 16, "users", "2024-02-01", ["a"])


@pytest.fixture(autouse=True)
def _client_of_these_tests() -> Iterator[None]:
    get_settings.cache_clear()
    _client.cache_clear()
    yield
    get_settings.cache_clear()
    _client.cache_clear()


def test_by_default_nothing_is_loaded_and_nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openlineage.client", None)
    tell_lineage(STEP, "START", NOW)


def test_without_the_client_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHURN_LINEAGE", "true")
    monkeypatch.setitem(sys.modules, "openlineage.client", None)
    with pytest.raises(ChurnError, match=r"streamflow-churn\[lineage\]"):
        tell_lineage(STEP, "START", NOW)


def test_a_catalogue_that_does_not_answer_is_only_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CHURN_LINEAGE", "true")
    monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "http")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__RETRY", '{"total": 0}')
    with caplog.at_level(logging.WARNING, "churn.lineage"):
        tell_lineage(STEP, "START", NOW)
    assert "the lineage of users 2024-02-01 was not told" in caplog.text

"""The smoke check asks the running API for what was delivered, whatever the ids and the values."""

import pytest

from api.champion import ChampionWatcher
from api.main import create_app
from api.parts import Parts
from api.store import StorePart, open_store_reader
from churn.online import publish
from churn.settings import Settings, get_settings
from churn.smoke import SmokeResult, smoke_test
from feature_repo.store import apply_features
from tests.api.fakes import MemoryRegistry
from tests.servers import served
from tests.stages.world import JANUARY, put_profile


@pytest.fixture
def smoke(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    """Publish what a test has put into January, and ask the API for it."""

    def ask() -> SmokeResult:
        publish(JANUARY)
        apply_features()
        parts = Parts(StorePart(open_store_reader), ChampionWatcher(MemoryRegistry()))
        with served(create_app(lambda: parts)) as url:
            monkeypatch.setenv("CHURN_API_URL", url)
            get_settings.cache_clear()
            return smoke_test(sample=20)

    return ask


def test_ids_that_mean_something_in_a_url_are_asked_for_as_they_are(smoke) -> None:
    ids = ["rxIP2f2aN0rYNp+toI0Obt/N/FYQX8hcO1fTmmy2h34=", "#17", "a?b=c", "100%", "a%2Fb", "a/b"]
    put_profile(JANUARY, ids)
    result = smoke()
    assert result.problems == []
    assert (result.users_compared, result.passed) == (6, True)

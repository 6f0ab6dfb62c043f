"""A list that is ready is told once; another list of the month is another event."""

import pytest

from churn.scoring.actions import actions_path, list_actions, read_actions
from churn.settings import get_settings
from tests.kit.events import told
from tests.kit.stored_months import put_lake, put_scores, released
from tests.kit.watched_months import model_of, month, world

USERS, SEED = 600, 35
JANUARY = month(0)

pytestmark = pytest.mark.usefixtures("settings")


def test_a_list_is_told_once_with_its_id_and_how_many_are_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = world(1, USERS, SEED)[0]
    put_lake(JANUARY, seen)
    put_scores(JANUARY, seen, released(JANUARY), model_of(USERS, SEED))
    first = list_actions(JANUARY)
    list_actions(JANUARY)
    [event] = told("list.ready")
    assert event.data["list_id"] == first.fingerprint
    assert event.data["treated"] == first.count("treated") > 0
    assert event.data["control"] == first.count("control") > 0
    assert not [row for row in first.rows if row["user_id"] in str(event.data)]
    monkeypatch.setenv("CHURN_CAMPAIGN_CONTROL_SHARE", "0")
    get_settings.cache_clear()
    list_actions(JANUARY)
    assert [each.data["control"] for each in told("list.ready")] == [first.count("control"), 0]


def test_a_list_whose_file_cannot_be_written_is_not_told_of() -> None:
    seen = world(1, USERS, SEED)[0]
    put_lake(JANUARY, seen)
    put_scores(JANUARY, seen, released(JANUARY), model_of(USERS, SEED))
    # Where the file belongs there is a folder.
    actions_path(JANUARY).mkdir(parents=True)
    with pytest.raises(OSError, match=actions_path(JANUARY).name):
        list_actions(JANUARY)
    assert told("list.ready") == []
    assert read_actions(JANUARY) == []


def test_a_month_without_a_release_has_no_list_to_tell_of() -> None:
    put_scores(JANUARY, world(1, USERS, SEED)[0], None, model_of(USERS, SEED))
    list_actions(JANUARY)
    assert told() == []

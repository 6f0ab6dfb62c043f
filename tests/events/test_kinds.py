"""What each kind carries, as the documentation shows it; and that nothing in it can name a user."""

import datetime as dt
import json
import re
import uuid
from pathlib import Path

from churn.events.kinds import KINDS, Event, data_of
from churn.events.outbox import Message
from churn.events.targets import standard_body
from tests.kit.events import EXAMPLES

PAGE = Path(__file__).parents[2] / "docs" / "monitoring.md"
RECORDED = dt.datetime(2024, 4, 1, 6, tzinfo=dt.UTC)


def body(event: Event) -> str:
    return standard_body(Message(uuid.UUID(int=0), event.kind, data_of(event), RECORDED))


def test_the_documentation_shows_each_kind_as_it_is_sent() -> None:
    assert {type(event) for event in EXAMPLES} == set(KINDS)
    shown = re.findall(r"^```json\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert [json.loads(each) for each in shown] == [json.loads(body(each)) for each in EXAMPLES]


def test_each_is_told_from_others_by_what_it_is_about() -> None:
    keys = {(event.kind, event.same_as) for event in EXAMPLES}
    assert len(keys) == len(EXAMPLES)
    assert all(event.same_as for event in EXAMPLES)


def test_what_is_carried_are_months_counts_ids_and_words_of_ours() -> None:
    """A field that could hold a user's id would have to be added here, too."""
    carried = {name for event in EXAMPLES for name in data_of(event)}
    assert carried == {
        *("summary", "month", "known_at", "users", "problems", "refusal", "list_id", "treated"),
        *("control", "entry", "release_id", "version", "trained_on", "before", "decided_for"),
        *("decided_by", "is_in_force", "alarm", "about"),
    }

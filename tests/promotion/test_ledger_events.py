"""An entry that puts a release into force is told once, with what is in force then."""

import pytest

from churn.database import connect
from churn.errors import ChurnError
from churn.promotion import ledger
from tests.kit.events import told
from tests.kit.releases import JANUARY, draft, release, written

pytestmark = pytest.mark.usefixtures("settings")
FIRST, SECOND = release("one"), release("two", version="2")


def promoted(month, kept, **more):
    return draft(month, kept.release_id, **more)


def test_a_promotion_and_a_rollback_are_told_and_a_decision_that_keeps_is_not() -> None:
    written(
        promoted(JANUARY, FIRST),
        draft(JANUARY.next),
        promoted(None, SECOND, champion=FIRST.release_id, decided_for=JANUARY.shift(3).as_of),
        promoted(
            None,
            FIRST,
            kind="rollback",
            outcome="restore",
            champion=SECOND.release_id,
            decided_for=JANUARY.shift(3).as_of,
        ),
        kept=(FIRST, SECOND),
    )
    events = told()
    assert [(each.kind, each.data["entry"], each.data["release_id"]) for each in events] == [
        ("release.promoted", 1, FIRST.release_id),
        ("release.promoted", 3, SECOND.release_id),
        ("release.rolled_back", 4, FIRST.release_id),
    ]
    assert [each.data["decided_by"] for each in events] == ["gate", "person", "person"]
    assert [each.data["version"] for each in events] == ["1", "2", "1"]
    assert [each.data["before"] for each in events] == [None, FIRST.release_id, SECOND.release_id]
    assert all(each.data["is_in_force"] for each in events)
    assert events[0].data["trained_on"] == "2024-01"


def test_a_decision_about_an_older_month_says_that_it_is_not_what_is_served() -> None:
    written(
        promoted(JANUARY.next, SECOND),
        promoted(JANUARY, FIRST),
        kept=(FIRST, SECOND),
    )
    newer, older = told()
    assert newer.data["is_in_force"]
    assert not older.data["is_in_force"]
    assert older.summary.endswith("a later decision stands, so it is not what is served")


def test_what_is_not_written_is_not_told() -> None:
    def fails() -> None:
        with connect() as connection:
            ledger.keep_release(connection, FIRST)
            ledger.append(connection, promoted(JANUARY, FIRST))
            raise ChurnError("the transaction ends here")

    with pytest.raises(ChurnError):
        fails()
    assert told() == []

"""A month that is closed is told once for each version of it."""

import pytest

from churn.errors import ChurnError
from churn.online.publish import Publication, publish
from tests.kit.events import told
from tests.kit.snapshot_rows import JANUARY, LATER, put_profile

pytestmark = pytest.mark.usefixtures("settings")


def test_each_version_of_a_month_is_told_once() -> None:
    put_profile(JANUARY, ["a", "b"])
    publish(JANUARY)
    publish(JANUARY)
    put_profile(JANUARY, ["a"], known_at=LATER, withdrawn=["b"])
    publish(JANUARY)
    events = told()
    assert [(each.kind, each.data["month"], each.data["users"]) for each in events] == [
        ("month.closed", "2024-01", 2),
        ("month.closed", "2024-01", 1),
    ]
    assert events[1].data["known_at"] == LATER.isoformat()


def test_a_publication_that_is_refused_closes_no_month() -> None:
    def refuse(publication: Publication, table: str) -> None:
        raise ChurnError("not to be served")

    put_profile(JANUARY, ["a"])
    with pytest.raises(ChurnError):
        publish(JANUARY, refuse)
    assert told() == []

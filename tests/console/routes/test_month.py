"""What the page of a month says beside its figures."""

from churn.months import Month
from churn.settings import Settings
from console.routes.month import in_force
from tests.console.conftest import database_of
from tests.kit.releases import draft, release, written

JANUARY, FEBRUARY = (Month.parse(f"2024-0{n}") for n in (1, 2))


def test_the_release_in_force_is_the_last_in_decision_time(settings: Settings) -> None:
    """January is decided on again after February: what is newest in the ledger is not what serves."""
    first, second = release("one"), release("two")
    written(
        draft(FEBRUARY, second.release_id),
        draft(JANUARY, first.release_id),
        draft(FEBRUARY.next, None),
        kept=(first, second),
    )
    database = database_of(settings)
    database.open()
    try:
        shown = in_force(database.queries)
    finally:
        database.close()
    assert shown is not None
    assert shown.release_id == second.release_id

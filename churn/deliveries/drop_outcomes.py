"""What came of drops, kept for those who see neither folder nor log nor command line: the page Data."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from churn.database import connect
from churn.deliveries.drops_folder import FolderScan
from churn.deliveries.problems import shortened

KEPT = 500  # the newest
_LONGEST = 20_000  # characters of a report


@dataclass(frozen=True)
class DropOutcome:
    """What came of one drop.

    Args:
        name: its folder's.
        report: why it was not taken in; empty where it was.
    """

    name: str
    state: Literal["taken in", "unchanged", "waits", "refused"]
    report: str = ""


def outcomes_of(scan: FolderScan) -> Iterator[DropOutcome]:
    """Yield what a scan of the watched folder brought; each refusal is among it once."""
    for name in scan.accepted:
        yield DropOutcome(name, "taken in")
    for name in scan.unchanged:
        yield DropOutcome(name, "unchanged")
    for name, drop in scan.refused.items():
        yield DropOutcome(name, "waits" if drop.waits else "refused", str(drop.error))


def keep_outcomes(outcomes: Iterable[DropOutcome]) -> None:
    """Keep what came of drops; the oldest make room."""
    rows = [(shortened(each.name, 200), each.state, _storable(each.report)) for each in outcomes]
    if not rows:
        return
    with connect() as connection:
        connection.cursor().executemany(
            "INSERT INTO console.drop_outcomes (name, state, report) VALUES (%s, %s, %s)", rows
        )
        connection.execute(
            "DELETE FROM console.drop_outcomes WHERE outcome_id <="
            " (SELECT max(outcome_id) FROM console.drop_outcomes) - %s",
            [KEPT],
        )


def _storable(text: str) -> str:
    """Return a text as Postgres can keep it: names of files may hold anything."""
    return text[:_LONGEST].replace("\0", "").encode(errors="replace").decode()

"""An action list as a file: its columns, and cells that a spreadsheet does not run.

Only what a file is lives here; whom a list names, and why, is in `actions.py`.
"""

import csv
import re
from pathlib import Path
from typing import Any

from churn.files import replacing

TREATED, CONTROL = "treated", "control"
COLUMNS = (
    "rank", "user_id", "treatment_group", "probability", "expected_profit",
    "reason_1", "reason_2", "reason_3",
)  # fmt: skip
# What a spreadsheet takes for a formula, also behind apostrophes, so that each text has one harmless form.
_LIVE_CELL = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def write_actions(rows: list[dict[str, Any]], path: Path) -> None:
    """Write an action list as CSV, whole or not at all."""
    with replacing(path) as new, new.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({name: harmless(cell) for name, cell in row.items()} for row in rows)


def harmless(cell: Any) -> Any:
    """Return a cell that no spreadsheet runs: a text like `=1+1` gets an apostrophe in front."""
    return f"'{cell}" if isinstance(cell, str) and _LIVE_CELL.match(cell) else cell


def as_it_was(cell: str) -> str:
    """Return the text that `harmless` was given; other texts as they are."""
    return cell[1:] if cell.startswith("'") and _LIVE_CELL.match(cell) else cell

"""The action list as a file that a spreadsheet opens, and that may come back with what was done.

Its columns are those that `churn treatments` reads; in each row stands the fingerprint of the whole list,
so that what comes back is held against the right one. No cell is one that a spreadsheet would run.
"""

import csv
import datetime as dt
import io
import tempfile
from collections.abc import Iterable
from typing import IO, Any

from churn.errors import ChurnError
from churn.months import Month
from churn.scoring.action_file import harmless
from console.listed import ListedUser

COLUMNS = (
    "month", "list", "rank", "user_id", "treatment_group", "probability", "customer_value", "expected_profit",
    "reason_1", "reason_2", "reason_3", "treated_at", "channel", "offer", "outcome",
)  # fmt: skip
_TEXTS = frozenset(COLUMNS) - {"rank", "probability", "customer_value", "expected_profit"}
_WIDTHS = {"user_id": 20, "list": 12, **dict.fromkeys(("reason_1", "reason_2", "reason_3"), 60)}
MOST_ROWS = 1_048_575  # of a sheet, below its header


def file_name(month: Month, list_hash: str | None, suffix: str) -> str:
    """Return what the file is called: the month, and the beginning of the list's fingerprint."""
    return f"action-list-{month}{f'-{list_hash[:12]}' if list_hash else ''}.{suffix}"


def csv_of(month: Month, rows: Iterable[ListedUser]) -> IO[bytes]:
    """Return the list as CSV, open at its beginning; it is gone when it is closed."""
    # Whoever sends it closes it.
    file = tempfile.TemporaryFile()  # noqa: SIM115
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(_cells(month, row) for row in rows)
    text.detach()  # which writes what is left, and leaves the file open
    file.seek(0)
    return file


def xlsx_of(month: Month, rows: Iterable[ListedUser]) -> IO[bytes]:
    """Return the list as a workbook, open at its beginning; it is gone when it is closed.

    Raises:
        ChurnError: there are more rows than a sheet holds.
    """
    from xlsxwriter import Workbook

    # Whoever sends it closes it.
    file = tempfile.TemporaryFile()  # noqa: SIM115
    with Workbook(file, {"constant_memory": True, "in_memory": False}) as workbook:
        sheet = workbook.add_worksheet(f"{month}")
        head = workbook.add_format({"bold": True})
        for at, name in enumerate(COLUMNS):
            sheet.set_column(at, at, _WIDTHS.get(name, 14))
            sheet.write_string(0, at, name, head)
        sheet.freeze_panes(1, COLUMNS.index("user_id") + 1)
        for number, row in enumerate(rows, start=1):
            if number > MOST_ROWS:
                raise ChurnError(
                    f"a sheet holds {MOST_ROWS:,} rows, and the list has more",
                    remedy="filter the list, or export it as CSV",
                )
            for at, (name, value) in enumerate(zip(COLUMNS, _cells(month, row), strict=True)):
                if value in (None, ""):
                    continue
                # A text stays one, whatever it looks like: the id 007, the day 2024-06-03.
                if name in _TEXTS:
                    sheet.write_string(number, at, value)
                else:
                    sheet.write_number(number, at, value)
    file.seek(0)
    return file


def _cells(month: Month, row: ListedUser) -> list[Any]:
    values = {
        "month": str(month),
        "list": row.list_hash,
        **{name: getattr(row, name) for name in COLUMNS[2:]},
    }
    return [_cell(values[name]) for name in COLUMNS]


def _cell(value: Any) -> Any:
    if isinstance(value, dt.date):
        return value.isoformat()
    return harmless(value)

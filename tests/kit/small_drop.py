"""A drop of three users, written as text so that a test can spoil one cell of it."""

import datetime as dt
import itertools
import os
from pathlib import Path
from typing import Any

from churn.contract.in_force import TABLES
from churn.contract.structure import Table
from churn.months import Month

JANUARY = Month.parse("2024-01")
FEBRUARY = JANUARY.next
NOW = dt.datetime(2026, 1, 15, 12, tzinfo=dt.UTC)

_FILES = {
    "users.csv": """\
user_id,signup_date,user_gender,user_is_senior,has_family,has_dependents
a,2023-12-05,Female,False,True,False
b,2021-03-01,Male,True,False,
c,2023-06-30,Female,False,True,True
""",
    "subscriptions.csv": """\
user_id,months_active,plan_stream_tv,plan_stream_movies,contract_type,paperless_billing,monthly_fee,total_paid,net_service
a,1,False,True,Month-to-month,True,29.85,29.85,DSL
b,34,,,One year,False,56.95,1889.5,No
c,7,True,True,Two year,True,20.00,140.0,Fiber optic
""",
    "usage_agg_30d.csv": """\
user_id,watch_hours_30d,avg_session_mins_7d,unique_devices_30d,skips_7d,rebuffer_events_7d
a,24.5,29.1,3,4,1
b,30.25,11,1,6,4
c,0,2.5,2,0,0
""",
    "payments_agg_90d.csv": "user_id,failed_payments_90d\na,1\nb,0\nc,0\n",
    "support_agg_90d.csv": """\
user_id,support_tickets_90d,ticket_avg_resolution_hrs_90d
a,0,
b,2,16.5
c,1,8
""",
    "labels.csv": "user_id,churn_label\na,False\nb,True\nc,False\n",
}


def _with_every_column(table: Table, text: str) -> str:
    """Return a file's text with a blank cell for each column that stands in the contract alone."""
    header, *rows = text.splitlines()
    missing = {c.name for c in table.columns if not c.optional} - set(header.split(","))
    more = [name for name in (c.name for c in table.columns) if name in missing]
    lines = [",".join([header, *more]), *(row + "," * len(more) for row in rows)]
    return "".join(f"{line}\n" for line in lines)


FILES = {
    table.file: _with_every_column(table, _FILES.get(table.file, "user_id\na\nb\nc\n"))
    for table in TABLES
}


def write_drop(
    folder: Path, changes: dict[str, tuple[str, str]] | None = None, without: tuple[str, ...] = ()
) -> Path:
    """Write the drop into `folder`; `changes` maps a file to (old text, new text)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in FILES.items():
        old, new = (changes or {}).get(name, ("", ""))
        assert old in text
        if name not in without:
            (folder / name).write_text(text.replace(old, new) if old else text)
    return folder


# As `write_drop` takes it: another number of failed payments.
CORRECTED = {"payments_agg_90d.csv": ("b,0", "b,3")}
_LONG_AGO = itertools.count(1_700_000_000)


def put_drop(drop: Path, *how: Any, **more: Any) -> Path:
    """Write a drop as `write_drop` does, such that nobody has touched it for long: it is whole."""
    write_drop(drop, *how, **more)
    leave(drop)
    return drop


def leave(drop: Path) -> None:
    """Make a folder look as if it had been written long ago, at another time than any other."""
    when = next(_LONG_AGO)
    for path in (*drop.iterdir(), drop):
        os.utime(path, (when, when))


def shuffled(text: str) -> str:
    """Return the same rows in another order, columns and number spelling changed as well."""
    header, *rows = (line.split(",") for line in text.splitlines())
    lines = [header[::-1], *(row[::-1] for row in reversed(rows))]
    return "\r\n".join(",".join(line) for line in lines).replace("29.85", "29.850") + "\r\n"

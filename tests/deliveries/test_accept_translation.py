"""A delivery is read as it was taken in; the same files, read otherwise by a corrected contract, are new."""

import csv
import datetime as dt
import io
from dataclasses import replace
from pathlib import Path

import pytest

from churn.contract.document import read_contract
from churn.contract.in_force import CONTRACT, TABLES
from churn.contract.structure import Contract, Dialect, SourceFile, Table
from churn.database import connect
from churn.database.migrate import bring_up
from churn.deliveries import RefusedDrop, accepted, deliver, read_accepted
from churn.deliveries.accept import DeliveryOutcome
from churn.deliveries.drops_folder import take_in
from churn.settings import Settings
from churn.warehouse.raw import load_raw
from churn.warehouse.snapshots import build_snapshot
from tests.kit.small_drop import FILES, JANUARY, NOW, leave, write_drop
from tests.kit.streamflow import PAYMENTS, USERS

HOUR = dt.timedelta(hours=1)
MONTH_FIRST, DAY_FIRST = ("%m/%d/%Y",), ("%d/%m/%Y",)
AS_WRITTEN = {"a": "03/05/2023", "b": "01/02/2021", "c": "06/07/2023"}  # the day is meant first
IN_MAY = {"a": dt.date(2023, 5, 3), "b": dt.date(2021, 2, 1), "c": dt.date(2023, 7, 6)}
IN_MARCH = {"a": dt.date(2023, 3, 5), "b": dt.date(2021, 1, 2), "c": dt.date(2023, 6, 7)}
EVENTS = "who,kind\na,failed\na,late\nb,paid\nc,failed\n"


def with_tables(*changed: Table) -> Contract:
    """Return StreamFlow with some of its tables read otherwise, and a file of events."""
    by_name = {table.name: table for table in changed}
    tables = tuple(by_name.get(table.name, table) for table in TABLES)
    return replace(
        CONTRACT,
        tables=tables,
        source_files=(SourceFile("events", "events.csv", optional=True),),
    )


def dates_as(formats: tuple[str, ...]) -> Table:
    return replace(USERS, dialect=Dialect(date_formats=formats))


def counting(kinds: str) -> Table:
    """Return the payments as a select that counts events of these kinds."""
    sql = f"SELECT who AS user_id, count(*) FILTER (WHERE kind IN ({kinds}))"
    return replace(PAYMENTS, select=f"{sql} AS failed_payments_90d FROM events GROUP BY who")


def dated_drop(folder: Path) -> Path:
    """Write a drop whose users have their dates with slashes."""
    write_drop(folder, without=("labels.csv",))
    rows = list(csv.DictReader(io.StringIO(FILES["users.csv"])))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows({**row, "signup_date": AS_WRITTEN[row["user_id"]]} for row in rows)
    (folder / "users.csv").write_text(out.getvalue())
    return folder


def states(outcome: DeliveryOutcome) -> dict[str, str]:
    return {file.delivery.file: file.state for file in outcome.files if file.state != "unchanged"}


def signups(rows: list[dict[str, object]]) -> dict[object, object]:
    return {row["user_id"]: row["signup_date"] for row in rows}


def snapshot(known_at: dt.datetime) -> dict[object, object]:
    """Return what training sets see of the users who were known at an instant."""
    query = (
        "SELECT DISTINCT ON (user_id) user_id, signup_date FROM users_snapshots"
        " WHERE known_at <= %s ORDER BY user_id, known_at DESC"
    )
    with connect() as connection:
        return dict(connection.execute(query, [known_at]).fetchall())


def test_a_corrected_format_of_dates_is_a_corrected_version(settings: Settings, tmp_path: Path):
    drop = dated_drop(tmp_path / "month_000")
    wrong, right = with_tables(dates_as(MONTH_FIRST)), with_tables(dates_as(DAY_FIRST))
    first = deliver(drop, now=NOW, contract=wrong)
    assert set(states(first).values()) == {"accepted"}
    load_raw(JANUARY, USERS)
    build_snapshot(JANUARY, USERS)
    then = snapshot(NOW)
    assert then == IN_MARCH

    second = deliver(drop, now=NOW + HOUR, contract=right)
    assert states(second) == {"users": "corrected"}
    assert not deliver(drop, now=NOW + 2 * HOUR, contract=right).is_changed
    old, new = accepted(JANUARY, USERS)
    assert (old.sha256, old.stored_path) == (new.sha256, new.stored_path)
    # Each is read by its own contract, whichever is in force.
    for contract in (wrong, right, CONTRACT):
        assert signups(read_accepted(old, settings, contract).to_pylist()) == IN_MARCH
        assert signups(read_accepted(new, settings, contract).to_pylist()) == IN_MAY
    assert load_raw(JANUARY, USERS).loaded == 1
    build_snapshot(JANUARY, USERS)
    assert snapshot(NOW) == then
    assert snapshot(NOW + HOUR) == IN_MAY


def test_a_version_that_nobody_had_loaded_is_loaded_as_it_was_taken_in(
    settings: Settings, tmp_path: Path
):
    drop = dated_drop(tmp_path / "month_000")
    for hours, formats in enumerate((MONTH_FIRST, DAY_FIRST)):
        deliver(drop, now=NOW + hours * HOUR, contract=with_tables(dates_as(formats)))
    assert load_raw(JANUARY, USERS).loaded == 2
    build_snapshot(JANUARY, USERS)
    assert (snapshot(NOW), snapshot(NOW + HOUR)) == (IN_MARCH, IN_MAY)


def test_a_corrected_select_is_a_corrected_version(settings: Settings, tmp_path: Path):
    drop = write_drop(tmp_path / "month_000", without=("labels.csv", "payments_agg_90d.csv"))
    (drop / "events.csv").write_text(EVENTS)
    deliver(drop, now=NOW, contract=with_tables(counting("'failed'")))
    both = with_tables(counting("'failed', 'late'"))
    assert states(deliver(drop, now=NOW + HOUR, contract=both)) == {"payments_agg_90d": "corrected"}
    counts = [
        read_accepted(version, settings)["failed_payments_90d"].to_pylist()
        for version in accepted(JANUARY, PAYMENTS)
    ]
    assert [sorted(each) for each in counts] == [[0, 1, 1], [0, 1, 2]]


def test_what_changes_no_row_is_no_delivery(settings: Settings, tmp_path: Path):
    drop = write_drop(tmp_path / "month_000", without=("labels.csv", "payments_agg_90d.csv"))
    (drop / "events.csv").write_text(EVENTS)
    payments = counting("'failed'")
    deliver(drop, now=NOW, contract=with_tables(payments))
    described = tuple(
        replace(column, description="other words", maximum=1000) for column in payments.columns
    )
    more = replace(USERS.values[-1], name="plan", kind="string", source="", optional=True)
    for contract in (
        with_tables(replace(payments, columns=described, description="other words")),
        with_tables(counting("'failed', 'never'")),  # read otherwise, to the same rows
        with_tables(replace(USERS, columns=(*USERS.columns, more)), payments),
    ):
        assert not deliver(drop, now=NOW + HOUR, contract=contract).is_changed
    # So is a file that is read otherwise after the stored one was lost: it is restored to compare them.
    (users,) = accepted(JANUARY, USERS)
    (settings.deliveries / users.stored_path).unlink()
    assert not deliver(drop, now=NOW + HOUR, contract=contract).is_changed
    assert read_accepted(users, settings).num_rows == 3


def test_what_was_taken_in_before_this_was_kept_is_read_as_before(
    settings: Settings, tmp_path: Path
):
    drop = dated_drop(tmp_path / "month_000")
    wrong, right = (
        read_contract(
            CONTRACT.text.replace(
                "  users:\n    snapshot",
                f"  users:\n    dialect: {{dates: ['{dates}']}}\n    snapshot",
            ),
            "contract.yaml",
        )
        for (dates,) in (MONTH_FIRST, DAY_FIRST)
    )
    with connect() as connection:
        bring_up(connection, wrong)
    deliver(drop, now=NOW, contract=wrong)
    with connect() as connection:
        connection.execute("UPDATE raw.deliveries SET translation = NULL")
    (old,) = accepted(JANUARY, USERS)
    assert signups(read_accepted(old, settings, right).to_pylist()) == IN_MAY
    assert not deliver(drop, now=NOW + HOUR, contract=right).is_changed
    with pytest.raises(RefusedDrop) as refused:
        read_accepted(old, settings)
    assert "users.csv 2024-01" in str(refused.value)
    assert "read by the contract streamflow" in str(refused.value)
    assert "the contract has changed since" in str(refused.value)
    # Where another contract is applied, it keeps what the one of before read it by.
    with connect() as connection:
        bring_up(connection, right)
    (old,) = accepted(JANUARY, USERS)
    assert signups(read_accepted(old, settings, right).to_pylist()) == IN_MARCH
    assert states(deliver(drop, now=NOW + HOUR, contract=right)) == {"users": "corrected"}


def test_the_drops_folder_asks_again_about_what_another_contract_refused(
    settings: Settings, tmp_path: Path
):
    folder = tmp_path / "drops"
    folder.mkdir()
    leave(dated_drop(folder / "month_000"))
    first = take_in(folder, {}, now=NOW, settings=settings)
    assert (first.accepted, list(first.refused)) == ([], ["month_000"])
    again = take_in(folder, first.cursor, now=NOW, settings=settings)
    assert (again.accepted, list(again.refused)) == ([], [])
    right = replace(with_tables(dates_as(DAY_FIRST)), fingerprint="corrected")
    second = take_in(folder, first.cursor, now=NOW, settings=settings, contract=right)
    assert second.accepted == ["month_000"]
    # What was taken in is left alone: somebody may have corrected it since.
    other = replace(with_tables(dates_as(MONTH_FIRST)), fingerprint="corrected again")
    third = take_in(folder, second.cursor, now=NOW + HOUR, settings=settings, contract=other)
    assert (third.accepted, list(third.refused)) == ([], [])
    assert len(accepted(JANUARY, USERS)) == 1

"""Drops of another business's shape: found, taken in, kept as delivered, and made again from the store."""

import csv
import datetime as dt
import hashlib
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from churn.contract.in_force import CONTRACT, LABELS, TABLES
from churn.contract.structure import Contract, SourceFile
from churn.deliveries import RefusedDrop, accepted, deliver, find_drops, read_accepted
from churn.deliveries.drops import choose_month
from churn.deliveries.drops_folder import take_in
from churn.settings import Settings
from tests.kit.reshaped_files import GERMAN, renamed, reshaped, text_in
from tests.kit.small_drop import FEBRUARY, FILES, JANUARY, NOW, leave, write_drop
from tests.kit.streamflow import SUPPORT

HOUR = dt.timedelta(hours=1)


def wide_contract() -> Contract:
    """Return StreamFlow as one wide German file and a Parquet file of usage, in folders like 2024-01."""
    tables = []
    for table in TABLES:
        names = FILES[table.file].splitlines()[0].split(",")
        select = ", ".join(f'"Feld {name}" AS {name}' for name in names)
        tables.append(replace(table, dialect=GERMAN, select=f"SELECT {select} FROM kunden"))
    return replace(
        CONTRACT,
        tables=tuple(tables),
        source_files=(SourceFile("kunden", "Kunden_{month}.csv", GERMAN),),
        drop_folder="{month}",
    )


def wide_file(*, without_labels: bool = False) -> bytes:
    rows: dict[str, dict[str, str]] = {user: {} for user in "abc"}
    for table in TABLES[:-1] if without_labels else TABLES:
        for row in csv.DictReader(io.StringIO(FILES[table.file])):
            for name, value in row.items():
                rows[row["user_id"]][f"Feld {name}"] = text_in(value, table.column(name), GERMAN)
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows["a"]), delimiter=";")
    writer.writeheader()
    writer.writerows(rows.values())
    return out.getvalue().encode("cp1252")


def flat_contract() -> Contract:
    """Return StreamFlow with German files whose names say their month, but for the labels' number."""
    tables = [
        replace(renamed(table, GERMAN), files=f"{table.name}_{{month}}.csv") for table in TABLES
    ]
    tables[-1] = replace(tables[-1], files="labels-{n}.csv", optional=True)
    return replace(CONTRACT, tables=tuple(tables))


def write_flat(folder: Path, contract: Contract, month: str, number: str) -> None:
    folder.mkdir(exist_ok=True)
    for table in contract.tables:
        name = table.files.replace("{month}", month).replace("{n}", number)
        content = reshaped(FILES[f"{table.name}.csv"], table)
        (folder / name).write_bytes(
            content.replace(b"1.889,5", b"1.890,5") if number == "001" else content
        )


def test_one_wide_file_is_the_same_drop_and_is_kept_once(settings: Settings, tmp_path: Path):
    deliver(write_drop(tmp_path / "drop"), settings=settings, now=NOW, month=JANUARY)
    contract = wide_contract()
    folder = tmp_path / "2024-01"
    folder.mkdir()
    (folder / "KUNDEN_2024-01.csv").write_bytes(wide_file())
    # To the last bit: what was delivered in StreamFlow's own shape is there already.
    again = deliver(folder, settings=settings, now=NOW + HOUR, contract=contract)
    assert {file.state for file in again.files} == {"unchanged"}
    later = tmp_path / "2024-02"
    later.mkdir()
    (later / "kunden_2024-02.csv").write_bytes(wide_file())
    outcome = deliver(later, settings=settings, now=NOW, contract=contract)
    assert [(file.state, file.delivery.rows) for file in outcome.files] == [
        ("accepted", 3) for _ in TABLES
    ]
    sha256 = hashlib.sha256(wide_file()).hexdigest()
    kept = settings.deliveries / "2024-02" / "files" / f"{sha256}.csv"
    assert [path for path in settings.deliveries.rglob("*") if path.name == kept.name] == [kept]
    assert kept.read_bytes() == wide_file()
    for table in TABLES:
        (first,), (second,) = accepted(JANUARY, table), accepted(FEBRUARY, table)
        assert first.fingerprint == second.fingerprint
        rows = read_accepted(second, settings, contract)
        assert rows.to_pylist() == read_accepted(first, settings).to_pylist()
        listed = settings.deliveries / second.stored_path
        assert hashlib.sha256(listed.read_bytes()).hexdigest() == second.sha256
        assert json.loads(listed.read_text())["files"] == [
            {"name": "kunden", "sha256": sha256, "path": f"2024-02/files/{sha256}.csv"}
        ]


def test_a_kept_file_that_was_altered_is_said_and_restored(settings: Settings, tmp_path: Path):
    wide = wide_contract()
    # Of the tables one is selected: each select has a process of its own.
    contract = replace(wide, tables=(wide.tables[0], *TABLES[1:]))
    folder = write_drop(tmp_path / "2024-01", without=(TABLES[0].file,))
    (folder / "kunden_2024-01.csv").write_bytes(wide_file())
    outcome = deliver(folder, settings=settings, now=NOW, contract=contract)
    delivery = outcome.files[0].delivery
    (kept,) = (settings.deliveries / "2024-01" / "files").iterdir()
    for content in (wide_file().replace(b"29,85", b"29,86"), None):
        kept.unlink()
        if content is not None:
            kept.write_bytes(content)
        with pytest.raises(RefusedDrop, match="was altered" if content else "is missing"):
            read_accepted(delivery, settings, contract)
        assert not deliver(folder, settings=settings, now=NOW, contract=contract).is_changed
        assert read_accepted(delivery, settings, contract).num_rows == 3


def test_what_is_wrong_with_a_drop_of_selects(settings: Settings, tmp_path: Path):
    contract, folder = wide_contract(), tmp_path / "2024-01"
    folder.mkdir()
    (folder / "unread.csv").write_text("?")
    # What no table reads is not missed.
    files = (*contract.source_files, SourceFile("unread", "unread.csv"))
    with pytest.raises(RefusedDrop, match="the file is missing") as refused:
        deliver(folder, settings=settings, now=NOW, contract=replace(contract, source_files=files))
    assert [(p.file, p.remedy) for p in refused.value.problems] == [
        ("Kunden_2024-01.csv", "add it; only labels (select) may be absent")
    ]
    (folder / "kunden_2024-01.csv").write_bytes(wide_file().replace(b"Ja", b"oui", 1))
    unknown = replace(contract.tables[1], select="SELECT * FROM elsewhere")
    usage = contract.tables[2]
    figures = ", ".join(f"1 AS {column.name}" for column in usage.values)
    strange = replace(usage, select=f"SELECT 'z' AS user_id, {figures}")
    tables = (contract.tables[0], unknown, strange, *contract.tables[3:])
    with pytest.raises(RefusedDrop) as refused:
        deliver(folder, settings=settings, now=NOW, contract=replace(contract, tables=tables))
    assert [(p.file, p.column, p.value, p.what, p.row) for p in refused.value.problems] == [
        ("users (select)", "has_family", "oui", "is not a boolean", None),
        ("subscriptions (select)", "", "",
         "the select reads elsewhere, which is no file of the contract", None),
        ("usage_agg_30d (select)", "user_id", "z", "is not a user of this month's users.csv", None),
    ]  # fmt: skip
    assert not settings.deliveries.exists()


def test_a_flat_folder_holds_the_drops_of_many_months(settings: Settings, tmp_path: Path):
    contract, folder = flat_contract(), tmp_path / "exports"
    for month, number in (("2024-02", "001"), ("2024-01", "000")):
        write_flat(folder, contract, month, number)
    (folder / "users_2024-1.csv").write_text("?")
    (folder / "labels-000.csv").unlink()
    assert find_drops(folder, settings, contract) == [(JANUARY, folder), (FEBRUARY, folder)]
    for month, path in find_drops(folder, settings, contract):
        outcome = deliver(path, settings=settings, now=NOW, month=month, contract=contract)
        assert [oddity.file for oddity in outcome.oddities if "not read" in oddity.what] == [
            "users_2024-1.csv"
        ]
    assert (len(accepted(JANUARY, LABELS)), len(accepted(FEBRUARY, LABELS))) == (0, 1)
    (delivery,) = accepted(FEBRUARY, TABLES[1])
    assert delivery.stored_path == f"2024-02/subscriptions/{delivery.sha256}.csv"
    rows = read_accepted(delivery, settings, contract)
    assert rows["total_paid"].to_pylist() == [29.85, 1890.5, 140.0]
    # Two months are none that could be chosen; one is.
    with pytest.raises(Exception, match="does not say its month"):
        choose_month(folder, None, settings, contract)
    lone = tmp_path / "lone"
    write_flat(lone, contract, "2024-02", "001")
    assert choose_month(lone, None, settings, contract) == FEBRUARY


def test_the_watched_folder_may_be_flat(settings: Settings, tmp_path: Path):
    contract, folder = flat_contract(), tmp_path / "exports"
    write_flat(folder, contract, "2024-01", "000")
    write_flat(folder, contract, "2024-02", "001")
    (folder / "usage_agg_30d_2024-02.csv").unlink()
    leave(folder)
    first = take_in(folder, {}, now=NOW, settings=settings, contract=contract)
    assert (first.accepted, list(first.refused), first.strays) == (["2024-01"], ["2024-02"], [])
    again = take_in(folder, first.cursor, now=NOW, settings=settings, contract=contract)
    assert (again.accepted, list(again.refused)) == ([], [])
    usage = next(table for table in contract.tables if table.name == "usage_agg_30d")
    late = folder / "usage_agg_30d_2024-02.csv"
    late.write_bytes(reshaped(FILES["usage_agg_30d.csv"], usage))
    os.utime(late, (1_600_000_000, 1_600_000_000))
    later = take_in(folder, again.cursor, now=NOW, settings=settings, contract=contract)
    assert (later.accepted, list(later.refused)) == (["2024-02"], [])
    assert later.cursor["2024-01"] == again.cursor["2024-01"]


def test_a_table_that_may_be_absent_is_not_missing(settings: Settings, tmp_path: Path):
    tables = (replace(table, optional=table.optional or table == SUPPORT) for table in TABLES)
    drop = write_drop(tmp_path / "month_000", without=(SUPPORT.file,))
    contract = replace(CONTRACT, tables=tuple(tables))
    outcome = deliver(drop, settings=settings, now=NOW, contract=contract)
    assert [file.delivery.file for file in outcome.files] == [
        table.name for table in TABLES if table != SUPPORT
    ]

"""Exports and reports: what is taken away comes back whole or not at all, and who did it is written down."""

import csv
import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from churn.database import connect
from churn.scoring.treatments import Loaded, load_treatments
from churn.settings import Settings
from console.exports import COLUMNS
from console.listed import ShownList, Totals
from console.roles import Role
from tests.console.conftest import Someone
from tests.kit.console_lists import MAY, Row, fingerprint_of, put_month
from tests.kit.retention_rows import row as view_row
from tests.kit.retention_rows import rows as view_rows

FORMULAS = [
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "+49170",
    "-12",
    "'=1+1",
    "=1+1",
    "o'clock",
    "007",
    "1e5",
]
ROWS = [
    Row(user, rank, 0.9 - rank / 100, group="control" if rank == 3 else "treated", reasons=("monthly_fee",))
    for rank, user in enumerate(FORMULAS, start=1)
]  # fmt: skip


@pytest.fixture
def caller(settings: Settings, sign_in: Callable[..., Someone]) -> Someone:
    put_month(MAY, ROWS)
    return sign_in(Role.CALLER, "cara")


def treatments() -> dict[str, tuple[Any, ...]]:
    with connect() as connection:
        rows = connection.execute(
            "SELECT user_id, treated_at::text, channel, offer, outcome, actor FROM treatments"
        )
        return {row[0]: row[1:] for row in rows}


def acts(act: str) -> list[tuple[str, str, dict[str, Any]]]:
    with connect() as connection:
        return connection.execute(
            "SELECT person, subject, detail FROM console.acts WHERE act = %s ORDER BY act_id", [act]
        ).fetchall()


def sheet_of(content: bytes) -> list[list[str]]:
    """Read the first sheet of a workbook as its file has it: no cell may hold a formula."""
    namespace = {"x": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        sheet = ElementTree.fromstring(packed.read("xl/worksheets/sheet1.xml"))  # noqa: S314
        assert sheet.findall(".//x:f", namespace) == []
        strings = []
        if "xl/sharedStrings.xml" in packed.namelist():
            shared = ElementTree.fromstring(packed.read("xl/sharedStrings.xml"))  # noqa: S314
            strings = ["".join(each.itertext()) for each in shared.findall("x:si", namespace)]
    lines = []
    for row in sheet.findall(".//x:row", namespace):
        cells = {}
        for cell in row.findall("x:c", namespace):
            at = ord(cell.attrib["r"][0]) - ord("A")
            value = "".join(cell.itertext())
            cells[at] = strings[int(value)] if cell.attrib.get("t") == "s" else value
        lines.append([cells.get(at, "") for at in range(len(COLUMNS))])
    return lines


def exported(caller: Someone, kind: str, query: str = "") -> list[dict[str, str]]:
    answer = caller.get(f"/actions/export.{kind}?{query}")
    assert answer.status_code == 200
    name = f"action-list-2024-05-{fingerprint_of(MAY)[:12]}.{kind}"
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    if kind == "csv":
        lines = list(csv.reader(io.StringIO(answer.text, newline="")))
    else:
        lines = sheet_of(answer.content)
    assert lines[0] == list(COLUMNS)
    return [dict(zip(COLUMNS, line, strict=True)) for line in lines[1:]]


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_no_cell_of_an_export_is_a_formula_and_each_row_names_the_list(
    caller: Someone, kind: str
) -> None:
    rows = exported(caller, kind)
    assert len(rows) == len(ROWS)
    for row in rows:
        assert row["list"] == fingerprint_of(MAY)
        assert not any(cell.startswith(tuple("=+-@\t\r")) for cell in row.values())
        assert "fee of the month" in row["reason_1"]
    assert [float(row["probability"]) for row in rows] == [row.probability for row in ROWS]
    [(person, subject, detail)] = acts("export")
    assert (person, subject, detail["users"]) == ("cara", "2024-05", len(ROWS))
    assert (detail["file"], detail["list_hash"]) == (kind, fingerprint_of(MAY))


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_an_export_comes_back_through_the_command_and_through_the_page(
    caller: Someone, kind: str, tmp_path: Path
) -> None:
    rows = exported(caller, kind)
    for row in rows[:4]:
        row |= {"treated_at": "2024-06-03", "channel": "phone", "outcome": "declined"}
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    path = tmp_path / "back.csv"
    path.write_text(text.getvalue(), newline="")
    assert load_treatments(path) == Loaded(MAY, 4, 0, 0, (FORMULAS[2],))
    assert set(treatments()) == set(FORMULAS[:4])

    rows[5] |= {"treated_at": "2024-06-04", "channel": "chat", "outcome": "accepted"}
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    answer = caller.post("/actions/file", files={"file": ("back.csv", text.getvalue().encode())})
    assert answer.status_code == 200
    assert "1 new, 0 changed, 4 as reported before" in answer.text
    assert treatments()[FORMULAS[5]] == ("2024-06-04", "chat", None, "accepted", "cara")
    # What was reported stands in the next export, which may come back as it is.
    again = {row["user_id"]: row for row in exported(caller, kind)}
    assert again["'=1+1"]["outcome"] == "accepted"


def test_only_what_is_shown_is_exported(caller: Someone) -> None:
    assert [row["user_id"] for row in exported(caller, "csv", "group=control")] == ["'+49170"]
    assert [row["rank"] for row in exported(caller, "csv", "sort=-rank")][:2] == ["9", "8"]
    assert exported(caller, "xlsx", "user=nobody") == []


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_an_export_is_of_one_state_of_the_list(
    caller: Someone, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list is made anew between what it comes to and its rows: the file is of the one before, whole."""
    count = ShownList.totals

    def then_the_list_is_made_anew(shown: ShownList) -> Totals:
        totals = count(shown)
        with connect() as connection:
            connection.execute("DELETE FROM action_list")
            connection.execute("UPDATE action_lists SET fingerprint = 'another'")
        return totals

    monkeypatch.setattr(ShownList, "totals", then_the_list_is_made_anew)
    rows = exported(caller, kind)
    assert len(rows) == len(ROWS) == acts("export")[0][2]["users"]
    assert {row["list"] for row in rows} == {fingerprint_of(MAY)}


def test_a_long_export_is_whole(settings: Settings, sign_in: Callable[..., Someone]) -> None:
    put_month(MAY, [Row(f"u{n:06d}", n, 0.5) for n in range(1, 12_001)])
    rows = exported(sign_in(Role.CALLER), "csv")
    assert [row["rank"] for row in rows] == [str(n) for n in range(1, 12_001)]


def form(*users: str, **more: str) -> dict[str, Any]:
    fields = {"month": "2024-05", "treated_at": "2024-06-03", "channel": "phone", "offer": ""}
    return {**fields, "outcome": "", "user": list(users), **more}


def test_several_users_are_marked_at_once_by_who_is_signed_in(caller: Someone) -> None:
    answer = caller.post(
        "/actions/calls",
        form("=1+1", "'=1+1", "007", outcome="accepted", offer="10 off", back="month=2024-05&band=1"),
    )  # fmt: skip
    assert answer.status_code == 200
    assert "3 new, 0 changed, 0 as reported before" in answer.text
    assert 'href="/actions?month=2024-05&amp;band=1"' in answer.text
    assert treatments() == dict.fromkeys(
        ("=1+1", "'=1+1", "007"), ("2024-06-03", "phone", "10 off", "accepted", "cara")
    )
    page = caller.get("/actions?state=accepted").text
    assert page.count("called on 3 Jun 2024 by phone: accepted (10 off)") == 3
    [(person, subject, detail)] = acts("calls reported")
    assert (person, subject, detail["new"]) == ("cara", "2024-05", 3)


def test_one_user_is_marked_and_corrected(caller: Someone) -> None:
    caller.post("/actions/calls", form("007", outcome="not reached"))
    answer = caller.post("/actions/calls", form("007", outcome="declined", treated_at="2024-06-05"))
    assert "0 new, 1 changed" in answer.text
    assert treatments()["007"][:4] == ("2024-06-05", "phone", None, "declined")


def reports() -> list[tuple[Any, ...]]:
    with connect() as connection:
        return connection.execute(
            "SELECT user_id, channel, actor, is_withdrawal FROM treatment_reports ORDER BY report_id"
        ).fetchall()


def test_a_report_is_withdrawn_and_stays_on_record(
    caller: Someone, sign_in: Callable[..., Someone]
) -> None:
    caller.post("/actions/calls", form("007", "=1+1", outcome="accepted"))
    other = sign_in(Role.CALLER, "otto")
    answer = other.post("/actions/withdrawals", form("007", back="month=2024-05&band=1"))
    assert answer.status_code == 200
    assert "1 report withdrawn" in answer.text
    assert 'href="/actions?month=2024-05&amp;band=1"' in answer.text
    [shown] = [row for row in view_rows("action_list", MAY) if row["user_id"] == "007"]
    for name in ("treated_at", "channel", "offer", "outcome"):
        assert shown[name] is None
    assert view_row("month", MAY)["contacted_users"] == 1
    assert other.get("/actions?state=called").text.count("/customer?user=") == 1
    assert reports() == [
        ("007", "phone", "cara", False),
        ("=1+1", "phone", "cara", False),
        ("007", "phone", "otto", True),
    ]
    assert acts("calls withdrawn") == [("otto", "2024-05", {"users": ["007"]})]
    again = caller.post("/actions/calls", form("007", channel="mail"))
    assert "1 new, 0 changed" in again.text
    assert view_row("month", MAY)["contacted_users"] == 2
    assert reports()[-1] == ("007", "mail", "cara", False)


def test_what_was_not_reported_is_not_withdrawn(caller: Someone) -> None:
    caller.post("/actions/calls", form("007"))
    for users, said in (
        (["007", "=1+1"], "no report stands of =1+1"),
        (["nobody"], "no report stands of nobody"),
        ([], "Nobody is ticked"),
    ):
        answer = caller.post("/actions/withdrawals", form(*users))
        assert answer.status_code == 422
        assert said in answer.text
    assert len(reports()) == 1
    assert acts("calls withdrawn") == []
    caller.post("/actions/withdrawals", form("007"))
    assert caller.post("/actions/withdrawals", form("007")).status_code == 422
    assert view_row("month", MAY)["contacted_users"] == 0


def test_a_control_user_who_was_called_is_named(caller: Someone) -> None:
    answer = caller.post("/actions/calls", form("+49170"))
    assert "1 of them was to be left alone: +49170" in answer.text
    assert set(treatments()) == {"+49170"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"treated_at": "2024-05-31"}, "is not in 2024-06"),
        ({"user": ["007", "nobody"]}, "is not on the action list of 2024-05"),
        ({"outcome": "happy"}, "is no outcome"),
        ({"channel": " "}, "is blank"),
        ({"user": []}, "Nobody is ticked"),
    ],
)
def test_what_cannot_be_is_refused_whole(
    caller: Someone, more: dict[str, Any], message: str
) -> None:
    answer = caller.post("/actions/calls", {**form("007"), **more})
    assert answer.status_code == 422
    assert message in answer.text
    assert treatments() == {}
    assert acts("calls reported") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"month,user_id,treated_at,channel\n2024-05,nobody,2024-06-03,phone\n", "not on the action list"),
        (b"month,user_id,treated_at,channel\n2024-05,007,June,phone\n", "is not a date"),
        (b"month,user_id\n", "the column is missing"),
        (b"\x89PNG\r\n\x1a\n", "Not taken in"),
        (b"", "There is no file"),
        # A name of the test is made of it, which must be the same in every process.
        (
            gzip.compress(
                b"month,user_id,treated_at,channel\n2024-05,007,2024-06-03,phone\n", mtime=0
            ),
            "is compressed",
        ),
        (b"month,list,user_id,treated_at,channel\n2024-05,abc,007,2024-06-03,phone\n", "as it is now"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_whole_and_told_row_by_row(
    caller: Someone, content: bytes, message: str
) -> None:
    answer = caller.post("/actions/file", files={"file": ("calls.csv", content)})
    assert answer.status_code == 422
    assert message in answer.text
    assert treatments() == {}

import csv
import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.database import connect
from churn.deliveries.problems import RefusedDrop
from churn.errors import ChurnError
from churn.months import Month
from churn.scoring.action_file import COLUMNS, as_it_was, harmless, write_actions
from churn.scoring.actions import read_actions
from churn.scoring.treatments import (
    LIST,
    Loaded,
    Treatment,
    load_treatments,
    read_treatments,
    report_treatments,
)
from churn.settings import Settings
from tests.kit.action_lists import put_list

MAY = Month.parse("2024-05")
HEADER = "month,user_id,treated_at,channel,offer"
GOOD = ["2024-05,a,2024-06-03,phone,10 % off", "2024-05,b,2024-06-04,mail,"]


@pytest.fixture(autouse=True)
def listed(settings: Settings) -> None:
    put_list(MAY, ["a", "b", "c", "d"], control=["d"])


def write(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "calls.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def kept() -> dict[str, Treatment]:
    with connect() as connection:
        return read_treatments(MAY, connection)


def keep_fingerprint(of_list: str) -> str:
    """Let May's list have this fingerprint, as making it again would give it another."""
    with connect() as connection:
        connection.execute("UPDATE action_lists SET fingerprint = %s", [of_list])
    return of_list


def recorded() -> list[tuple[str, dt.datetime]]:
    with connect() as connection:
        return connection.execute(
            "SELECT user_id, recorded_at FROM treatments ORDER BY 1"
        ).fetchall()


def test_what_was_done_is_kept_and_the_same_again_changes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, *GOOD)
    assert load_treatments(path) == Loaded(MAY, new=2, changed=0, unchanged=0, breaches=())
    assert kept() == {
        "a": Treatment("a", dt.date(2024, 6, 3), "phone", "10 % off"),
        "b": Treatment("b", dt.date(2024, 6, 4), "mail"),
    }
    before = recorded()
    assert load_treatments(path) == Loaded(MAY, new=0, changed=0, unchanged=2, breaches=())
    assert recorded() == before


def test_more_users_and_corrections_come_later(tmp_path: Path) -> None:
    load_treatments(write(tmp_path, *GOOD))
    later = write(tmp_path, GOOD[0], GOOD[1].replace("mail", "chat"), "2024-05,c,2024-06-30,phone,")
    assert load_treatments(later) == Loaded(MAY, new=1, changed=1, unchanged=1, breaches=())
    assert kept()["b"] == Treatment("b", dt.date(2024, 6, 4), "chat")
    assert set(kept()) == {"a", "b", "c"}


def test_the_offer_may_be_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, "2024-05,a,2024-06-01,phone", header=HEADER.removesuffix(",offer"))
    load_treatments(path)
    assert kept() == {"a": Treatment("a", dt.date(2024, 6, 1), "phone")}


def test_a_treated_user_of_the_control_group_is_a_breach(tmp_path: Path) -> None:
    loaded = load_treatments(write(tmp_path, *GOOD, "2024-05,d,2024-06-03,phone,"))
    assert (loaded.new, loaded.breaches) == (3, ("d",))
    assert "d" in kept()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2024-05,z,2024-06-03,phone,", "row 4, column user_id: 'z' is not on the action list"),
        ("2024-05,z,2024-06-03,phone,", "remove the row; `churn actions --month 2024-05`"),
        ("2024-05,c,2024-05-31,phone,", "row 4, column treated_at: '2024-05-31' is not in 2024-06"),
        ("2024-05,c,2024-07-01,phone,", "column treated_at: '2024-07-01' is not in 2024-06"),
        ("2024-05,c,June 3rd,phone,", "row 4, column treated_at: 'June 3rd' is not a date"),
        ("2024-05,a,2024-06-03,phone,", "column user_id: 'a' stands in several rows"),
        ("2024-05,c,2024-06-03,,", "row 4, column channel: is blank"),
        ("2024-05,,2024-06-03,phone,", "row 4, column user_id: is blank"),
        ("2024-06,c,2024-06-03,phone,", "row 4, column month: '2024-06' is not the file's one"),
        ("May,c,2024-06-03,phone,", "row 4, column month: 'May' is not the file's one month"),
        ("2024-05,c,2024-06-03", "row 4: the row has 3 values where the header has 5"),
    ],
)
def test_one_wrong_row_refuses_the_whole_file(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(RefusedDrop) as refused:
        load_treatments(write(tmp_path, *GOOD, row))
    text = " ".join(str(refused.value).split())
    assert message in text
    assert "calls.csv" in text
    assert "nothing was taken in" in text
    assert kept() == {}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("month,user_id,channel,offer", "column treated_at: the column is missing"),
        (f"{HEADER},price", "column price: is not a column of this file"),
    ],
)
def test_other_columns_are_refused(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(RefusedDrop, match=message):
        load_treatments(write(tmp_path, *GOOD, header=header))


def test_no_file_no_rows_no_list(tmp_path: Path) -> None:
    with pytest.raises(ChurnError, match="cannot be read: No such file"):
        load_treatments(tmp_path / "nowhere.csv")
    with pytest.raises(RefusedDrop, match="no rows"):
        load_treatments(write(tmp_path))
    with pytest.raises(ChurnError, match="no action list of 2024-07"):
        load_treatments(write(tmp_path, "2024-07,a,2024-08-03,phone,"))


def test_a_list_made_again_forgets_nothing_that_was_done(tmp_path: Path) -> None:
    load_treatments(write(tmp_path, *GOOD))
    with connect() as connection:
        connection.execute("DELETE FROM churn_scores")  # as scoring a month again does
    assert set(kept()) == {"a", "b"}


def test_what_is_entered_by_hand_takes_the_way_of_a_file() -> None:
    called = Treatment("a", dt.date(2024, 6, 3), "phone", '10 off, "for life"', "accepted")
    assert report_treatments(MAY, [called], actor="ada") == Loaded(MAY, 1, 0, 0, ())
    assert report_treatments(MAY, [called], actor="bob") == Loaded(MAY, 0, 0, 1, ())
    assert kept() == {"a": called}
    with connect() as connection:
        assert connection.execute("SELECT actor FROM treatments").fetchall() == [("ada",)]
    early = Treatment("b", dt.date(2024, 5, 31), "phone")
    with pytest.raises(RefusedDrop, match="is not in 2024-06"):
        report_treatments(MAY, [Treatment("c", dt.date(2024, 6, 3), "phone"), early], actor="ada")
    assert set(kept()) == {"a"}


def test_an_outcome_is_one_of_a_few(tmp_path: Path) -> None:
    header = f"{HEADER},outcome"
    load_treatments(write(tmp_path, f"{GOOD[0]},declined", f"{GOOD[1]},", header=header))
    assert [each.outcome for each in kept().values()] == ["declined", None]
    with pytest.raises(RefusedDrop, match="'happy' is no outcome") as refused:
        load_treatments(write(tmp_path, f"{GOOD[0]},happy", header=header))
    assert "write one of: accepted, declined, not reached" in " ".join(str(refused.value).split())


def filled_in(folder: Path, fingerprint: str | None, *rows: str) -> Path:
    """An exported list, of which some rows say what was done."""
    names = ["month", LIST, *COLUMNS, "treated_at", "channel", "offer", "outcome"]
    listed = [
        f"2024-05,{fingerprint},{n},{user},treated,0.9,9.5,why,,," for n, user in enumerate("abc")
    ]
    return write(folder, *map("".join, zip(listed, rows, strict=True)), header=",".join(names))


def test_an_exported_list_comes_back_filled_in(tmp_path: Path) -> None:
    in_force = keep_fingerprint("b" * 64)
    path = filled_in(tmp_path, in_force, "2024-06-03,phone,,accepted", ",,,", ",,,")
    assert load_treatments(path) == Loaded(MAY, 1, 0, 0, ())
    assert kept() == {"a": Treatment("a", dt.date(2024, 6, 3), "phone", None, "accepted")}
    half = filled_in(tmp_path, in_force, ",,,", ",phone,,", ",,,")
    with pytest.raises(RefusedDrop, match="row 3, column treated_at: is blank"):
        load_treatments(half)


def test_a_list_that_was_made_again_is_told_from_the_one_in_force(tmp_path: Path) -> None:
    path = filled_in(tmp_path, keep_fingerprint("b" * 64), "2024-06-03,phone,,", ",,,", ",,,")
    keep_fingerprint("c" * 64)
    with pytest.raises(RefusedDrop, match="is not the action list of 2024-05 as it is now"):
        load_treatments(path)
    assert kept() == {}


@given(st.text(alphabet="'=+-@\t\r\n\uff1d\uff0b\uff0d\uff20a1|! ", max_size=6))
def test_a_harmless_cell_is_no_formula_and_goes_back_to_what_it_was(text: str) -> None:
    cell = harmless(text)
    assert not cell.startswith(tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"))
    assert as_it_was(cell) == text
    assert cell in (text, f"'{text}")


@pytest.mark.parametrize("value", [-1.5, 0, None])
def test_a_number_stays_a_number(value: float | None) -> None:
    assert harmless(value) is value


FORMULAS = ["=cmd|' /C calc'!A0", "@SUM(1+1)", "+49170", "-12", "'=1+1", "=1+1", "o'clock", "'1"]


def test_ids_that_look_like_formulas_go_out_harmless_and_come_back(tmp_path: Path) -> None:
    june = MAY.next
    put_list(june, FORMULAS)
    path = tmp_path / "june.csv"
    write_actions(read_actions(june), path)
    with path.open(newline="") as file:
        cells = [row["user_id"] for row in csv.DictReader(file)]
    assert [cell[:1] in "=+-@" for cell in cells] == [False] * len(FORMULAS)
    with (tmp_path / "calls.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER.split(","))
        writer.writerows([str(june), cell, "2024-07-03", "phone", ""] for cell in cells)
    assert load_treatments(tmp_path / "calls.csv").new == len(FORMULAS)
    with connect() as connection:
        assert set(read_treatments(june, connection)) == set(FORMULAS)


def test_an_offer_that_looks_like_a_formula_comes_back_as_it_was(tmp_path: Path) -> None:
    told = Treatment("a", dt.date(2024, 6, 3), "phone", "-20 %")
    assert report_treatments(MAY, [told], actor="cara").new == 1
    exported = write(tmp_path, f"{MAY},a,2024-06-03,phone,'-20 %")
    assert load_treatments(exported) == Loaded(MAY, new=0, changed=0, unchanged=1, breaches=())
    assert kept()["a"] == told

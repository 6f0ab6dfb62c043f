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
from churn.scoring.actions import as_it_was, harmless, read_actions, write_actions
from churn.scoring.treatments import Loaded, load_treatments, read_treatments
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


def kept() -> dict[str, tuple[dt.date, str, str | None]]:
    with connect() as connection:
        return read_treatments(MAY, connection)


def recorded() -> list[tuple[str, dt.datetime]]:
    with connect() as connection:
        return connection.execute(
            "SELECT user_id, recorded_at FROM treatments ORDER BY 1"
        ).fetchall()


def test_what_was_done_is_kept_and_the_same_again_changes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, *GOOD)
    assert load_treatments(path) == Loaded(MAY, new=2, changed=0, unchanged=0, breaches=())
    assert kept() == {
        "a": (dt.date(2024, 6, 3), "phone", "10 % off"),
        "b": (dt.date(2024, 6, 4), "mail", None),
    }
    before = recorded()
    assert load_treatments(path) == Loaded(MAY, new=0, changed=0, unchanged=2, breaches=())
    assert recorded() == before


def test_more_users_and_corrections_come_later(tmp_path: Path) -> None:
    load_treatments(write(tmp_path, *GOOD))
    later = write(tmp_path, GOOD[0], GOOD[1].replace("mail", "chat"), "2024-05,c,2024-06-30,phone,")
    assert load_treatments(later) == Loaded(MAY, new=1, changed=1, unchanged=1, breaches=())
    assert kept()["b"] == (dt.date(2024, 6, 4), "chat", None)
    assert set(kept()) == {"a", "b", "c"}


def test_the_offer_may_be_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, "2024-05,a,2024-06-01,phone", header=HEADER.removesuffix(",offer"))
    load_treatments(path)
    assert kept() == {"a": (dt.date(2024, 6, 1), "phone", None)}


def test_a_treated_user_of_the_control_group_is_a_breach(tmp_path: Path) -> None:
    loaded = load_treatments(write(tmp_path, *GOOD, "2024-05,d,2024-06-03,phone,"))
    assert (loaded.new, loaded.breaches) == (3, ("d",))
    assert "d" in kept()


@pytest.mark.parametrize(
    ("row", "said"),
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
def test_one_wrong_row_refuses_the_whole_file(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(RefusedDrop) as refused:
        load_treatments(write(tmp_path, *GOOD, row))
    text = " ".join(str(refused.value).split())
    assert said in text
    assert "calls.csv" in text
    assert "nothing was taken in" in text
    assert kept() == {}


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("month,user_id,channel,offer", "column treated_at: the column is missing"),
        (f"{HEADER},price", "column price: is not a column of this file"),
    ],
)
def test_other_columns_are_refused(tmp_path: Path, header: str, said: str) -> None:
    with pytest.raises(RefusedDrop, match=said):
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

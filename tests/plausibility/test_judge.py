"""Deliveries judged beside other months, blocked, confirmed by a word, and blocked again."""

import datetime as dt
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from churn.contract.in_force import LABELS, PROFILE_TABLES, USERS
from churn.contract.structure import Table
from churn.database import connect
from churn.deliveries import deliver, in_force
from churn.errors import ChurnError
from churn.months import Month
from churn.plausibility.confirmations import confirmations
from churn.plausibility.judge import Judgement, confirm_month, judge, judge_month
from churn.population.drops import write_drops
from churn.promotion.arrivals import read_arrivals
from churn.schedule.due import JOBS, Attempt, Due, stage_states
from churn.schedule.facts import closable_months, read_facts
from churn.settings import get_settings
from churn.warehouse.raw import load_raw
from churn.warehouse.snapshots import build_snapshot
from tests.kit.judged_months import FIRST
from tests.kit.small_drop import NOW
from tests.kit.streamflow import SUBSCRIPTIONS

pytestmark = pytest.mark.usefixtures("settings")
JANUARY, FEBRUARY, MARCH = FIRST, FIRST.next, FIRST.shift(2)
LATER = NOW + dt.timedelta(days=1)
Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def drops(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("drops")
    return write_drops(folder, first=JANUARY, users=300, months=3, seed=5, label_last_month=True)


def verdict(month: Month, table: Table = USERS) -> Judgement:
    judgement = judge(month, table)
    assert judgement is not None
    return judgement


def blocking(month: Month) -> set[tuple[str, str]]:
    return {(j.delivery.file, f.rule) for j in judge_month(month) for f in j.blocking}


def labels_known(month: Month) -> bool:
    with connect() as connection:
        return any(
            (each.month, each.file) == (month, "labels") for each in read_arrivals(connection)
        )


def edited(drop: Path, folder: Path, file: str, change: Callable[[list[str]], list[str]]) -> Path:
    """Copy a drop with one file's rows changed."""
    shutil.copytree(drop, folder)
    header, *rows = (folder / file).read_text().splitlines()
    (folder / file).write_text("\n".join([header, *change(rows)]) + "\n")
    return folder


def test_a_month_as_it_should_be_is_compared_with_those_before_it(drops: list[Path]) -> None:
    for drop in drops:
        deliver(drop, now=NOW)
    assert [blocking(month) for month in (MARCH, JANUARY, FEBRUARY)] == [set(), set(), set()]
    assert all(judgement.odd == [] for judgement in judge_month(MARCH))
    assert verdict(JANUARY).compared_with == ()
    assert [d.month for d in verdict(MARCH).compared_with] == [FEBRUARY]
    assert {d.month for d in verdict(FEBRUARY, LABELS).compared_with} == {JANUARY, FEBRUARY, MARCH}


def test_last_months_export_is_blocked_until_a_person_says_that_it_is_right(
    drops: list[Path], tmp_path: Path
) -> None:
    for drop in drops[:2]:
        deliver(drop, now=NOW)
    deliver(drops[1], now=NOW, month=MARCH)
    asked = closable_months()[MARCH]
    judgement = verdict(MARCH)
    assert judgement.text == (
        "users.csv of 2024-03 is that of 2024-02: the same content in all 300 rows, and the other four"
        " files are that month's, too\n  -> deliver the export of 2024-03 itself; if this one is right,"
        " `churn confirm --month 2024-03 --check same_content --reason TEXT`"
    )
    assert blocking(MARCH) == {
        *((table.name, "same_content") for table in PROFILE_TABLES),
        ("labels", "same_content"),
    }
    assert blocking(FEBRUARY) == set()  # whose labels a copy of its own users cannot belie
    assert closable_months()[MARCH] == asked  # blocked, and not asked for a second time
    word = {"reason": "a test of the copy", "actor": "ann"}
    with pytest.raises(ChurnError, match="users_stay does not block it; what does: same_content"):
        confirm_month(MARCH, "users_stay", file=None, **word)
    with pytest.raises(ChurnError, match="needs a reason"):
        confirm_month(MARCH, "same_content", file=None, reason=" ", actor="ann")
    confirm_month(MARCH, "same_content", file="users", **word)
    assert ("users", "same_content") not in blocking(MARCH)
    confirm_month(MARCH, "same_content", file=None, **word)
    assert blocking(MARCH) == set()
    assert closable_months()[MARCH] != asked  # the sensor asks for the month again
    [first, *_] = confirmations(MARCH)
    assert (first.file, first.rule, first.actor, first.reason) == (
        "users", "same_content", "ann", "a test of the copy",
    )  # fmt: skip
    assert verdict(MARCH).text.endswith(f"; {first}")
    # another delivery needs another word, and the right one none
    deliver(drops[0], now=LATER, month=MARCH)
    assert ("users", "same_content") in blocking(MARCH)
    deliver(drops[2], now=LATER + dt.timedelta(hours=1))
    assert blocking(MARCH) == set()


def test_a_confirmation_is_never_changed(drops: list[Path]) -> None:
    deliver(drops[0], now=NOW)
    deliver(drops[0], now=NOW, month=FEBRUARY)
    confirm_month(FEBRUARY, "same_content", file="users", reason="r", actor="ann")
    for statement in ("UPDATE decisions.confirmations SET actor = 'x'", "DELETE FROM {}"):
        with pytest.raises(psycopg.errors.RestrictViolation), connect() as connection:
            connection.execute(statement.format("decisions.confirmations"))


def test_no_stage_reads_a_version_that_cannot_be(drops: list[Path]) -> None:
    deliver(drops[0], now=NOW)
    deliver(drops[0], now=NOW, month=FEBRUARY)
    for table in (USERS, SUBSCRIPTIONS):
        load_raw(FEBRUARY, table)
    judge_month(FEBRUARY)
    with pytest.raises(ChurnError, match="its check `possible` says where"):
        build_snapshot(FEBRUARY, SUBSCRIPTIONS)
    deliver(drops[1], now=LATER)
    for table in (USERS, SUBSCRIPTIONS):
        load_raw(FEBRUARY, table)
    assert judge(FEBRUARY, SUBSCRIPTIONS)
    snapshot = build_snapshot(FEBRUARY, SUBSCRIPTIONS)
    assert snapshot.versions == (
        FEBRUARY.as_of,
    )  # of the right export alone, as if it had come first
    assert snapshot.rows == snapshot.raw_rows == 300


@pytest.mark.parametrize("is_lost", [False, True])
def test_one_file_of_six_is_last_months(drops: list[Path], tmp_path: Path, is_lost: bool) -> None:
    """Its figures, cut to the users of this month; read from the store, or from Postgres if that is lost."""
    for drop in drops[:2]:
        deliver(drop, now=NOW)
    for name in ("subscriptions.csv", "usage_agg_30d.csv"):
        lines = (drops[1] / name).read_text().splitlines()[1:]
        february = dict(line.split(",", 1) for line in lines)

        def old(rows: list[str], february: dict[str, str] = february) -> list[str]:
            pairs = [row.split(",", 1) for row in rows]
            return [f"{user},{february.get(user, figures)}" for user, figures in pairs]

        folder = edited(drops[2], tmp_path / name, name, old)
        deliver(folder, now=NOW if name == "subscriptions.csv" else LATER, month=MARCH)
        if is_lost and name == "subscriptions.csv":
            for month in (FEBRUARY, MARCH):
                for table in PROFILE_TABLES:
                    load_raw(month, table)
            shutil.rmtree(get_settings().deliveries / str(FEBRUARY))
        rules = {"subscriptions": "months_active_grows", "usage_agg_30d": "same_rows"}
        own = name.removesuffix(".csv")
        assert blocking(MARCH) == {(own, rules[own])}


def test_the_later_delivery_is_the_copy_whatever_its_month(
    drops: list[Path],
) -> None:
    """March's export as a correction of February; March itself stays as it was."""
    for drop in drops:
        deliver(drop, now=NOW)
    deliver(drops[2], now=LATER, month=FEBRUARY)
    assert ("users", "same_content") in blocking(FEBRUARY)
    assert blocking(MARCH) == set()


def test_a_month_heals_with_the_one_that_was_wrong(drops: list[Path]) -> None:
    """February's export came as January's, too: once January is corrected, February is not to blame."""
    deliver(drops[1], now=NOW, month=JANUARY)
    deliver(drops[1], now=NOW)
    assert ("users", "same_content") in blocking(FEBRUARY)
    before = closable_months()[FEBRUARY]
    deliver(drops[0], now=LATER)
    assert closable_months()[FEBRUARY] != before  # it is asked for again
    assert blocking(FEBRUARY) == set()


def test_blocked_labels_are_asked_for_again_when_the_next_month_is_corrected(
    drops: list[Path], tmp_path: Path
) -> None:
    """Two thirds of February's users are lost on the way, who have stayed by January's labels."""

    def thinned(rows: list[str]) -> list[str]:
        return rows[::3]

    thin = drops[1]
    for number, table in enumerate(PROFILE_TABLES):
        thin = edited(thin, tmp_path / f"{number}" / "month_001", table.file, thinned)
    (thin / LABELS.file).unlink()
    deliver(drops[0], now=NOW)
    deliver(thin, now=NOW)
    for month in (JANUARY, FEBRUARY):
        with connect() as connection:
            connection.execute(
                "INSERT INTO online.publications VALUES (%s, %s, 1, 'f')",
                [month.as_of, month.as_of],
            )
    first = train_month(JANUARY)
    assert (first.state, first.left) == ("due", ())
    refused = Attempt("train_month", JANUARY, first.version, "failed", NOW, "no", is_refused=True)
    assert blocking(JANUARY) == {("labels", "labels_agree")}
    assert train_month(JANUARY, refused).state == "given up"
    deliver(drops[1], now=LATER)
    again = train_month(JANUARY, refused)
    assert (again.state, again.left) == ("due", ())  # nobody has to run or confirm it
    assert blocking(JANUARY) == set()
    assert train_month(JANUARY).version == first.version


def train_month(month: Month, *attempts: Attempt) -> Due:
    assets: Any = {job: [job] for job in JOBS}
    items = stage_states(read_facts(), attempts, assets, [])
    return next(each for each in items if (each.stage, each.month) == ("train_month", month))


def test_a_bad_month_does_not_block_the_ones_after_it(drops: list[Path], tmp_path: Path) -> None:
    def renamed(rows: list[str]) -> list[str]:
        return [f"x{row}" for row in rows]

    folder = tmp_path / "month_001"
    shutil.copytree(drops[1], folder)
    for file in folder.iterdir():
        header, *rows = file.read_text().splitlines()
        file.write_text("\n".join([header, *renamed(rows)]) + "\n")
    deliver(drops[0], now=NOW)
    deliver(folder, now=NOW)
    deliver(drops[2], now=NOW)
    assert ("users", "users_stay") in blocking(FEBRUARY)
    assert blocking(MARCH) == set()
    [odd] = verdict(MARCH).odd
    assert "300 are gone" in odd.what
    assert "but it fits 2024-01 as known on 2024-01-31" in odd.what


def test_labels_of_too_few_users_and_labels_that_the_next_month_belies(
    drops: list[Path], tmp_path: Path
) -> None:
    def few(rows: list[str]) -> list[str]:
        left = [row for row in rows if row.endswith("True")]
        return [*left[:70], *[row for row in rows if row not in left][:29]]

    def turned(rows: list[str]) -> list[str]:
        other = {"True": "False", "False": "True"}
        return [f"{user},{other[label]}" for user, label in (row.split(",") for row in rows)]

    deliver(edited(drops[0], tmp_path / "month_000", LABELS.file, few), now=NOW)
    assert labels_known(JANUARY)  # as long as nobody has looked at them
    assert blocking(JANUARY) == {("labels", "labels_cover"), ("labels", "leavers_share")}
    assert not labels_known(JANUARY)  # so that no decision waits for a model on them
    for rule in ("labels_cover", "leavers_share"):
        confirm_month(
            JANUARY, rule, file=None, reason="the others agreed to no analysis", actor="ann"
        )
    assert labels_known(JANUARY)
    deliver(edited(drops[1], tmp_path / "month_001", LABELS.file, turned), now=NOW)
    assert ("labels", "labels_agree") not in blocking(FEBRUARY)  # March is not there yet
    deliver(drops[2], now=NOW)
    assert ("labels", "labels_agree") in blocking(FEBRUARY)
    assert "users who left by it" in verdict(FEBRUARY, LABELS).text
    assert in_force(FEBRUARY, LABELS) is not None

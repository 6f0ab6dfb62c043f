import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest

from churn.contract.in_force import CONTRACT, LABELS, TABLES, USERS
from churn.contract.structure import Contract, LabelRule
from churn.database import connect
from churn.deliveries import DeliveryOutcome, accepted, deliver, in_force, read_accepted
from churn.months import Month
from churn.settings import Settings
from tests.kit.small_drop import FEBRUARY, FILES, JANUARY, NOW, write_drop

HOUR = dt.timedelta(hours=1)
MARCH = FEBRUARY.next
ABSENT = replace(CONTRACT, label=LabelRule("absent"))


class Exports:
    """Takes in drops whose users are the given ones."""

    def __init__(self, folder: Path, settings: Settings, contract: Contract = ABSENT) -> None:
        self.folder, self.settings, self.contract = folder, settings, contract
        self.hours = 0

    def deliver(
        self, month: Month, users: str, changes: dict[str, str] | None = None, **how: object
    ) -> DeliveryOutcome:
        self.hours += 1
        drop = self.folder / str(self.hours)
        drop.mkdir()
        for table in TABLES[:-1]:
            header, *rows = FILES[table.file].splitlines()
            values = {row[0]: row[1:] for row in rows}
            lines = [header, *(f"{user}{values.get(user, values['a'])}" for user in users)]
            text = "\n".join(lines) + "\n"
            for old, new in (changes or {}).items():
                text = text.replace(old, new)
            (drop / table.file).write_text(text)
        now = NOW + self.hours * HOUR
        return deliver(
            drop, settings=self.settings, now=now, month=month, contract=self.contract, **how
        )  # type: ignore[arg-type]

    def labels(self, month: Month, at: dt.datetime | None = None) -> str | None:
        """Return who is labelled, leavers in capitals, by the version in force at an instant."""
        delivery = in_force(month, LABELS, at)
        if delivery is None:
            return None
        rows = read_accepted(delivery, self.settings, self.contract).to_pylist()
        return "".join(
            row["user_id"].upper() if row["churn_label"] else row["user_id"] for row in rows
        )


@pytest.fixture
def exports(settings: Settings, tmp_path: Path) -> Exports:
    return Exports(tmp_path, settings)


def test_who_is_absent_from_the_next_month_has_left(exports: Exports):
    first = exports.deliver(JANUARY, "abc")
    assert [file.delivery.file for file in first.files] == [table.name for table in TABLES[:-1]]
    assert exports.labels(JANUARY) is None
    outcome = exports.deliver(FEBRUARY, "acd")
    assert exports.labels(JANUARY) == "aBc"
    assert exports.labels(FEBRUARY) is None
    (delivery,) = accepted(JANUARY, LABELS)
    assert outcome.files[-1].delivery == delivery
    assert outcome.files[-1].state == "accepted"
    # Known when the next month was: what was trained on then is what was known then.
    assert delivery.known_at == JANUARY.matures_at
    kept = exports.settings.deliveries / delivery.stored_path
    assert kept.read_text() == "user_id,churn_label\na,False\nb,True\nc,False\n"
    # The same content is no delivery; a file that was lost is written anew.
    kept.unlink()
    assert not exports.deliver(FEBRUARY, "dca").is_changed
    assert exports.labels(JANUARY) == "aBc"
    exports.deliver(MARCH, "acd")
    assert exports.labels(FEBRUARY) == "acd"


def test_a_correction_that_brings_a_user_back_corrects_the_labels_from_then_on(exports: Exports):
    exports.deliver(JANUARY, "abc")
    exports.deliver(FEBRUARY, "acd")
    outcome = exports.deliver(FEBRUARY, "abcd")
    first, second = accepted(JANUARY, LABELS)
    assert (first.known_at, second.known_at) == (JANUARY.matures_at, NOW + 3 * HOUR)
    assert [f.state for f in outcome.files if f.delivery.file == "labels"] == ["corrected"]
    assert exports.labels(JANUARY) == "abc"
    # What trains at K(M) still sees the label of then.
    assert exports.labels(JANUARY, at=JANUARY.matures_at) == "aBc"
    # A correction of something else changes no label.
    exports.deliver(FEBRUARY, "abcd", {"a,1\n": "a,2\n"})
    assert len(accepted(JANUARY, LABELS)) == 2


def test_corrected_users_of_the_month_itself_are_labelled_anew(exports: Exports):
    exports.deliver(JANUARY, "abc")
    exports.deliver(FEBRUARY, "ac")
    exports.deliver(JANUARY, "abce")
    assert exports.labels(JANUARY) == "aBcE"
    assert exports.labels(JANUARY, at=JANUARY.matures_at) == "aBc"
    # Declared as known before what the labels rest on already: they come after it all the same.
    exports.deliver(FEBRUARY, "a", known_at=NOW + 3 * HOUR + HOUR / 2)
    exports.deliver(JANUARY, "abcef", known_at=NOW + 3 * HOUR + HOUR / 4)
    versions = accepted(JANUARY, LABELS)
    assert exports.labels(JANUARY) == "aBCEF"
    assert versions[-1].known_at == versions[-2].known_at + dt.timedelta(microseconds=1)


def test_a_lost_month_leaves_the_one_before_without_labels_and_it_is_said(exports: Exports):
    exports.deliver(JANUARY, "abc")
    outcome = exports.deliver(MARCH, "ab")
    assert exports.labels(JANUARY) is None
    what = "of 2024-01 wait for the drop of 2024-02, which is not here; users without a label"
    assert [(o.file, o.what, o.count) for o in outcome.oddities if "wait" in o.what] == [
        ("labels.csv", what, 3)
    ]
    # It comes after all: known late, unless it was on time.
    late = exports.deliver(FEBRUARY, "ac")
    assert not [oddity for oddity in late.oddities if "wait" in oddity.what]
    assert exports.labels(JANUARY) == "aBc"
    assert exports.labels(FEBRUARY) == "aC"
    known = [each.known_at for month in (JANUARY, FEBRUARY) for each in accepted(month, LABELS)]
    assert known == [NOW + 3 * HOUR] * 2


def test_what_heals_a_month_that_could_not_be_used_is_known_as_it_would_have_been(
    exports: Exports,
):
    exports.deliver(JANUARY, "abc")
    exports.deliver(FEBRUARY, "a")
    with connect() as connection:
        connection.execute(
            "UPDATE raw.deliveries SET unloadable = 'spoiled' WHERE month = %s AND file = %s",
            [FEBRUARY.first_day, USERS.name],
        )
    exports.deliver(FEBRUARY, "ac")
    spoiled, healed = sorted(accepted(JANUARY, LABELS), key=lambda each: each.delivery_id)
    assert spoiled.unloadable == "it follows from a version that is not used any more"
    assert healed.known_at == JANUARY.matures_at
    assert exports.labels(JANUARY) == "aBc"


def test_a_stored_file_that_is_gone_costs_no_delivery(exports: Exports):
    exports.deliver(JANUARY, "abc")
    (users,) = accepted(JANUARY, USERS)
    path = exports.settings.deliveries / users.stored_path
    content = path.read_bytes()
    path.unlink()
    outcome = exports.deliver(FEBRUARY, "ac")
    assert outcome.is_changed
    assert any("of 2024-01 could not be derived" in oddity.what for oddity in outcome.oddities)
    path.write_bytes(content)
    assert exports.deliver(FEBRUARY, "ac").is_changed
    assert exports.labels(JANUARY) == "aBc"


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        # b ends in February; c, whose word or date is there in January, was gone already.
        (LabelRule("status", "users", "user_gender", ("Gone", "Dead")), "Gone"),
        (LabelRule("end_date", "users", "signup_date"), "2024-02-29"),
    ],
)
def test_a_status_or_an_end_date_says_who_has_left(
    rule: LabelRule, left: str, settings: Settings, tmp_path: Path
):
    exports = Exports(tmp_path, settings, replace(CONTRACT, label=rule))
    if rule.kind == "status":
        before = {"c,2023-06-30,Female": "c,2023-06-30,Dead"}
        after = {**before, "b,2021-03-01,Male": "b,2021-03-01,Gone"}
    else:
        before = {"a,2023-12-05": "a,", "c,2023-06-30": "c,2024-01-31"}
        before["b,2021-03-01"] = "b,2024-03-01"
        after = {**before, "b,2021-03-01": "b,2024-02-29"}
    assert left in str(after)
    exports.deliver(JANUARY, "abc", before)
    exports.deliver(FEBRUARY, "abc", after)
    assert exports.labels(JANUARY) == "aB"
    # Who is in no file of the next month is gone, too.
    exports.deliver(FEBRUARY, "bc", after)
    assert exports.labels(JANUARY) == "AB"


def test_a_labels_file_is_no_file_of_such_a_drop(settings: Settings, tmp_path: Path):
    drop = write_drop(tmp_path / "month_000")
    outcome = deliver(drop, settings=settings, now=NOW, contract=ABSENT)
    assert [file.delivery.file for file in outcome.files] == [table.name for table in TABLES[:-1]]
    assert ("labels.csv", "not a file of a drop: not read") in {
        (oddity.file, oddity.what) for oddity in outcome.oddities
    }

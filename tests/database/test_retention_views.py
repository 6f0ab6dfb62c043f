"""The views of retention as a contract: comments, page and types, and what happens when things change."""

import datetime as dt
import json
import threading
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from churn.contract.in_force import CONTRACT, LABELS, USERS
from churn.database import connect
from churn.database.migrate import bring_up
from churn.database.retention import RETENTION_VIEWS, SCHEMA, RetentionView, page
from churn.database.steps import STEPS, Step
from churn.deliveries.ledger import in_force, mark_unloadable, record
from churn.months import Month
from churn.scoring.uplift import NotClaimed, Uplift, measure_uplift, record_uplift
from churn.settings import get_settings
from churn.warehouse.snapshots import build_snapshot
from tests.kit.action_lists import put_labels, put_list
from tests.kit.releases import draft, release, sha, written
from tests.kit.retention_rows import row, rows
from tests.kit.snapshot_rows import JANUARY, LATER, put
from tests.scoring.test_uplift import MAY, campaign_month
from tests.scoring.test_uplift import USERS as LISTED

pytestmark = pytest.mark.usefixtures("settings")
PROMISED = Path(__file__).with_name("promised_columns.json")
PAGE = Path(__file__).parents[2] / "docs" / "retention-views.md"
each_view = pytest.mark.parametrize("view", RETENTION_VIEWS, ids=lambda view: view.name)
OTHER_TIME = dt.datetime(2026, 1, 15, tzinfo=dt.UTC)


def test_the_page_says_what_the_declarations_say() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text), (
        "write it: `python -m churn.database.retention docs/retention-views.md`"
    )


@each_view
def test_the_database_says_of_each_view_what_the_page_says(view: RetentionView) -> None:
    with connect() as connection:
        columns = connection.execute(
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod), col_description(c.oid, a.attnum),"
            " obj_description(c.oid) FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid"
            " WHERE c.oid = to_regclass(%s) AND a.attnum > 0 ORDER BY a.attnum",
            [f"{SCHEMA}.{view.name}"],
        ).fetchall()
    assert columns == [
        (each.name, each.sql_type, each.comment, view.comment) for each in view.columns
    ]
    for each in view.columns:
        assert each.meaning.endswith(".")
    assert {"month", "updated_at"} <= {each.name for each in view.columns}


def test_a_name_means_the_same_thing_in_every_view() -> None:
    types: dict[str, set[str]] = {}
    for view in RETENTION_VIEWS:
        for each in view.columns:
            types.setdefault(each.name, set()).add(f"{each.sql_type} {each.unit}")
    assert {name: kinds for name, kinds in types.items() if len(kinds) > 1} == {}


def test_nothing_is_listed_in_a_schema_where_nothing_was_delivered() -> None:
    assert {view.name: rows(view.name) for view in RETENTION_VIEWS} == {
        view.name: [] for view in RETENTION_VIEWS
    }


def test_a_claim_and_no_claim_are_told_as_they_are_measured(tmp_path: Path) -> None:
    campaign_month(tmp_path)
    before = record_uplift(MAY)
    assert isinstance(before, NotClaimed)
    claim = row("uplift", MAY)
    assert (claim["is_claimed"], claim["not_claimed_because"]) == (False, before.reason)
    assert (claim["listed_users"], claim["uplift"], claim["is_shown"]) == (300, None, None)

    put_labels(
        MAY, LISTED[::10] + LISTED[1::20], sorted({*LISTED} - {*LISTED[::10], *LISTED[1::20]})
    )
    measured = record_uplift(MAY)
    assert isinstance(measured, Uplift)
    again = row("uplift", MAY)
    assert again["updated_at"] > claim["updated_at"]
    assert (again["is_claimed"], again["not_claimed_because"]) == (True, None)
    assert again["is_shown"] == measured.is_shown
    for name in ("uplift", "saved_users", "profit"):
        bounds = tuple(again[f"{name}{side}"] for side in ("", "_low", "_high"))
        assert bounds == getattr(measured, name)
    told = ("treated_users", "control_users", "leave_rate_treated", "leave_rate_control", "cost")
    assert [again[name] for name in told] == [
        measured.treated,
        measured.control,
        measured.churn_treated,
        measured.churn_control,
        measured.cost,
    ]
    assert again["contacted_users"] == measured.contacted == 100
    assert measured == measure_uplift(MAY)


def test_who_left_is_what_the_newest_labels_say() -> None:
    put_list(JANUARY, ["stays", "leaves", "withdrawn", "unknown"])
    put_labels(JANUARY, ["leaves", "stays", "withdrawn"], [])
    put(LABELS, JANUARY, ["stays"], known_at=LATER, withdrawn=["withdrawn"], churn_label=False)
    for view in ("action_list", "customer_history"):
        assert {each["user_id"]: each["has_left"] for each in rows(view)} == {
            "leaves": True,
            "stays": False,
            "withdrawn": None,
            "unknown": None,
        }


def deliver_version(
    month: Month, known_at: dt.datetime, accepted_at: dt.datetime, table=USERS
) -> int:
    with connect() as connection:
        delivery = record(
            connection,
            {
                "month": month.first_day,
                "file": table.name,
                "sha256": sha(f"{month} {known_at}"),
                "fingerprint": sha("f"),
                "rows": 3,
                "accepted_at": accepted_at,
                "known_at": known_at,
                "stored_path": "somewhere",
                "translation": None,
            },
        )
    return delivery.delivery_id


def test_versions_of_a_file_are_told_apart() -> None:
    late = JANUARY.as_of + dt.timedelta(days=3)
    first = deliver_version(JANUARY, late, OTHER_TIME)
    second = deliver_version(JANUARY, LATER, OTHER_TIME + dt.timedelta(days=1))
    told = {each["delivery_id"]: each for each in rows("deliveries")}
    assert [
        (told[n]["version"], told[n]["state"], told[n]["is_late"]) for n in (first, second)
    ] == [
        (1, "accepted", True),
        (2, "corrected", False),
    ]
    assert [told[n]["is_in_force"] for n in (first, second)] == [False, True]
    # The first one is not in force any more since the second came.
    assert told[first]["updated_at"] == told[second]["accepted_at"]
    with connect() as connection:
        mark_unloadable(connection, second, "it cannot be read")
    told = {each["delivery_id"]: each for each in rows("deliveries")}
    assert told[second]["unloadable_because"] == "it cannot be read"
    assert [told[n]["is_in_force"] for n in (first, second)] == [True, False]
    assert in_force(JANUARY, USERS).delivery_id == first
    assert told[first]["updated_at"] > told[second]["accepted_at"]
    assert row("month", JANUARY)["updated_at"] == told[first]["updated_at"]


def test_a_month_of_which_nothing_came_awaits_its_drop() -> None:
    april = JANUARY.shift(3)
    deliver_version(JANUARY, JANUARY.as_of, OTHER_TIME)
    deliver_version(JANUARY, JANUARY.matures_at, OTHER_TIME, LABELS)
    deliver_version(april, april.as_of, OTHER_TIME)
    awaited = ("awaits_drop", "awaits_scores", "awaits_labels")
    assert {str(each["month"]): [each[name] for name in awaited] for each in rows("month")} == {
        "2024-01-01": [False, True, False],
        "2024-02-01": [True, False, True],
        "2024-03-01": [True, False, True],
        "2024-04-01": [False, True, True],
    }


def test_a_decision_that_was_superseded_stands_no_more_and_says_since_when() -> None:
    chosen = release()
    first, _, by_hand = written(
        draft(JANUARY, chosen.release_id),
        draft(JANUARY, supersedes=1),
        draft(None, chosen.release_id),
        kept=(chosen,),
    )
    decisions = rows("decisions")
    assert [each["is_standing"] for each in decisions] == [False, True, True]
    assert decisions[0]["recorded_at"] == first.recorded_at < decisions[0]["updated_at"]
    assert decisions[0]["updated_at"] == decisions[1]["recorded_at"]
    assert decisions[2]["updated_at"] == by_hand.recorded_at
    assert [each["month"] for each in decisions] == [JANUARY.first_day, JANUARY.first_day, None]


def test_a_month_is_dated_when_its_labels_are_built_and_not_when_they_came() -> None:
    put_list(JANUARY, ["a"])
    before = rows("action_list")[0]["updated_at"]
    delivery = deliver_version(JANUARY, JANUARY.matures_at, OTHER_TIME, LABELS)
    assert rows("action_list")[0]["updated_at"] == before
    with connect() as connection:
        part = sql.Identifier("partitions", f"labels_{delivery}")
        connection.execute(
            sql.SQL("CREATE TABLE {} PARTITION OF raw.labels FOR VALUES IN ({})").format(
                part, sql.Literal(delivery)
            )
        )
        connection.execute("INSERT INTO raw.labels VALUES (%s, 'a', true)", [delivery])
    build_snapshot(JANUARY, LABELS)
    [listed] = rows("action_list")
    assert (listed["has_left"], listed["updated_at"] > before) == (True, True)
    build_snapshot(JANUARY, LABELS)  # there is nothing to add
    assert rows("action_list") == [listed]


def test_readers_are_not_held_up_while_views_are_replaced() -> None:
    """What replaces the views lets pass whoever reads one of them, and comes when the reader has ended."""
    later = Step(91, "nothing", ("ALTER TABLE raw.calendar ADD COLUMN note text",))
    with psycopg.connect(get_settings().dsn()) as reader, connect() as connection:
        reader.execute("SELECT * FROM retention.month")
        work = threading.Thread(target=bring_up, args=(connection, CONTRACT, (*STEPS, later)))
        with connect() as other:  # as a database of another version, it has to be completed
            other.execute("COMMENT ON SCHEMA raw IS 'schema of before'")
        work.start()
        for _ in range(3):
            with psycopg.connect(get_settings().dsn()) as second:
                second.execute("SET statement_timeout = '20s'")
                second.execute("SELECT * FROM retention.month")
        assert work.is_alive()
        reader.rollback()
        work.join(60)
        assert not work.is_alive()


def test_a_step_that_changes_what_a_view_reads_drops_it_and_it_is_made_anew() -> None:
    wider = "ALTER TABLE monitoring.segment_figures ALTER COLUMN listed TYPE numeric"
    with connect() as connection:
        connection.execute("COMMENT ON SCHEMA raw IS 'schema of before'")
        connection.commit()
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="used by a view"):
            bring_up(connection, steps=(*STEPS, Step(91, "a wider type", (wider,))))
        connection.rollback()
        drop = "DROP VIEW retention.segment_month"
        bring_up(connection, steps=(*STEPS, Step(91, "a wider type", (drop, wider))))
        column_type = connection.execute(
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = 'retention.segment_month'::regclass AND attname = 'listed_users'"
        ).fetchone()
    assert column_type == ("numeric",)


def test_columns_are_added_to_the_end_and_none_is_taken_away() -> None:
    """What stands in the file was promised to those who read; a new view or column is added to it."""
    promised = json.loads(PROMISED.read_text(encoding="utf-8"))
    assert {
        view.name: [f"{each.name} {each.sql_type}" for each in view.columns]
        for view in RETENTION_VIEWS
    } == promised

"""A database of before there were migrations comes up under this code, with all that it holds."""

import datetime as dt
import shutil
from dataclasses import replace

import psycopg
import pytest

from churn.contract.in_force import CONTRACT, LABELS, PROFILE_TABLES, TABLES, VIEWS
from churn.database import connect
from churn.database.init import initialise, is_ready
from churn.database.migrate import (
    applied_contract,
    bring_up,
    refuse_other_tables,
    version_of,
)
from churn.database.schema import is_this_schema
from churn.database.steps import STEPS, Step
from churn.deliveries import deliver
from churn.errors import ChurnError
from churn.lake.files import write_view
from churn.months import Month
from churn.promotion import ledger
from churn.settings import Settings
from tests.kit.close_month import close
from tests.kit.streamflow import FIRST

NOW = dt.datetime(2026, 2, 1, 12, tzinfo=dt.UTC)
JANUARY, FEBRUARY, MARCH, APRIL = (Month.parse(f"2024-0{n}") for n in (1, 2, 3, 4))
NEXT = Step(99, "the next one")
KEPT = (
    *(f"raw.{table.name}" for table in TABLES),
    *(table.snapshot for table in TABLES),
    "raw.deliveries",
    "raw.judgements",
    "online.users",
    "decisions.releases",
    "decisions.ledger",
    "churn_scores",
    "churn_score_runs",
    "action_list",
    "treatments",
    "monitoring.feature_drift",
    "monitoring.model_performance",
)

# Columns that steps have added since.
ADDED = {
    "raw.deliveries": ["translation", "marked_at"],
    "decisions.releases": ["contract"],
    "churn_scores": ["customer_value"],
    "churn_score_runs": [
        "users",
        "expected_leavers",
        "value_at_risk",
        "recorded_at",
        "campaign_id",
    ],
    "action_list": ["band", "segments"],
    "treatments": ["outcome", "actor", "withdrawn_at"],
    "monitoring.feature_drift": ["is_provisional", "recorded_at"],
    "monitoring.model_performance": ["recorded_at"],
}


def contents() -> dict[str, list[str]]:
    """Every row of every table that the fixture fills, as text, but for columns that came since."""
    of_then = {column.name for table in FIRST.tables for column in table.columns}
    of_the_contract = {column.name for table in TABLES for column in table.columns} - of_then
    with connect() as connection:
        return {
            table: [
                row[0]
                for row in connection.execute(
                    f"SELECT (to_jsonb(t) - %s::text[])::text FROM {table} AS t ORDER BY 1",
                    [[*ADDED.get(table, []), *of_the_contract]],
                )
            ]
            for table in KEPT
        }


def versions() -> list[int]:
    with connect() as connection:
        rows = connection.execute("SELECT version FROM decisions.schema_versions ORDER BY 1")
        return [row[0] for row in rows]


def test_it_comes_up_and_takes_the_next_drop_in(version_1: Settings) -> None:
    before = contents()
    assert {table: len(rows) for table, rows in before.items() if not rows} == {}
    assert len(before["raw.users"]) == 60 * 3 + 58
    initialise(("streamflow",))
    assert contents() == before
    assert versions() == [1, *(step.version for step in STEPS)]
    assert is_ready(("streamflow",))
    with connect() as connection:
        assert applied_contract(connection) == (CONTRACT.fingerprint, CONTRACT.text)
        [(reports,)] = connection.execute("SELECT count(*) FROM treatment_reports")
        [(listed,)] = connection.execute("SELECT sum(listed) FROM monitoring.reason_figures")
    assert (reports, listed) == (len(before["treatments"]), len(before["action_list"]))
    assert ledger.verify() == ledger.Verification(1)

    outcome = deliver(version_1.home / "month_003", now=NOW, month=APRIL, history=True)
    assert {file.state for file in outcome.files} == {"accepted"}
    for month in (JANUARY, FEBRUARY, MARCH):  # the lake is made of the snapshots, and was not kept
        for view in VIEWS:
            write_view(month, view)
    close(APRIL)
    after = contents()
    for table in (*PROFILE_TABLES, LABELS):
        for name in (f"raw.{table.name}", table.snapshot):
            assert set(before[name]) <= set(after[name])
    with connect() as connection:
        assert connection.execute(
            "SELECT as_of, contract FROM online.publications ORDER BY as_of DESC, known_at LIMIT 2"
        ).fetchall() == [(APRIL.as_of, CONTRACT.fingerprint), (MARCH.as_of, None)]


def test_what_it_took_in_is_there_already(version_1: Settings) -> None:
    initialise(("streamflow",))
    drop = version_1.home / "again" / "month_000"
    drop.mkdir(parents=True)
    with connect() as connection:
        stored = connection.execute(
            "SELECT file, stored_path FROM raw.deliveries WHERE month = %s", [JANUARY.first_day]
        ).fetchall()
    for file, path in stored:
        shutil.copy(version_1.deliveries / path, drop / f"{file}.csv")
    assert not deliver(drop, now=NOW).is_changed


def test_it_ends_as_a_new_one_does(version_1: Settings, postgres: object) -> None:
    with connect() as connection:
        bring_up(connection)
        brought_up = catalogue(connection)
    with connect("template_churn") as connection:
        assert catalogue(connection) == brought_up


def catalogue(connection: psycopg.Connection) -> dict[str, set[tuple[object, ...]]]:
    """What stands in the catalogue of our tables and views, whatever the order of columns; no partitions."""
    ours = "n.nspname IN ('public', 'raw', 'online', 'decisions', 'monitoring', 'retention')"
    queries = {
        "columns": "SELECT n.nspname, c.relname, c.relkind, a.attname, a.attnotnull,"
        " format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid)"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum"
        f" WHERE c.relkind IN ('r', 'p', 'v') AND {ours}",
        "constraints": "SELECT n.nspname, c.relname, pg_get_constraintdef(k.oid)"
        " FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid"
        f" JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {ours}",
        # Without their names: the key of a published table is called after the one made aside.
        "indexes": "SELECT n.nspname, c.relname,"
        " regexp_replace(pg_get_indexdef(i.indexrelid), 'INDEX \\S+ ON', 'INDEX ON') FROM pg_index i"
        " JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" WHERE {ours}",
        "views": "SELECT n.nspname, c.relname, pg_get_viewdef(c.oid) FROM pg_class c"
        f" JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'v' AND {ours}",
        "triggers": "SELECT n.nspname, c.relname, pg_get_triggerdef(t.oid) FROM pg_trigger t"
        " JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" WHERE NOT t.tgisinternal AND {ours}",
    }
    return {what: set(connection.execute(query).fetchall()) for what, query in queries.items()}


@pytest.mark.usefixtures("version_1")
def test_a_step_that_fails_leaves_nothing_and_is_taken_again() -> None:
    good = ("ALTER TABLE raw.calendar ADD COLUMN note text",)
    half = Step(92, "half", (*good, "ALTER TABLE nobody.knows ADD COLUMN it text"))
    whole = Step(91, "whole", ("ALTER TABLE treatments ADD COLUMN note text",))
    with connect() as connection, pytest.raises(psycopg.Error, match="nobody"):
        bring_up(connection, steps=(*STEPS, whole, half))
    assert versions() == [1, *(step.version for step in STEPS), 91]
    with connect() as connection:
        assert not is_this_schema(connection)
        bring_up(connection, steps=(*STEPS, whole, Step(92, "half", good)))
        assert is_this_schema(connection)
        row = connection.execute("SELECT note FROM raw.calendar").fetchone()
        assert row == (None,)
    assert versions()[-2:] == [91, 92]


@pytest.mark.usefixtures("version_1")
def test_an_earlier_or_a_later_version_is_told_what_to_do() -> None:
    with (
        connect() as connection,
        pytest.raises(ChurnError, match=r"an earlier version(.|\n)*-> `churn init`"),
    ):
        refuse_other_tables(connection)
    with connect() as connection:
        bring_up(connection)
        refuse_other_tables(connection)
        bring_up(
            connection, contract=replace(CONTRACT, fingerprint="another"), steps=(*STEPS, NEXT)
        )
    with connect() as connection, pytest.raises(ChurnError, match="of version 99"):
        version_of(connection)

"""Migrating a database that holds data to this code and to the contract in force, while others read it.

To change a table of ours, change its DDL and add a Step with the ALTER TABLE that makes the same change to an
existing table: a new database is made by the DDL alone, and a test checks that both come out alike. A new
table needs no step. The contract's tables have no steps: they are compared with the contract, and what they
lack is added.

Each transaction alters one relation and waits for it only a moment, so that no reader waits longer behind it;
then it lets readers pass and tries again. If the migration is interrupted, the next start continues it: each
step is recorded in its own transaction, and a contract once all of it is applied.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import LiteralString

import psycopg
from psycopg import sql

from churn.contract.differences import Difference, differences
from churn.contract.document import read_contract
from churn.contract.in_force import CONTRACT
from churn.contract.structure import Contract
from churn.contract.translation import translation
from churn.database import briefly, lock_until_closed, refresh_statistics
from churn.database.changes import ONLINE, Alteration, Change, Columns, changes, statement
from churn.database.online_tables import LOCK, NEXT_USERS, USERS, users_columns
from churn.database.schema import (
    current_view,
    is_this_schema,
    signature_there,
    statements,
)
from churn.database.tables import (
    GUARD_REPORTS,
    LIST_INDEX,
    LISTED_INDEX,
    LISTS,
    MONTH_STATISTICS,
    REASONS,
    TREATMENT_MONTHS,
    TREATMENT_REPORTS,
    TREATMENTS_INDEX,
    UPLIFT,
    VERSION_TABLES,
)
from churn.errors import ChurnError
from churn.settings import default_contract


@dataclass(frozen=True)
class Step:
    """What one version of this code changed about tables that existed before it."""

    version: int
    what: str
    statements: tuple[LiteralString, ...] = ()


# The signature of the schema in the last version of this code that did not record versions.
_FIRST_SIGNATURE = "schema b037ba3b181a525765838fa8fa5b89cda36320d023e2472da494beeee36eca34"
_FIRST = Step(1, "tables as they were before versions were recorded")
STEPS: tuple[Step, ...] = (
    Step(
        2,
        "a publication names the contract that it was made under",
        ("ALTER TABLE online.publications ADD COLUMN contract text",),
    ),
    Step(
        3,
        "a release names the contract that it was fitted under",
        ("ALTER TABLE decisions.releases ADD COLUMN contract text",),
    ),
    Step(
        4,
        "a threshold of drift says whether it is provisional",
        (
            "ALTER TABLE monitoring.feature_drift"
            " ADD COLUMN is_provisional boolean NOT NULL DEFAULT false",
        ),
    ),
    Step(
        5,
        "a delivery keeps what of the contract decided how it was read",
        ("ALTER TABLE raw.deliveries ADD COLUMN translation text",),
    ),
    # Of what was there before, these are filled with the time of the step: the earliest of which it is known
    # that it had been recorded by then. Afterwards each row has its own.
    Step(
        6,
        "a month's drift says when it was recorded",
        (
            "ALTER TABLE monitoring.feature_drift"
            " ADD COLUMN recorded_at timestamptz NOT NULL DEFAULT now()",
            "ALTER TABLE monitoring.feature_drift"
            " ALTER COLUMN recorded_at SET DEFAULT clock_timestamp()",
        ),
    ),
    Step(
        7,
        "a month's performance says when it was recorded",
        (
            "ALTER TABLE monitoring.model_performance"
            " ADD COLUMN recorded_at timestamptz NOT NULL DEFAULT now()",
            "ALTER TABLE monitoring.model_performance"
            " ALTER COLUMN recorded_at SET DEFAULT clock_timestamp()",
        ),
    ),
    Step(
        8,
        "a scored user has the value that the expected profit was counted with",
        ("ALTER TABLE churn_scores ADD COLUMN customer_value double precision",),
    ),
    Step(
        9,
        "a scored month keeps what its rows come to, and when they were recorded",
        (
            "ALTER TABLE churn_score_runs ADD COLUMN users bigint,"
            " ADD COLUMN expected_leavers double precision, ADD COLUMN value_at_risk double precision,"
            " ADD COLUMN recorded_at timestamptz NOT NULL DEFAULT now()",
            "ALTER TABLE churn_score_runs ALTER COLUMN recorded_at SET DEFAULT clock_timestamp()",
            "UPDATE churn_score_runs AS r SET users = s.users, expected_leavers = s.leavers"
            " FROM (SELECT r.as_of, count(s.user_id) AS users, coalesce(sum(s.probability), 0) AS leavers"
            "  FROM churn_score_runs AS r LEFT JOIN churn_scores AS s USING (as_of) GROUP BY r.as_of) AS s"
            " WHERE r.as_of = s.as_of",
        ),
    ),
    Step(
        10,
        "a listed user has the band of the list in which the control group was drawn",
        (
            "ALTER TABLE action_list ADD COLUMN band smallint CHECK (band > 0)",
            "UPDATE action_list AS a SET band = b.band FROM (SELECT as_of, user_id,"
            "  ntile(5) OVER (PARTITION BY as_of ORDER BY rank) AS band"
            "  FROM action_list JOIN churn_scores USING (as_of, user_id)) AS b"
            " WHERE (a.as_of, a.user_id) = (b.as_of, b.user_id)",
        ),
    ),
    Step(
        11,
        "an action list keeps what its rows come to, and when it was made",
        (
            LISTS,
            "INSERT INTO action_lists (as_of, treated, control, expected_profit)"
            " SELECT as_of, count(*) FILTER (WHERE treatment_group = 'treated'),"
            "  count(*) FILTER (WHERE treatment_group = 'control'),"
            "  coalesce(sum(expected_profit) FILTER (WHERE treatment_group = 'treated'), 0)"
            " FROM action_list JOIN churn_scores USING (as_of, user_id) GROUP BY as_of",
            # Months that were scored and in which calling nobody paid: their list is there, and empty.
            "INSERT INTO action_lists (as_of, treated, control, expected_profit)"
            " SELECT as_of, 0, 0, 0 FROM churn_score_runs WHERE users > 0 ON CONFLICT DO NOTHING",
        ),
    ),
    Step(
        12,
        "a delivery says when it was found that it cannot be loaded",
        ("ALTER TABLE raw.deliveries ADD COLUMN marked_at timestamptz",),
    ),
    Step(
        13,
        "a month keeps how many treatments were reported, and when",
        (
            TREATMENT_MONTHS,
            "INSERT INTO treatment_months (as_of, users, recorded_at)"
            " SELECT as_of, count(*), max(recorded_at) FROM treatments GROUP BY as_of",
        ),
    ),
    # What an index of an expression holds is known to the planner after the next ANALYZE.
    Step(
        14,
        "a month's listed scores are found by month and rank",
        (LISTED_INDEX, MONTH_STATISTICS, "ANALYZE churn_scores"),
    ),
    Step(15, "a month's list is found by its month", (LIST_INDEX, "ANALYZE action_list")),
    Step(16, "a month's treatments are found by it", (TREATMENTS_INDEX, "ANALYZE treatments")),
    Step(
        17,
        "a month that is behind says since when",
        (
            "ALTER TABLE online.months_behind"
            " ADD COLUMN since timestamptz NOT NULL DEFAULT clock_timestamp()",
        ),
    ),
    Step(
        18,
        "a publication says when it was made",
        (
            # In two statements: publications of before have no such time, and are not given this one.
            "ALTER TABLE online.publications ADD COLUMN published_at timestamptz",
            "ALTER TABLE online.publications ALTER COLUMN published_at SET DEFAULT clock_timestamp()",
        ),
    ),
    Step(
        19,
        "a treatment has an outcome, and names who reported it",
        (
            "ALTER TABLE treatments ADD COLUMN outcome text",
            "ALTER TABLE treatments ADD COLUMN actor text",
        ),
    ),
    Step(
        20,
        "a listed user has the level of each segment",
        ("ALTER TABLE action_list ADD COLUMN segments jsonb",),
    ),
    Step(
        23,
        "a list keeps what it comes to by the first reason",
        (
            REASONS,
            "INSERT INTO monitoring.reason_figures (as_of, reason, listed, treated, expected_profit)"
            " SELECT as_of, coalesce(split_part(reason_1, ': ', 1), ''), count(*),"
            "  count(*) FILTER (WHERE treatment_group = 'treated'), sum(expected_profit)"
            " FROM action_list JOIN churn_scores USING (as_of, user_id) GROUP BY 1, 2",
        ),
    ),
    Step(
        24,
        "a treatment that was withdrawn says when",
        ("ALTER TABLE treatments ADD COLUMN withdrawn_at timestamptz",),
    ),
    Step(
        25,
        "a month may have no treatment left",
        (
            "ALTER TABLE treatment_months DROP CONSTRAINT treatment_months_users_check,"
            " ADD CONSTRAINT treatment_months_users_check CHECK (users >= 0)",
        ),
    ),
    Step(
        26,
        "every report of a treatment is kept",
        (
            TREATMENT_REPORTS,
            "INSERT INTO treatment_reports (as_of, user_id, treated_at, channel, offer, outcome, actor,"
            "  is_withdrawal, recorded_at)"
            " SELECT as_of, user_id, treated_at, channel, offer, outcome, actor, false, recorded_at"
            " FROM treatments ORDER BY recorded_at, as_of, user_id",
            GUARD_REPORTS,
        ),
    ),
    Step(
        27,
        "what calling brought says which reports it counts",
        (
            # A database of before there were steps may lack the table.
            UPLIFT,
            "ALTER TABLE monitoring.uplift ADD COLUMN IF NOT EXISTS reported_at timestamptz",
            "UPDATE monitoring.uplift AS u SET reported_at = m.recorded_at FROM treatment_months AS m"
            " WHERE m.as_of = u.as_of AND m.recorded_at < u.recorded_at",
        ),
    ),
)


def bring_up(
    connection: psycopg.Connection,
    contract: Contract = CONTRACT,
    steps: Sequence[Step] = STEPS,
) -> tuple[Change, ...]:
    """Make the tables of this code and contract, or change those that exist; return what was changed.

    This may be repeated, but only one process may do it at a time: churn.database.init holds a lock.

    Args:
        connection: its open transaction is committed; the changes are committed one by one.
        contract: the contract whose tables are wanted.
        steps: the changes of our own tables.

    Raises:
        ChurnError: the tables are of a version that this code does not know; the contract would lose data;
            or a table cannot be altered, since somebody holds it for too long.
    """
    version = version_of(connection, steps)
    if version is None:
        _complete(connection, contract, (_FIRST, *steps))
        connection.commit()
        return ()
    if is_this_schema(connection, contract):
        return ()
    due = changes(contract, present_columns(connection))
    refuse_breaking(due, connection.info.dbname)
    _refuse_other_meanings(connection, contract)
    before = _contract_before(connection)
    connection.commit()
    briefly(connection, partial(_record, connection, (_FIRST,)), where="decisions.schema_versions")
    for step in steps:
        if step.version > version:
            briefly(connection, partial(_take, connection, step), where=f"version {step.version}")
    if before is not None and before.fingerprint != contract.fingerprint:
        keep = partial(_keep_translations, connection, before)
        briefly(connection, keep, where="raw.deliveries")
    _apply(connection, contract, [each for change in due for each in change.alterations])
    briefly(connection, partial(_complete, connection, contract), where="the schema")
    return due


def version_of(connection: psycopg.Connection, steps: Sequence[Step] = STEPS) -> int | None:
    """Return the version of our tables; None where there are none.

    Raises:
        ChurnError: this code does not know the version.
    """
    signature = signature_there(connection)
    if signature is None:
        return None
    where = f"database {connection.info.dbname}"
    if connection.execute("SELECT to_regclass('decisions.schema_versions')").fetchone() == (None,):
        if signature == _FIRST_SIGNATURE:
            return _FIRST.version
        raise ChurnError(
            "its tables were made by a version of this code of which nothing is known",
            where=where,
            remedy="go back to that version; or begin anew with this one, in another CHURN_HOME (on a server"
            " another POSTGRES_DB), and deliver the drops again: the old one keeps them in deliveries/",
        )
    row = connection.execute("SELECT max(version) FROM decisions.schema_versions").fetchone()
    version, newest = int(row[0]) if row else 0, max(each.version for each in (_FIRST, *steps))
    if version > newest:
        raise ChurnError(
            f"its tables are of version {version}, and this code knows none after {newest}",
            where=where,
            remedy="use the version of this code that migrated them, or a later one",
        )
    return version


def refuse_other_tables(connection: psycopg.Connection, contract: Contract = CONTRACT) -> None:
    """Raise a ChurnError where our tables exist, but not as this code and contract define them."""
    version = version_of(connection)
    if version is None or is_this_schema(connection, contract):
        return
    refuse_breaking(changes(contract, present_columns(connection)), connection.info.dbname)
    raise ChurnError(
        "its tables are those of an earlier version of this code, or of another contract",
        where=f"database {connection.info.dbname}",
        remedy="`churn init` brings them up, and nothing is lost by it; a stack that was started before the"
        " contract was applied still works by the previous one: `churn down`, `churn up`",
    )


def refuse_breaking(due: Sequence[Change], database: str) -> None:
    """Raise a ChurnError where changes would lose data, with the remedy for each."""
    _refuse([f"{each.what}: {each.remedy}" for each in due if each.kind == "breaking"], database)


def contract_differences(
    connection: psycopg.Connection, contract: Contract = CONTRACT
) -> tuple[Difference, ...]:
    """Return how a contract differs from the one that was applied last; nothing where none is recorded."""
    before = _contract_before(connection)
    if before is None or before.fingerprint == contract.fingerprint:
        return ()
    return differences(before, contract)


def _contract_before(connection: psycopg.Connection) -> Contract | None:
    """Return the contract that was applied last; None where none is recorded, or it cannot be read."""
    if connection.execute("SELECT to_regclass('decisions.contracts')").fetchone() == (None,):
        # Before contracts were recorded, StreamFlow's own was the only one.
        return default_contract() if version_of(connection) else None
    before = applied_contract(connection)
    if before is None:
        return None
    try:
        return read_contract(before[1], "the contract applied last")
    except ChurnError:
        # This version of the code may no longer understand it; the tables are compared all the same.
        return None


def _keep_translations(connection: psycopg.Connection, before: Contract) -> None:
    """Record with older deliveries how they were read so far, before another contract comes into force."""
    for table in before.tables:
        connection.execute(
            "UPDATE raw.deliveries SET translation = %s WHERE file = %s AND translation IS NULL",
            [translation(before, table), table.name],
        )


def _refuse_other_meanings(connection: psycopg.Connection, contract: Contract) -> None:
    """Raise a ChurnError where the contract gives another meaning to data from the one before it."""
    breaking = [each for each in contract_differences(connection, contract) if each.is_breaking]
    lines = [f"{each.where}: {each.what}: {each.remedy}" for each in breaking]
    _refuse(lines, connection.info.dbname)


def _refuse(lines: Sequence[str], database: str) -> None:
    if lines:
        raise ChurnError(
            "the contract does not fit the data that is there:\n- " + "\n- ".join(lines),
            where=f"database {database}",
            remedy="change the contract so; or is CHURN_CONTRACT another one than this database's?",
        )


def present_columns(connection: psycopg.Connection) -> Columns:
    """Return the columns of the contract's tables as the database has them."""
    columns_by_relation: dict[str, dict[str, str]] = {}
    rows = connection.execute(
        "SELECT CASE n.nspname WHEN 'raw' THEN 'raw.' ELSE '' END || c.relname, a.attname,"
        " format_type(a.atttypid, a.atttypmod) FROM pg_class AS c"
        " JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " WHERE c.relkind = 'p' AND (n.nspname = 'raw' OR pg_table_is_visible(c.oid))"
        " UNION ALL SELECT 'online.users', a.attname, format_type(a.atttypid, a.atttypmod)"
        " FROM pg_attribute AS a WHERE a.attrelid = to_regclass('online.users')"
        " AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1"
    )
    for relation, column, sql_type in rows:
        columns_by_relation.setdefault(relation, {})[column] = sql_type
    return columns_by_relation


def applied_contract(connection: psycopg.Connection) -> tuple[str, str] | None:
    """Return the fingerprint and text of the contract applied last; None where none is recorded."""
    row = connection.execute(
        "SELECT fingerprint, contract FROM decisions.contracts ORDER BY contract_id DESC LIMIT 1"
    ).fetchone()
    return (str(row[0]), str(row[1])) if row else None


def _record(connection: psycopg.Connection, steps: Sequence[Step]) -> None:
    for ddl in VERSION_TABLES:
        connection.execute(ddl)
    for step in steps:
        connection.execute(
            "INSERT INTO decisions.schema_versions (version, what) VALUES (%s, %s)"
            " ON CONFLICT DO NOTHING",
            [step.version, step.what],
        )


def _take(connection: psycopg.Connection, step: Step) -> None:
    for ddl in step.statements:
        connection.execute(ddl)
    _record(connection, (step,))


def _complete(
    connection: psycopg.Connection, contract: Contract, steps: Sequence[Step] = ()
) -> None:
    """Make the tables that do not exist, and record versions, contract and signature."""
    for ddl in statements(contract):
        connection.execute(ddl)
    _record(connection, steps)
    if applied_contract(connection) != (contract.fingerprint, contract.text):
        connection.execute(
            "INSERT INTO decisions.contracts (name, fingerprint, contract) VALUES (%s, %s, %s)",
            [contract.name, contract.fingerprint, contract.text],
        )


def _apply(
    connection: psycopg.Connection, contract: Contract, alterations: Sequence[Alteration]
) -> None:
    """Alter the contract's tables, one relation at a time."""
    snapshots = {table.snapshot: table for table in contract.tables}
    by_relation = sorted(alterations, key=lambda each: each.relation)
    for relation, group in itertools.groupby(by_relation, key=lambda each: each.relation):
        of_relation = list(group)
        if relation == ONLINE:
            _alter_online(connection, contract, of_relation)
            continue
        ddl = [statement(relation, of_relation)]
        if table := snapshots.get(relation):
            # The view of the newest versions has only the columns that the table had when the view was made.
            view = sql.Identifier(f"{relation}_current")
            ddl = [sql.SQL("DROP VIEW {}").format(view), *ddl, current_view(table)]
        briefly(connection, partial(_execute, connection, ddl), where=relation)
        if any(not each.is_new for each in of_relation):
            refresh_statistics(connection, sql.Identifier(*relation.split(".")))
            connection.commit()


def _alter_online(
    connection: psycopg.Connection, contract: Contract, alterations: Sequence[Alteration]
) -> None:
    """Alter the table that the API reads: new columns in place, other types by a table switched in.

    No publication may run meanwhile: it would switch in a table without the change.
    """
    lock_until_closed(connection, LOCK)
    connection.commit()
    if all(each.is_new for each in alterations):
        ddl = [statement(ONLINE, alterations)]
    else:
        there = present_columns(connection)[ONLINE]
        names = sql.SQL(", ").join(map(sql.Identifier, there))
        for each in (
            sql.SQL("DROP TABLE IF EXISTS {next}"),
            sql.SQL("CREATE TABLE {next} ({columns}, PRIMARY KEY (user_id))"),
            sql.SQL("INSERT INTO {next} ({names}) SELECT {names} FROM {users}"),
            sql.SQL("ANALYZE {next} (user_id, as_of)"),
        ):
            connection.execute(
                each.format(
                    next=NEXT_USERS,
                    users=USERS,
                    names=names,
                    columns=users_columns(contract.views),
                )
            )
        connection.commit()
        ddl = [
            sql.SQL("DROP TABLE {}").format(USERS),
            sql.SQL("ALTER TABLE {} RENAME TO users").format(NEXT_USERS),
        ]
    briefly(connection, partial(_execute, connection, ddl), where=ONLINE)
    connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [LOCK])
    connection.commit()


def _execute(connection: psycopg.Connection, ddl: Sequence[sql.Composed]) -> None:
    for each in ddl:
        connection.execute(each)

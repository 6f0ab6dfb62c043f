"""The action list of a month: whom to call, why, and who is left alone to measure what calling does."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from churn.arrays import Bools
from churn.contract.in_force import CONTRACT, VIEWS, service_of
from churn.database import connect, lock, refresh_statistics
from churn.database.copying import copy_in
from churn.evaluation.segments import levels_of
from churn.events.kinds import ListReady
from churn.events.outbox import record_event
from churn.fingerprint import fingerprint
from churn.lake.files import TIMESTAMP
from churn.model.encode import onnx_inputs_of_table
from churn.months import Month
from churn.promotion.ledger import release_in_force
from churn.promotion.registry import read_explainer, version_of
from churn.scoring.action_file import COLUMNS, CONTROL, TREATED, write_actions
from churn.scoring.campaigns import campaign_of_month, terms_of
from churn.scoring.control_group import bands_of_list, control_group
from churn.scoring.reasons import TOP, Explaining
from churn.scoring.scores import features_of
from churn.settings import get_settings

_SCHEMA = pa.schema(
    [
        pa.field("as_of", TIMESTAMP, nullable=False),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("treatment_group", pa.string(), nullable=False),
        pa.field("reason_1", pa.string()),
        pa.field("reason_2", pa.string()),
        pa.field("reason_3", pa.string()),
    ]
)


@dataclass(frozen=True)
class ActionList:
    """A month's action list, the first to call first; each row has the keys COLUMNS.

    `campaign_id` is that of the campaign that it was made under; None: the settings.
    """

    rows: list[dict[str, Any]]
    path: Path
    fingerprint: str
    campaign_id: int | None

    def count(self, group: str) -> int:
        """Return how many users are in a group."""
        return sum(row["treatment_group"] == group for row in self.rows)


def list_actions(month: Month) -> ActionList:
    """Make the action list of a scored month, replacing its table rows and its CSV file as a whole."""
    with connect() as connection:
        campaign = campaign_of_month(connection, month)
        due = connection.execute(
            "SELECT user_id FROM churn_scores WHERE as_of = %s AND is_action ORDER BY rank",
            [month.as_of],
        ).fetchall()
    users = [row[0] for row in due]
    is_control = control_group(month, users, terms_of(campaign).control_share)
    reasons = _reasons(month, users)
    segments = _segments(month, users)
    table = pa.table(
        {
            "as_of": pa.repeat(pa.scalar(month.as_of, TIMESTAMP), len(users)),
            "user_id": pa.array(users, pa.string()),
            "treatment_group": pa.array(
                [CONTROL if c else TREATED for c in is_control], pa.string()
            ),
            **{f"reason_{n + 1}": pa.array([r[n] for r in reasons], pa.string()) for n in range(3)},
        },
        schema=_SCHEMA,
    )
    list_fingerprint = fingerprint(table, key=["user_id"])
    with connect() as connection:
        lock(connection, f"action_list {month}")
        connection.execute("DELETE FROM action_list WHERE as_of = %s", [month.as_of])
        kept = table.append_column("band", pa.array(bands_of_list(len(users)), pa.int16()))
        kept = kept.append_column("segments", pa.array(segments, pa.string()))
        copy_in(connection, sql.Identifier("action_list"), kept)
        refresh_statistics(connection, sql.Identifier("action_list"))
        keep_reasons(connection, month)
        _keep_sums(connection, month, list_fingerprint)
        _tell(connection, ListReady(month, list_fingerprint, *_groups(is_control)))
        rows = _read(connection, month)
        path = actions_path(month)
        # Before the commit: a list whose file cannot be written is not ready.
        write_actions(rows, path)
    return ActionList(rows, path, list_fingerprint, campaign.campaign_id if campaign else None)


def _keep_sums(connection: psycopg.Connection, month: Month, list_fingerprint: str) -> None:
    """Write down what the list that has just been kept comes to."""
    connection.execute(
        "INSERT INTO action_lists (as_of, treated, control, expected_profit, fingerprint)"
        " SELECT %(as_of)s, count(*) FILTER (WHERE treatment_group = %(treated)s),"
        "  count(*) FILTER (WHERE treatment_group = %(control)s),"
        "  coalesce(sum(expected_profit) FILTER (WHERE treatment_group = %(treated)s), 0),"
        "  %(fingerprint)s FROM action_list JOIN churn_scores USING (as_of, user_id)"
        " WHERE as_of = %(as_of)s ON CONFLICT (as_of) DO UPDATE SET treated = excluded.treated,"
        " control = excluded.control, expected_profit = excluded.expected_profit,"
        " fingerprint = excluded.fingerprint, recorded_at = clock_timestamp()",
        {
            "as_of": month.as_of,
            "treated": TREATED,
            "control": CONTROL,
            "fingerprint": list_fingerprint,
        },
    )


def _groups(is_control: Bools) -> tuple[int, int]:
    """Return how many users are to be called, and how many are left alone."""
    control = int(is_control.sum())
    return len(is_control) - control, control


def _tell(connection: psycopg.Connection, event: ListReady) -> None:
    """Record that a list is ready, also where nobody is worth a call; not of a month without scores."""
    scored = connection.execute(
        "SELECT FROM churn_scores WHERE as_of = %s LIMIT 1", [event.month.as_of]
    ).fetchone()
    if scored is not None:
        record_event(connection, event)


def keep_reasons(connection: psycopg.Connection, month: Month) -> None:
    """Write down what the list that has just been kept comes to by the first reason of its users."""
    connection.execute("DELETE FROM monitoring.reason_figures WHERE as_of = %s", [month.as_of])
    connection.execute(
        # A sentence begins with the name of its feature.
        "INSERT INTO monitoring.reason_figures (as_of, reason, listed, treated, expected_profit)"
        " SELECT as_of, coalesce(split_part(reason_1, ': ', 1), ''), count(*),"
        "  count(*) FILTER (WHERE treatment_group = %s), sum(expected_profit)"
        " FROM action_list JOIN churn_scores USING (as_of, user_id) WHERE as_of = %s GROUP BY 1, 2",
        [TREATED, month.as_of],
    )


def actions_path(month: Month) -> Path:
    """Return the path of a month's action list as CSV."""
    return get_settings().home / "actions" / f"{month}.csv"


def read_actions(month: Month) -> list[dict[str, Any]]:
    """Return the action list of a month in the order of rank; each row has the keys COLUMNS."""
    with connect() as connection:
        return _read(connection, month)


def _read(connection: psycopg.Connection, month: Month) -> list[dict[str, Any]]:
    query = sql.SQL(
        "SELECT {} FROM action_list JOIN churn_scores USING (as_of, user_id)"
        " WHERE as_of = %s ORDER BY rank"
    ).format(sql.SQL(", ").join(map(sql.Identifier, COLUMNS)))
    rows = connection.execute(query, [month.as_of]).fetchall()
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def _reasons(month: Month, users: list[str]) -> list[list[str | None]]:
    release = release_in_force(month.as_of)
    if release is None or not users:
        return [[None] * TOP for _ in users]
    explainer = read_explainer(str(version_of(release).version))
    # A baseline, promoted by hand, has no explainer.
    if explainer is None:
        return [[None] * TOP for _ in users]
    explaining = Explaining(explainer)
    views = service_of(release.service, explaining.names).views
    features = features_of(month, views, pa.array(users, pa.string()))
    return explaining.words(onnx_inputs_of_table(features, explainer))


def _segments(month: Month, users: list[str]) -> list[str]:
    """Return for each user the level of every segment of the contract, as JSON."""
    columns = {segment.column for segment in CONTRACT.segments}
    parts = [part for view in VIEWS if (part := view.part(columns)).features]
    if not users or not parts:
        return ["{}" for _ in users]
    features = features_of(month, parts, pa.array(users, pa.string())).to_pandas()
    names, levels = zip(*levels_of(features), strict=True)
    return [json.dumps(dict(zip(names, each, strict=True))) for each in zip(*levels, strict=True)]

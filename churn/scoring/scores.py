"""Every active user of a month, scored by the release in force when the month closed."""

import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from churn.contract.features import SERVICE_BY_NAME, VIEWS, View
from churn.database import connect, lock, refresh_statistics
from churn.database.copying import copy_in
from churn.evaluation.money import Campaign, expected_profit, within_budget
from churn.fingerprint import fingerprint
from churn.lake import TIMESTAMP, read_current
from churn.model.split import user_hashes
from churn.months import Month
from churn.promotion.ledger import release_in_force
from churn.promotion.registry import MlflowRegistry
from churn.promotion.release import Release
from churn.settings import get_settings

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = pa.schema(
    [
        pa.field("as_of", TIMESTAMP, nullable=False),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("release_id", pa.string(), nullable=False),
        pa.field("probability", pa.float64(), nullable=False),
        pa.field("rank", pa.int64(), nullable=False),
        pa.field("expected_profit", pa.float64(), nullable=False),
        pa.field("is_action", pa.bool_(), nullable=False),
    ]
)
_RANK_SALT = "streamflow-rank-1:"  # who comes first among equals


@dataclass(frozen=True)
class Scored:
    """What scoring a month has made; without a release there are no rows."""

    release: Release | None
    active_users: int
    rows: pa.Table
    path: Path
    fingerprint: str


def score_month(month: Month) -> Scored:
    """Score a month's users, and keep the scores in Postgres and as Parquet; a month is replaced whole.

    Raises:
        ChurnError: a view of the month is not in the lake, or the release's file is not what it was.
    """
    users = active_users(month)
    release = release_in_force(month.as_of)
    if release is None:
        rows = SCHEMA.empty_table()
    else:
        frame = features_of(month, SERVICE_BY_NAME[release.service].views, users)
        probabilities = MlflowRegistry().probabilities(release, frame)
        rows = rank(
            month, release.release_id, users, probabilities, Campaign.of(get_settings().campaign)
        )
    _keep(month, rows, release)
    path = scores_path(month)
    _write(rows, path)
    return Scored(release, len(users), rows, path, fingerprint(rows, key=["user_id"]))


def scores_path(month: Month) -> Path:
    """Return where a month's scores are kept as Parquet."""
    return get_settings().home / "scores" / f"as_of_date={month.as_of_date}" / "rows.parquet"


def active_users(month: Month) -> list[str]:
    """Return everybody whom the month's newest version names, sorted."""
    named = (read_current(view, month)["user_id"].to_pylist() for view in VIEWS)
    return sorted(set().union(*named))


def features_of(month: Month, views: tuple[View, ...], users: list[str]) -> "pd.DataFrame":
    """Return the month's features of users, in their order; unknown where a view has no row."""
    import pandas as pd

    index = pd.Index(users)
    parts = []
    for view in views:
        names = [feature.name for feature in view.features]
        rows = read_current(view, month).select(["user_id", *names])
        parts.append(rows.to_pandas().set_index("user_id").reindex(index))
    frame: pd.DataFrame = pd.concat(parts, axis=1)
    return frame


def rank(
    month: Month, release_id: str, users: list[str], probabilities: np.ndarray, campaign: Campaign
) -> pa.Table:
    """Return the scores, the most probable leaver first; equals in an order that a hash decides.

    Args:
        month: the month scored.
        release_id: of the release that scored it.
        users: their ids.
        probabilities: of leaving, in the order of `users`.
        campaign: the terms and the budget that decide who is due an action.
    """
    ids = np.asarray(users, dtype=object)
    order = np.lexsort((ids.astype(str), user_hashes(users, _RANK_SALT), -probabilities))
    sorted_probabilities = probabilities[order].astype(np.float64)
    return pa.table(
        {
            "as_of": pa.repeat(pa.scalar(month.as_of, TIMESTAMP), len(users)),
            "user_id": pa.array(ids[order], pa.string()),
            "release_id": pa.repeat(release_id, len(users)),
            "probability": sorted_probabilities,
            "rank": np.arange(1, len(users) + 1),
            "expected_profit": expected_profit(sorted_probabilities, campaign),
            "is_action": within_budget(sorted_probabilities, campaign),
        },
        schema=SCHEMA,
    )


def scored_from() -> dict[Month, tuple[dt.datetime | None, str | None]]:
    """Return what each scored month was scored from: known_at of what was published, release id."""
    with connect() as connection:
        rows = connection.execute("SELECT as_of, known_at, release_id FROM churn_score_runs")
        return {Month.of_as_of(as_of): (known_at, release) for as_of, known_at, release in rows}


def _keep(month: Month, rows: pa.Table, release: Release | None) -> None:
    with connect() as connection:
        lock(connection, f"churn_scores {month}")
        connection.execute(
            "INSERT INTO churn_score_runs (as_of, known_at, release_id)"
            " SELECT %(as_of)s, max(known_at), %(release_id)s FROM online.publications"
            " WHERE as_of = %(as_of)s ON CONFLICT (as_of) DO UPDATE"
            " SET known_at = excluded.known_at, release_id = excluded.release_id",
            {"as_of": month.as_of, "release_id": release.release_id if release else None},
        )
        connection.execute("DELETE FROM churn_scores WHERE as_of = %s", [month.as_of])
        copy_in(connection, sql.Identifier("churn_scores"), rows)
        refresh_statistics(connection, "churn_scores")


def _write(rows: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    pq.write_table(rows, half, compression="zstd")
    half.replace(path)

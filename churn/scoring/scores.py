"""Scores of every active user of a month, by the release that was in force when the month closed."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from psycopg import sql

from churn.contract.in_force import CONTRACT, VIEWS
from churn.contract.structure import View
from churn.database import connect, lock, refresh_statistics
from churn.database.copying import copy_in
from churn.errors import ChurnError
from churn.evaluation.money import Campaign, expected_profit, within_budget
from churn.files import replacing
from churn.fingerprint import fingerprint
from churn.lake.files import TIMESTAMP, read_current
from churn.model.rows import user_hashes
from churn.months import Month
from churn.promotion.ledger import Release, release_in_force
from churn.promotion.registry import ReleaseRegistry
from churn.scoring.campaigns import LOCK, campaign_of_month, terms_of
from churn.settings import get_settings

SCHEMA = pa.schema(
    [
        pa.field("as_of", TIMESTAMP, nullable=False),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("release_id", pa.string(), nullable=False),
        pa.field("probability", pa.float64(), nullable=False),
        pa.field("rank", pa.int64(), nullable=False),
        pa.field("expected_profit", pa.float64(), nullable=False),
        pa.field("is_action", pa.bool_(), nullable=False),
        pa.field("customer_value", pa.float64(), nullable=False),
    ]
)
# A hash with this salt orders users of equal score.
_RANK_SALT = "streamflow-rank-1:"


@dataclass(frozen=True)
class Scored:
    """The result of scoring a month; without a release there are no rows."""

    release: Release | None
    active_users: int
    rows: pa.Table
    path: Path
    fingerprint: str


def score_month(month: Month, judge: Callable[[Scored], None] | None = None) -> Scored:
    """Score a month's users, and store the scores in Postgres and as Parquet; a month is replaced as a whole.

    Args:
        month: the month to score.
        judge: is given the scores before anything is written. If it raises, everything stays as it was.

    Raises:
        ChurnError: a view of the month is not in the lake, the release's file was altered, or a campaign for
            the month was saved or a correction published meanwhile, which passes when it is scored again.
    """
    # Before the lake, which holds what is published, or by then something newer.
    with connect() as connection:
        published = _published(connection, month)
    users = active_users(month)
    release = release_in_force(month.as_of)
    campaign_id = None
    if release is None:
        rows = SCHEMA.empty_table()
    else:
        registry = ReleaseRegistry()
        features = features_of(month, registry.service(release).views, users)
        probabilities = registry.probabilities(release, features)
        with connect() as connection:
            saved = campaign_of_month(connection, month)
        campaign_id = saved.campaign_id if saved else None
        campaign = Campaign.of(terms_of(saved))
        values = customer_values(month, users)
        rows = rank(month, release.release_id, users, probabilities, campaign, values)
    path = scores_path(month)
    scored = Scored(release, len(users), rows, path, _fingerprint(rows))
    if judge is not None:
        judge(scored)
    _keep(month, rows, release, campaign_id, published)
    _write(rows, path)
    return scored


def _fingerprint(rows: pa.Table) -> str:
    """Return the fingerprint of a month's scores: of what was in them before their values were kept, too."""
    return fingerprint(rows.drop_columns(["customer_value"]), key=["user_id"])


def scores_path(month: Month) -> Path:
    """Return the path of a month's scores as Parquet."""
    return get_settings().home / "scores" / f"as_of_date={month.as_of_date}" / "rows.parquet"


def active_users(month: Month) -> pa.Array:
    """Return the ids of all users in the month's newest version, sorted."""
    named = [read_current(view, month)["user_id"].combine_chunks() for view in VIEWS]
    return pc.unique(pa.chunked_array(named)).sort()


def features_of(month: Month, views: Sequence[View], users: pa.Array) -> pa.Table:
    """Return the features of some users in a month, in their order; null where a view has no row.

    Args:
        month: the month, whose newest version is read.
        views: the views whose features become the columns.
        users: the users' ids, as text.
    """
    columns: dict[str, pa.ChunkedArray] = {}
    for view in views:
        rows = read_current(view, month)
        known = rows["user_id"].combine_chunks()
        features = rows.select(list(view.feature_names))
        if not known.equals(users):
            features = features.take(pc.index_in(users, value_set=known))
        columns |= dict(zip(features.column_names, features.columns, strict=True))
    return pa.table(columns)


def customer_values(month: Month, users: pa.Array) -> np.ndarray | None:
    """Return what keeping each user is worth, [N]; None unless the contract takes it from a column.

    Where the column is unknown for a user, the median of the others is taken.
    """
    worth = CONTRACT.customer_value
    if worth is None or not worth.column:
        return None
    views = [view for view in VIEWS if worth.column in [f.name for f in view.features]]
    known = features_of(month, views, users)[worth.column].cast(pa.float64()).to_numpy()
    if np.isnan(known).all():
        return None
    return np.asarray(np.where(np.isnan(known), np.nanmedian(known), known) * worth.months)


def rank(
    month: Month,
    release_id: str,
    users: pa.Array,
    probabilities: np.ndarray,
    campaign: Campaign,
    values: np.ndarray | None = None,
) -> pa.Table:
    """Return the scores in the order of calling; a hash decides among equals.

    The most probable leaver comes first or, where users are worth different sums, the most profitable call.

    Args:
        month: the month scored.
        release_id: of the release that scored it.
        users: their ids, [N].
        probabilities: of leaving, in the order of `users`.
        campaign: the terms and the budget that decide who is due an action.
        values: what keeping each of `users` is worth; None takes the campaign's one value for all.
    """
    chances = probabilities.astype(np.float64)
    key = probabilities if values is None else expected_profit(chances, campaign, values)
    order = _ranked(users, key)
    sorted_probabilities = probabilities[order].astype(np.float64)
    worth = None if values is None else values[order]
    customer_value = np.full(len(users), campaign.customer_value) if worth is None else worth
    return pa.table(
        {
            "as_of": pa.repeat(pa.scalar(month.as_of, TIMESTAMP), len(users)),
            "user_id": users.take(pa.array(order)),
            "release_id": pa.repeat(release_id, len(users)),
            "probability": sorted_probabilities,
            "rank": np.arange(1, len(users) + 1),
            "expected_profit": expected_profit(sorted_probabilities, campaign, worth),
            "is_action": within_budget(sorted_probabilities, campaign, worth),
            "customer_value": customer_value,
        },
        schema=SCHEMA,
    )


def _ranked(users: pa.Array, probabilities: np.ndarray) -> np.ndarray:
    """Return the rows by probability (or profit), highest first; hashes are computed for equals only."""
    order = np.argsort(-probabilities, kind="stable")
    is_next_equal = np.diff(probabilities[order]) == 0
    is_tied = np.zeros(len(order), dtype=bool)
    is_tied[1:] |= is_next_equal
    is_tied[:-1] |= is_next_equal
    tied = order[is_tied]
    ids = users.take(pa.array(tied)).to_pylist()
    hashes = user_hashes(ids, _RANK_SALT) if ids else np.empty(0)
    order[is_tied] = tied[np.lexsort((np.array(ids, dtype=str), hashes, -probabilities[tied]))]
    return order


def scored_from() -> dict[Month, tuple[dt.datetime | None, str | None]]:
    """Return what each scored month was scored from: known_at of what was published, and the release's id."""
    with connect() as connection:
        rows = connection.execute("SELECT as_of, known_at, release_id FROM churn_score_runs")
        return {Month.of_as_of(as_of): (known_at, release) for as_of, known_at, release in rows}


def _published(connection: psycopg.Connection, month: Month) -> dt.datetime | None:
    """Return known_at of what is published of a month."""
    row = connection.execute(
        "SELECT max(known_at) FROM online.publications WHERE as_of = %s", [month.as_of]
    ).fetchone()
    return row[0] if row else None


def _keep(
    month: Month,
    rows: pa.Table,
    release: Release | None,
    campaign_id: int | None,
    published: dt.datetime | None,
) -> None:
    probabilities = rows["probability"].to_numpy()
    with connect() as connection:
        lock(connection, f"churn_scores {month}")
        if _published(connection, month) != published:
            raise ChurnError(
                "a correction was published while the users were scored",
                where=str(month),
                remedy="score the month again",
            ) from psycopg.errors.SerializationFailure("another version is published by now")
        if release is not None:
            _hold_campaign(connection, month, campaign_id)
        connection.execute(
            "INSERT INTO churn_score_runs"
            " (as_of, known_at, release_id, users, expected_leavers, value_at_risk, campaign_id)"
            " VALUES (%(as_of)s, %(known_at)s, %(release_id)s, %(users)s, %(expected_leavers)s,"
            "  %(value_at_risk)s, %(campaign_id)s)"
            " ON CONFLICT (as_of) DO UPDATE SET known_at = excluded.known_at,"
            " release_id = excluded.release_id, users = excluded.users,"
            " expected_leavers = excluded.expected_leavers, value_at_risk = excluded.value_at_risk,"
            " campaign_id = excluded.campaign_id, recorded_at = clock_timestamp()",
            {
                "as_of": month.as_of,
                "known_at": published,
                "campaign_id": campaign_id,
                "release_id": release.release_id if release else None,
                "users": rows.num_rows,
                "expected_leavers": float(probabilities.sum()),
                "value_at_risk": float(probabilities @ rows["customer_value"].to_numpy()),
            },
        )
        connection.execute("DELETE FROM action_lists WHERE as_of = %s", [month.as_of])
        connection.execute("DELETE FROM churn_scores WHERE as_of = %s", [month.as_of])
        copy_in(connection, sql.Identifier("churn_scores"), rows)
        refresh_statistics(connection, sql.Identifier("churn_scores"))


def _hold_campaign(connection: psycopg.Connection, month: Month, campaign_id: int | None) -> None:
    """Make sure that a month is kept under the campaign that holds for it, until the transaction ends.

    Raises:
        ChurnError: another was saved since the users were ranked. It passes: scored again, they are
            ranked by it.
    """
    lock(connection, LOCK)
    saved = campaign_of_month(connection, month)
    if (saved.campaign_id if saved else None) != campaign_id:
        raise ChurnError(
            "a campaign was saved while the users were scored",
            where=str(month),
            remedy="score the month again",
        ) from psycopg.errors.SerializationFailure("the campaign is another one by now")


def _write(rows: pa.Table, path: Path) -> None:
    with replacing(path) as new:
        pq.write_table(rows, new, compression="zstd")

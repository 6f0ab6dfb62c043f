"""Train/serve parity: served vectors compared with the offline rows that models are trained on."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from churn.contract.in_force import DEFAULT_SERVICE, VIEWS
from churn.database import connect
from churn.database.online_tables import PRESENT
from churn.lake.files import read_current
from churn.months import Month
from churn.verification.differences import Differences, compare
from feature_repo.store import open_store

SAMPLE = 1_000
AS_OF = "as_of"
_ONLINE_STORE = "feature_repo.online_store.WideRowOnlineStore"


def parity(month: Month, sample: int = SAMPLE, table: str = PRESENT) -> Differences:
    """Compare the online vectors of a month's users with the lake, value by value.

    Users who are online with a newer month by now are left out; they are compared in that month.

    Args:
        month: a published month, or one about to be.
        sample: how many users to compare; a hash chooses the same ones each time.
        table: the table that is served, or will be once the publication is switched in.
    """
    offline = {view.name: read_current(view, month) for view in VIEWS}
    everybody = sorted({user for rows in offline.values() for user in rows["user_id"].to_pylist()})
    with connect() as connection:
        users = _due(connection, table, everybody, month.as_of, sample)
    expected = {
        user: dict.fromkeys(DEFAULT_SERVICE.feature_names) | {AS_OF: month.as_of} for user in users
    }
    for view in VIEWS:
        rows = offline[view.name]
        chosen = rows.filter(pc.is_in(rows["user_id"], pa.array(users, pa.string())))
        names = [feature.name for feature in view.features]
        for row in chosen.select(["user_id", *names]).to_pylist():
            expected[row.pop("user_id")].update(row)
    online = served(users, table)
    return compare(expected, online, [AS_OF, *DEFAULT_SERVICE.feature_names], ("offline", "online"))


def served(users: Sequence[str], table: str = PRESENT) -> dict[str, dict[str, Any]]:
    """Return as_of and features of users from Feast's online store; unknown users are left out."""
    if not users:
        return {}
    store = open_store(online_store={"type": _ONLINE_STORE, "table": table})
    try:
        answer = store.get_online_features(
            store.get_feature_service(DEFAULT_SERVICE.name), {"user_id": list(users)}
        ).to_dict(include_event_timestamps=True)
    finally:
        asyncio.run(store.close())
    names = DEFAULT_SERVICE.feature_names
    vectors = {}
    for at, user in enumerate(users):
        seconds = max(answer[f"{name}__ts"][at] for name in names)
        if seconds:
            values = {name: answer[name][at] for name in names}
            vectors[user] = values | {AS_OF: _last_instant(seconds)}
    return vectors


def _last_instant(seconds: int) -> dt.datetime:
    # Of the microsecond before midnight, Feast keeps whole seconds only.
    return dt.datetime.fromtimestamp(seconds + 1, dt.UTC) - dt.timedelta(microseconds=1)


def _due(
    connection: psycopg.Connection,
    table: str,
    users: list[str],
    as_of: dt.datetime,
    sample: int,
) -> list[str]:
    """Return a sample of those users who are not online with a newer month."""
    query = sql.SQL(
        "SELECT u FROM unnest(%s::text[]) AS u LEFT JOIN {} AS o ON o.user_id = u"
        " WHERE o.user_id IS NULL OR o.as_of <= %s ORDER BY md5(u) LIMIT %s"
    ).format(sql.Identifier("online", table))
    return [row[0] for row in connection.execute(query, [users, as_of, sample]).fetchall()]

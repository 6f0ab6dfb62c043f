"""The smoke test: the running features API, asked as any client would, compared with what was delivered."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from psycopg import sql

from churn.contract.in_force import DEFAULT_SERVICE, USERS
from churn.contract.structure import Feature, Table
from churn.database import connect
from churn.months import Month
from churn.online.read import newest_publication
from churn.retry import repeat
from churn.settings import get_settings

if TYPE_CHECKING:
    import httpx


UNKNOWN_USER = "0000-NOBODY"
# An API that is live may still be opening its store, which takes long on a busy machine.
OPENING_SECONDS = 60.0


@dataclass
class SmokeResult:
    """The result of the smoke test."""

    url: str
    as_of: str = ""
    users_compared: int = 0
    values_compared: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether there was no problem, and something was really compared."""
        return not self.problems and self.values_compared > 0

    @property
    def summary(self) -> str:
        """The result in one line, for the UI."""
        if self.problems:
            return self.problems[0]
        return (
            f"{self.users_compared} users, {self.values_compared} values equal, as of {self.as_of}"
        )


def smoke_test(sample: int) -> SmokeResult:
    """Ask /health, then /features for `sample` users of the newest published month and for an unknown user.

    Args:
        sample: how many users to ask for, evenly spread over the sorted user ids.
    """
    import httpx

    settings = get_settings()
    result = SmokeResult(settings.smoke_url)
    with connect() as connection:
        newest = newest_publication(connection)
    if newest is None:
        result.problems.append("no month has been published yet; materialize online_features")
        return result
    month = Month.of_as_of(newest)
    result.as_of = str(month.as_of_date)
    try:
        with httpx.Client(
            base_url=settings.smoke_url, headers=settings.api_headers, timeout=10
        ) as api:
            _ask_health(api, result)
            _compare(api, month, sample, result)
            _ask_unknown(api, result)
    except httpx.HTTPError as error:
        result.problems.append(
            f"the API at {settings.smoke_url} does not answer ({type(error).__name__});"
            " start it with `churn up`, or `docker compose up api` on a server"
        )
    return result


def _ask_health(api: "httpx.Client", result: SmokeResult) -> None:
    """Ask /health, and wait for an API that is still opening its feature store."""
    deadline = time.monotonic() + OPENING_SECONDS
    while True:
        answer = repeat(api.get, "/health")
        if answer.status_code != HTTPStatus.OK:
            result.problems.append(
                f"GET /health answered {answer.status_code}: {answer.text[:200]}"
            )
            return
        store = answer.json().get("store", {})
        if store.get("ready"):
            return
        if time.monotonic() > deadline:
            result.problems.append(
                f"GET /health: the feature store is not ready: {store.get('problem')}"
            )
            return
        time.sleep(0.2)


def _ask_unknown(api: "httpx.Client", result: SmokeResult) -> None:
    answer = repeat(api.get, f"/features/{UNKNOWN_USER}")
    if answer.status_code != HTTPStatus.NOT_FOUND:
        result.problems.append(
            f"GET /features/{UNKNOWN_USER} answered {answer.status_code}, not 404"
        )


def _compare(api: "httpx.Client", month: Month, sample: int, result: SmokeResult) -> None:
    for user_id, expected in delivered_rows(month, sample).items():
        # An id may contain / ? # %.
        path = f"/features/{quote(user_id, safe='')}"
        answer = repeat(api.get, path)
        if answer.status_code != HTTPStatus.OK:
            result.problems.append(f"GET {path} answered {answer.status_code}")
            continue
        body = answer.json()
        result.users_compared += 1
        if not str(body.get("as_of", "")).startswith(result.as_of):
            result.problems.append(f"{user_id}: as_of {body.get('as_of')}, not {result.as_of}")
        features = body.get("features", {})
        for name, value in expected.items():
            result.values_compared += 1
            if name not in features or features[name] != value:
                served = features.get(name, "missing")
                result.problems.append(f"{user_id}: {name} is {served} online, {value} delivered")


def delivered_rows(month: Month, sample: int) -> dict[str, dict[str, Any]]:
    """Return the newest delivered rows of a sample of the month's users, as JSON should show them.

    They come from the snapshots, where each value still is what its file said, so a column that loses digits
    on its way through the lake or the online table is noticed. Float32 features keep 24 bits only.
    """
    with connect() as connection:
        users = [row[0] for row in connection.execute(_newest(USERS, []), [month.as_of])]
        chosen = users[:: max(1, len(users) // sample)][:sample]
        rows: dict[str, dict[str, Any]] = {user: {} for user in chosen}
        for view in DEFAULT_SERVICE.views:
            query = _newest(view.table, [feature.name for feature in view.features])
            delivered = connection.execute(query, [month.as_of, chosen])
            of_view = {user: values for user, *values in delivered}
            for user, row in rows.items():
                values = of_view.get(user, [None] * len(view.features))
                for feature, value in zip(view.features, values, strict=True):
                    row[feature.name] = _as_json(feature, value)
    return rows


def _newest(table: Table, columns: Sequence[str]) -> sql.Composed:
    """Return the query for a month's newest version: its user_ids in order, or columns of some users."""
    names = sql.SQL(", ").join(map(sql.Identifier, ["user_id", *columns]))
    which = sql.SQL("AND user_id = ANY(%s)" if columns else "ORDER BY user_id")
    return sql.SQL("SELECT {} FROM {} WHERE as_of = %s {}").format(
        names, sql.Identifier(f"{table.snapshot}_current"), which
    )


def _as_json(feature: Feature, value: Any) -> Any:
    """Return a delivered value as JSON reads it back: a float32 by its shortest text."""
    if feature.dtype != "Float32" or value is None:
        return value
    import numpy as np

    return float(str(np.float32(value)))

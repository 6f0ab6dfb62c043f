"""The smoke test: the running features API against the offline store, as any client sees it."""

import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from churn.contract.features import DEFAULT_SERVICE, View
from churn.database import connect
from churn.lake import lake_file, read_current
from churn.months import Month
from churn.online_reads import newest_publication
from churn.retry import repeat
from churn.settings import get_settings

if TYPE_CHECKING:
    import httpx

UNKNOWN_USER = "0000-NOBODY"
OPENING_SECONDS = 60.0  # an API that is live may still open its store, on a busy machine for long


@dataclass
class SmokeResult:
    """What the smoke test saw; it passed where there are no problems."""

    url: str
    as_of: str = ""
    users_compared: int = 0
    values_compared: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """No problem, and something was really compared."""
        return not self.problems and self.values_compared > 0

    @property
    def summary(self) -> str:
        """One line for the UI."""
        if self.problems:
            return self.problems[0]
        return (
            f"{self.users_compared} users, {self.values_compared} values equal, as of {self.as_of}"
        )


def smoke_test(sample: int) -> SmokeResult:
    """Ask /health, /features of `sample` users of the newest published month, and an unknown user.

    Args:
        sample: how many users, evenly spread over the sorted user ids.
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
    absent = [v.name for v in DEFAULT_SERVICE.views if not lake_file(v, month).exists()]
    if absent:
        result.problems.append(
            f"the lake has no file of {month} for {', '.join(absent)};"
            f" materialize {'it' if len(absent) == 1 else 'them'} for {month.partition_key}"
        )
        return result
    try:
        with httpx.Client(base_url=settings.smoke_url, timeout=10) as api:
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
    for user_id, expected in offline_rows(month, sample).items():
        path = f"/features/{quote(user_id, safe='')}"  # an id may hold / ? # %
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
                found = features.get(name, "missing")
                result.problems.append(f"{user_id}: {name} is {found} online, {value} offline")


def offline_rows(month: Month, sample: int) -> dict[str, dict[str, Any]]:
    """Return the newest offline rows of a spread of the month's users, as JSON would show them."""
    rows: dict[str, dict[str, Any]] = {}
    for view in DEFAULT_SERVICE.views:
        newest = _newest_rows(month, view)
        if not rows:
            users = sorted(newest)
            rows = {user: {} for user in users[:: max(1, len(users) // sample)][:sample]}
        for user, values in rows.items():
            values.update(newest.get(user, {}))
    return rows


def _newest_rows(month: Month, view: View) -> dict[str, dict[str, Any]]:
    table = read_current(view, month)
    floats = {f.name for f in view.features if f.dtype == "Float32"}
    columns = {f.name: _as_json(table[f.name], f.name in floats) for f in view.features}
    return {
        user_id: {name: values[index] for name, values in columns.items()}
        for index, user_id in enumerate(table["user_id"].to_pylist())
    }


def _as_json(column: pa.ChunkedArray, is_float: bool) -> list[Any]:
    """Return values as JSON reads them back: a float32 by its shortest text."""
    values: list[Any] = column.to_pylist()
    if not is_float:
        return values
    return [None if value is None else float(str(np.float32(value))) for value in values]

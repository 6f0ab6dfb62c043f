"""Proof that each service runs: commands that anybody can repeat, and what they answered."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from churn.database import connect
from churn.settings import get_settings

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True)
class Proof:
    """One command that anybody can repeat, and what it answered."""

    command: str
    answer: str


def proofs(user_id: str) -> Iterator[Proof]:
    """Ask Postgres, MLflow and the API as anybody may."""
    import httpx

    settings = get_settings()
    statement = "SELECT max(as_of)::date AS newest_published FROM online.publications"
    with connect() as connection:
        row = connection.execute(statement).fetchone()
    yield Proof(f'psql -Atc "{statement}"', str(row[0]) if row else "")
    api, mlflow = settings.smoke_url, settings.mlflow_tracking_uri
    with httpx.Client(timeout=10) as client:
        for url in (f"{mlflow}/health", f"{api}/health", f"{api}/features/{user_id}"):
            yield Proof(f"curl -s {url}", _ask(client, "GET", url))
        url, body = f"{api}/predict", {"user_id": user_id}
        said = f"-H 'content-type: application/json' -d '{json.dumps(body)}'"
        yield Proof(f"curl -s -X POST {url} {said}", _ask(client, "POST", url, body))


def _ask(client: "httpx.Client", method: str, url: str, body: dict[str, Any] | None = None) -> str:
    import httpx

    try:
        return client.request(method, url, json=body).text.strip()
    except httpx.HTTPError as error:
        return f"(no answer: {type(error).__name__})"

"""Proof that each service runs: commands that anybody can repeat, and what they answered."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from churn.database import connect
from churn.settings import get_settings


@dataclass(frozen=True)
class Proof:
    """One command that anybody can repeat, and what it answered."""

    command: str
    answer: str


def proofs(user_id: str) -> Iterator[Proof]:
    """Ask Postgres, MLflow and the API as anybody may."""
    settings = get_settings()
    statement = "SELECT max(as_of)::date AS newest_published FROM online.publications"
    with connect() as connection:
        row = connection.execute(statement).fetchone()
    yield Proof(f'psql -Atc "{statement}"', str(row[0]) if row else "")
    api, mlflow = settings.smoke_url, settings.mlflow_tracking_uri
    yield _get(f"{mlflow}/health")
    yield _get(f"{api}/health")
    yield _get(f"{api}/features/{user_id}")
    yield _ask(
        f"curl -s -X POST {api}/predict -H 'content-type: application/json'"
        f" -d '{json.dumps({'user_id': user_id})}'",
        "POST",
        f"{api}/predict",
        {"user_id": user_id},
    )


def _get(url: str) -> Proof:
    return _ask(f"curl -s {url}", "GET", url)


def _ask(command: str, method: str, url: str, body: dict[str, Any] | None = None) -> Proof:
    try:
        answer = httpx.request(method, url, json=body, timeout=10)
    except httpx.HTTPError as error:
        return Proof(command, f"(no answer: {type(error).__name__})")
    return Proof(command, answer.text.strip())

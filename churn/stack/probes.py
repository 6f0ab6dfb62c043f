"""The probes of the parts: each returns what is wrong with a part, or an empty text if it is healthy."""

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

# A part that is gone refuses at once; only one that hangs, or a busy machine, takes this long.
_TIMEOUT_SECONDS = 10.0


@functools.cache
def _client() -> "httpx.Client":
    import httpx

    # No proxy of the environment may come between us and the loopback.
    return httpx.Client(timeout=_TIMEOUT_SECONDS, trust_env=False)


def http(url: str) -> str:
    """Ask a health page, which must answer with status 200."""
    import httpx

    try:
        answer = _client().get(url)
    except httpx.HTTPError as error:
        return f"{url} does not answer ({error})"
    return "" if answer.status_code == 200 else f"{url} answers {answer.status_code}"


def ledger_problem(url: str) -> str:
    """Ask the API's health page whether it serves something else than the promotion ledger says."""
    import httpx

    try:
        model = _client().get(url).json()["model"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        # That it does not answer is reported by another probe.
        return ""
    return model.get("ledger_problem") or ""


def mlflow(url: str) -> str:
    """Ask MLflow's health page, which needs no database, and then for something from its database."""
    if problem := http(f"{url}/health"):
        return problem
    problem = http(f"{url}/api/2.0/mlflow/experiments/search?max_results=1")
    return f"it does not reach its database: {problem}" if problem else ""


def postgres(environment: Mapping[str, str]) -> str:
    """Ask Postgres for a connection."""
    import psycopg

    try:
        psycopg.connect(
            host=environment["POSTGRES_HOST"],
            port=environment["POSTGRES_PORT"],
            user=environment["POSTGRES_USER"],
            password=environment["POSTGRES_PASSWORD"],
            sslmode=environment["POSTGRES_SSLMODE"],
            dbname="postgres",
            connect_timeout=int(_TIMEOUT_SECONDS),
        ).close()
    except psycopg.OperationalError as error:
        return str(error).strip()
    return ""


def code_server(port: int) -> str:
    """Ask Dagster's code server by the standard gRPC health protocol."""
    import grpc  # type: ignore[import-untyped]
    from grpc_health.v1 import health_pb2 as asked  # type: ignore[import-untyped]
    from grpc_health.v1.health_pb2_grpc import HealthStub  # type: ignore[import-untyped]

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer = HealthStub(channel).Check(
                asked.HealthCheckRequest(service="DagsterApi"), timeout=_TIMEOUT_SECONDS
            )
        except grpc.RpcError as error:
            return f"the code server does not answer ({error.code().name.lower()})"
    return "" if answer.status == asked.HealthCheckResponse.SERVING else "not serving"


def webserver(port: int) -> str:
    """Ask Dagster's webserver whether it has loaded our definitions."""
    query = (
        "{workspaceOrError {... on Workspace {locationEntries {name locationOrLoadError"
        " {__typename ... on PythonError {message}}}}}}"
    )
    data, problem = _graphql(port, query)
    if problem:
        return problem
    entries = data["workspaceOrError"].get("locationEntries", [])
    loaded = [entry["locationOrLoadError"] or {} for entry in entries]
    errors = [
        entry.get("message", "still loading").strip().splitlines()[0]
        for entry in loaded
        if entry.get("__typename") != "RepositoryLocation"
    ]
    return "; ".join(errors) if loaded else "no code location is loaded"


def daemon(port: int, since: float) -> str:
    """Ask the webserver for the daemon's heartbeats; those before `since` are an earlier daemon's."""
    query = (
        "{instance {daemonHealth {allDaemonStatuses"
        " {daemonType required healthy lastHeartbeatTime lastHeartbeatErrors {message}}}}}"
    )
    data, problem = _graphql(port, query)
    if problem:
        return problem
    ill = [
        status["daemonType"].lower()
        for status in data["instance"]["daemonHealth"]["allDaemonStatuses"]
        if status["required"]
        and not (status["healthy"] and (status["lastHeartbeatTime"] or 0) >= since)
    ]
    return f"no heartbeat of {', '.join(ill)}" if ill else ""


def _graphql(port: int, query: str) -> tuple[dict[str, Any], str]:
    import httpx

    url = f"http://127.0.0.1:{port}/graphql"
    try:
        answer = _client().post(url, json={"query": query})
    except httpx.HTTPError as error:
        return {}, f"{url} does not answer ({error})"
    data = answer.json().get("data") if answer.status_code == 200 else None
    return (data, "") if data is not None else ({}, f"{url} answers {answer.status_code}")

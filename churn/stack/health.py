"""The health of each part of the stack, as `churn status` shows it."""

import time
from dataclasses import dataclass
from typing import Literal

from churn.settings import home_folder
from churn.stack import probes
from churn.stack.parts import METRICS, PARTS
from churn.stack.processes import LOOPBACK, Part, living
from churn.stack.supervisor import Stack

SETTLING_SECONDS = 60.0
Health = Literal["healthy", "unhealthy", "stopped"]


@dataclass(frozen=True)
class PartHealth:
    """One part: whether it is healthy, and where to find it."""

    name: str
    health: Health
    problem: str = ""
    pid: int | None = None
    port: int | None = None
    url: str = ""
    log: str = ""


def status() -> list[PartHealth]:
    """Probe every part, including a server that is not ours (POSTGRES_HOST, MLFLOW_TRACKING_URI)."""
    home = home_folder()
    if not living(home):
        return [PartHealth(name, "stopped") for name in PARTS]
    stack = Stack(home)
    parts = {part.name: part for part in stack.parts}
    return [
        _of_part(parts[name], stack) if name in parts else _of_other(name, stack.environment)
        for name in (*PARTS, *({METRICS} & parts.keys()))
    ]


def status_once_settled() -> list[PartHealth]:
    """Probe every part until all are healthy, for at most SETTLING_SECONDS.

    What depends on a part that was just restarted needs a moment to notice: Dagster's webserver reloads the
    definitions, and MLflow reconnects.
    """
    deadline = time.monotonic() + SETTLING_SECONDS
    parts = status()
    while any(part.health == "unhealthy" for part in parts) and time.monotonic() < deadline:
        time.sleep(0.5)
        parts = status()
    return parts


def _of_part(part: Part, stack: Stack) -> PartHealth:
    recorded = stack.record.parts.get(part.name)
    if part.name not in stack.alive or part.probe is None:
        problem = "it has died; `churn up` starts it again" if part.name in stack.fallen else ""
        return PartHealth(part.name, "stopped", problem, log=str(part.log))
    if recorded is None or recorded.abandoned:
        problem = "its command was killed; `churn down` stops it"
    else:
        problem = part.probe()
        if part.name == "api" and not problem:
            problem = probes.ledger_problem(f"http://{LOOPBACK}:{part.port}/health")
    return PartHealth(
        part.name,
        "unhealthy" if problem else "healthy",
        problem,
        pid=recorded.pid if recorded else None,
        port=part.port,
        url=part.url,
        log=str(part.log),
    )


def _of_other(name: str, environment: dict[str, str]) -> PartHealth:
    if name == "postgres":
        url = f"{environment['POSTGRES_HOST']}:{environment['POSTGRES_PORT']}"
        problem = probes.postgres(environment)
    else:
        url = environment["MLFLOW_TRACKING_URI"]
        problem = probes.http(f"{url.rstrip('/')}/health")
    return PartHealth(name, "unhealthy" if problem else "healthy", problem, url=url)

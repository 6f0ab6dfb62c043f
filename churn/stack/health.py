"""The health of each part of the stack, as `churn status` shows it."""

import time
from dataclasses import dataclass
from typing import Literal

from churn.settings import home_folder
from churn.stack import probes
from churn.stack.parts import METRICS, PARTS
from churn.stack.processes import LOOPBACK, living, log_of
from churn.stack.supervisor import Stack

_SETTLING_SECONDS = 60.0


@dataclass(frozen=True)
class PartHealth:
    """One part: whether it is healthy, and where to find it."""

    name: str
    health: Literal["healthy", "unhealthy", "stopped"]
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
    abandoned = stack.abandoned()
    return [
        _of_part(name, stack, abandoned) if name in stack.parts else _of_other(name, stack)
        for name in (*PARTS, *({METRICS} & stack.parts.keys()))
    ]


def status_once_settled() -> list[PartHealth]:
    """Probe every part until all are healthy, for at most a minute.

    What depends on a part that was just restarted needs a moment to notice: Dagster's webserver reloads the
    definitions, and MLflow reconnects.
    """
    deadline = time.monotonic() + _SETTLING_SECONDS
    parts = status()
    while any(part.health == "unhealthy" for part in parts) and time.monotonic() < deadline:
        time.sleep(0.5)
        parts = status()
    return parts


def _of_part(name: str, stack: Stack, abandoned: list[str]) -> PartHealth:
    part, recorded, log = stack.parts[name], stack.record.parts.get(name), log_of(stack.home, name)
    if name not in stack.alive or part.probe is None:
        problem = "it has died; `churn up` starts it again" if name in stack.fallen else ""
        return PartHealth(name, "stopped", problem, log=str(log))
    if recorded is None or name in abandoned:
        problem = "its command was killed; `churn down` stops it"
    else:
        problem = part.probe()
        if name == "api" and not problem:
            problem = probes.ledger_problem(f"http://{LOOPBACK}:{part.port}/health")
    return PartHealth(
        name,
        "unhealthy" if problem else "healthy",
        problem,
        pid=recorded.pid if recorded else None,
        port=part.port,
        url=part.url,
        log=str(log),
    )


def _of_other(name: str, stack: Stack) -> PartHealth:
    told = stack.environment
    if name == "postgres":
        url = f"{told['POSTGRES_HOST']}:{told['POSTGRES_PORT']}"
        problem = probes.postgres(told)
    else:
        url = told["MLFLOW_TRACKING_URI"]
        problem = probes.http(f"{url.rstrip('/')}/health")
    return PartHealth(name, "unhealthy" if problem else "healthy", problem, url=url)

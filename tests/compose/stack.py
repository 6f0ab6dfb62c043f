"""Bringing services up in the order that their `depends_on` says, as `docker compose up --wait` does."""

import time
from collections.abc import Iterable
from pathlib import Path
from subprocess import Popen
from typing import Any

from tests.compose.containers import Container, Failed, World
from tests.compose.postgres import PostgresContainer


class Stack:
    """All services of one resolved file, and when each of them became healthy or was done."""

    def __init__(self, config: dict[str, Any], folder: Path, wheel: Path) -> None:
        self.world = World(config, folder, wheel)
        self.containers: dict[str, Container] = {
            name: (PostgresContainer if name == "postgres" else Container)(self.world, name)
            for name in self.world.services
        }
        self.settled: dict[str, float] = {}
        self.before: dict[str, bool] = {}  # health when nothing ran yet

    def __getitem__(self, name: str) -> Container:
        return self.containers[name]

    def health(self) -> dict[str, bool]:
        """Run every health check once, all at the same time, and say which ones pass."""
        watched = [one for one in self.containers.values() if "healthcheck" in one.spec]
        probes = [(one.name, one.probe()) for one in watched]
        return {name: probe.wait(timeout=600) == 0 for name, probe in probes}

    def up(self, names: Iterable[str] | None = None, *, patience: float = 1800) -> None:
        """Start services and return when each is healthy, or done where it is one-shot.

        Args:
            names: which ones; all if not given. What they depend on must be up or among them.
            patience: seconds until the first failure is raised.
        """
        began = time.monotonic()
        waiting = [self.containers[name] for name in names or self.containers]
        running: list[Container] = []
        probes: dict[str, Popen[bytes]] = {}
        while waiting or running:
            for one in [one for one in waiting if self._may_start(one)]:
                one.start()
                waiting.remove(one)
                running.append(one)
            for one in list(running):
                if self._settles(one, probes):
                    self.settled[one.name] = round(time.monotonic() - began, 1)
                    running.remove(one)
            if time.monotonic() - began > patience:
                late = [*running, *waiting]
                tails = "\n".join(f"== {one.name}\n{one.tail()}" for one in running)
                raise Failed(
                    f"not healthy in {patience:.0f} s: {[one.name for one in late]}\n{tails}"
                )
            time.sleep(0.3)

    def _may_start(self, one: Container) -> bool:
        return all(name in self.settled for name in one.spec.get("depends_on", {}))

    def _settles(self, one: Container, probes: dict[str, Popen[bytes]]) -> bool:
        """Look once whether a started service is ready for those that depend on it."""
        assert one.process is not None
        ended = one.process.poll()
        if one.one_shot and ended == 0:
            return True
        if ended is not None:
            raise Failed(f"{one.name} ended with status {ended}:\n{one.tail()}")
        if one.one_shot:
            return False
        if one.name not in probes:
            probes[one.name] = one.probe()
        result = probes[one.name].poll()
        if result:
            del probes[one.name]
        return result == 0

    def kill(self) -> None:
        """Leave no process behind, whatever happened."""
        for one in self.containers.values():
            one.kill()

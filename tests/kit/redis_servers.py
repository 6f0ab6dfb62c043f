"""Real Redis servers, one alone or a cluster, of Debian's package `redis-server`; nothing of them stays."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import redis

from churn.settings import get_settings
from churn.stack.processes import free_port
from tests.kit.waiting import until


def redis_program(name: str = "redis-server") -> str:
    """Return the program's path; without it the test is skipped."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed: apt-get install redis-server")
    return path


def _free_ports(count: int) -> list[int]:
    """Return so many free ports, no two the same."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return list(ports)


class RedisServers:
    """Servers on free ports of the loopback; `url` names them all."""

    def __init__(self, folder: Path, count: int, *, clustered: bool) -> None:
        """Start them, and wait until each answers."""
        # Servers of a cluster talk to one another on ports of their own.
        ports = _free_ports(2 * count)
        self.ports, talking = ports[:count], dict(zip(ports[:count], ports[count:], strict=True))
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        for port in self.ports:
            options = [
                "--port",
                str(port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
                str(folder),
            ]
            if clustered:
                options += ["--cluster-enabled", "yes", "--cluster-port", str(talking[port])]
                options += ["--cluster-config-file", str(folder / f"{port}.conf")]
                options += ["--cluster-node-timeout", "2000"]
            with (folder / f"{port}.log").open("wb") as log:
                self.processes[port] = subprocess.Popen(
                    [redis_program(), *options], stdout=log, stderr=log
                )
        for port in self.ports:
            until(lambda port=port: self._answers(port))
        self.url = ",".join(f"redis://127.0.0.1:{port}/0" for port in self.ports)

    @staticmethod
    def _answers(port: int) -> bool:
        with (
            contextlib.suppress(redis.exceptions.ConnectionError),
            redis.Redis(port=port) as client,
        ):
            return bool(client.ping())
        return False

    def form_cluster(self, replicas: int = 0) -> None:
        """Make one cluster of them, and wait until every server knows all of it."""
        addresses = [f"127.0.0.1:{port}" for port in self.ports]
        command = [redis_program("redis-cli"), "--cluster", "create", *addresses]
        command += ["--cluster-replicas", str(replicas), "--cluster-yes"]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        until(lambda: all(self._is_whole(port) for port in self.ports))

    def _is_whole(self, port: int) -> bool:
        """Return whether a server knows all of the cluster, and has its primary's data if it is a replica."""
        with redis.Redis(port=port, decode_responses=True) as client:
            state = client.cluster("INFO")
            nodes = client.cluster("NODES")
            replication = client.info("replication")
        is_fed = replication["role"] == "master" or replication["master_link_status"] == "up"
        return state["cluster_state"] == "ok" and len(nodes) == len(self.ports) and is_fed

    def kill(self, port: int) -> None:
        """End a server as a power cut would."""
        self.processes[port].send_signal(signal.SIGKILL)
        self.processes[port].wait(60)

    @contextlib.contextmanager
    def held_up(self, ports: Iterable[int]) -> Iterator[None]:
        """Let servers do nothing for a while, with their connections open."""
        held = [self.processes[port] for port in ports]
        for process in held:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in held:
                process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End all of them."""
        for process in self.processes.values():
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
            process.wait(60)


@contextlib.contextmanager
def one_redis(folder: Path) -> Iterator[RedisServers]:
    """Run one server."""
    redis_program()
    servers = RedisServers(folder, 1, clustered=False)
    try:
        yield servers
    finally:
        servers.stop()


@contextlib.contextmanager
def redis_cluster(folder: Path, primaries: int = 3, replicas: int = 0) -> Iterator[RedisServers]:
    """Run a cluster of so many primaries, each with so many replicas."""
    redis_program()
    servers = RedisServers(folder, primaries * (1 + replicas), clustered=True)
    try:
        servers.form_cluster(replicas)
        yield servers
    finally:
        servers.stop()


def read_from_redis(monkeypatch: pytest.MonkeyPatch, servers: RedisServers) -> None:
    """Let publications and readers of this process use these servers, which are emptied first."""
    for port in servers.ports:
        with redis.Redis(port=port) as client:
            if client.info("replication")["role"] == "master":
                client.flushall()
    monkeypatch.setenv("CHURN_ONLINE", "redis")
    monkeypatch.setenv("CHURN_REDIS_URL", servers.url)
    get_settings.cache_clear()

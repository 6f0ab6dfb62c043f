"""Services of docker-compose.yml as local processes, translating only what containers translate.

Host names become the loopback, a container's ports free ports, its folders folders of its own. The
rest (command, environment, health check, order) is the file's, so that what is wrong there fails here.
They are brought up in the order that their `depends_on` says, as `docker compose up --wait` does.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from subprocess import Popen
from typing import Any

from churn.stack.postgres import become_unprivileged, program
from churn.stack.processes import free_port
from tests.kit.compose_files import BIN, Stage, stages

_PROGRAMS = program("postgres").parent
_VENV = "/opt/venv/bin"


class Failed(AssertionError):
    """A service ended, or did not become healthy."""


class World:
    """What all containers of one project share: the host's ports and the volumes."""

    def __init__(self, config: dict[str, Any], folder: Path, wheel: Path) -> None:
        self.services: dict[str, Any] = config["services"]
        self.folder, self.wheel = folder, wheel
        self.stages = stages()
        self._ports: dict[tuple[str, int], int] = {}

    def port(self, service: str, number: int | str) -> int:
        return self._ports.setdefault((service, int(number)), free_port())


class Container:
    """One service: its process, its health check."""

    def __init__(self, world: World, name: str, spec: dict[str, Any] | None = None) -> None:
        self.world, self.name = world, name
        self.spec = spec or world.services[name]
        self.root = world.folder / "containers" / (f"{name}-{id(spec)}" if spec else name)
        self.root.mkdir(parents=True)
        self.log = self.root.with_suffix(".log")
        target = self.spec.get("build", {}).get("target")
        self.stage = world.stages[target] if target else Stage("", {"PATH": "/usr/bin:/bin"})
        self.process: subprocess.Popen[bytes] | None = None
        self._folders = self._make_folders()
        self.image_files = self.files()

    def _make_folders(self) -> list[str]:
        places = [copied[1] for copied in self.stage.copied] + list(self.spec.get("tmpfs", []))
        mounts = self.spec.get("volumes", [])
        covered = {mount["target"] for mount in mounts}
        for place in [*places, self.stage.workdir, *(set(self.stage.folders) - covered)]:
            self._inside(place).mkdir(parents=True, exist_ok=True)
        for source, place in self.stage.copied:
            if source.is_file():
                (self._inside(place) / source.name).write_bytes(source.read_bytes())
        for mount in mounts:
            named = mount["type"] == "volume"
            volume = Path(self.world.folder, "volumes" if named else "", mount["source"])
            if not volume.is_file():
                volume.mkdir(parents=True, exist_ok=True)
            link = self._inside(mount["target"])
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(volume)
        return [*places, self.stage.workdir, *self.stage.folders, *covered]

    def _inside(self, path: str) -> Path:
        return self.root / path.strip("/")

    def files(self) -> set[Path]:
        """Return what lies in the container outside of its volumes and of its tmpfs."""
        passing = [self._inside(place) for place in self.spec.get("tmpfs", [])]
        return {
            path
            for path in self.root.rglob("*")
            if not any(path.is_relative_to(folder) for folder in passing)
        }

    def reaches(self, host: str) -> bool:
        """Say whether a host is another service, on a network that both are on."""
        other = self.world.services.get(host)
        return other is not None and bool(set(self.spec["networks"]) & set(other["networks"]))

    def translate(self, text: str) -> str:
        """Translate addresses and folders inside one text."""

        def address(match: re.Match[str]) -> str:
            before, host, number = match.groups()
            if host in ("127.0.0.1", "localhost"):
                return f"{before}127.0.0.1:{self.world.port(self.name, number)}"
            if not self.reaches(host):
                return match[0]
            return f"{before}127.0.0.1:{self.world.port(host, number)}"

        text = re.sub(r"(//|@)([\w.-]+):(\d+)", address, text)
        text = re.sub(r"(--port[= ])(\d+)", self._own_port, text)
        folders = "|".join(sorted(set(self._folders), key=len, reverse=True))
        inside = re.compile(rf"(?<![\w/.])(?:{folders})(?![\w.-])")
        # What lies in this environment is no folder of a container, even if it lies under /tmp.
        pieces = [
            inside.sub(lambda match: str(self._inside(match[0])), piece)
            for piece in text.split(sys.prefix)
        ]
        return sys.prefix.join(pieces).replace(_VENV, str(BIN))

    def _own_port(self, match: re.Match[str]) -> str:
        return f"{match[1]}{self.world.port(self.name, match[2])}"

    def command(self, words: list[str]) -> list[str]:
        """Translate a command; `--port 80` may be two words of it."""
        result: list[str] = []
        for word in words:
            after_port = bool(result) and result[-1] == "--port"
            number = self.world.port(self.name, word) if after_port and word.isdigit() else None
            result.append(str(number or self.translate("127.0.0.1" if word == "0.0.0.0" else word)))  # noqa: S104
        return result

    @property
    def environment(self) -> dict[str, str]:
        """The image's variables and the file's, and no others; one that is to be passed on may be none."""
        own = self.spec.get("environment") or {}
        given = self.stage.environment | {k: v for k, v in own.items() if v is not None}
        translated = {name: self.translate(value) for name, value in given.items()}
        if self.stage.wheel:  # what the image has installed, instead of the project's folder
            translated["PYTHONPATH"] = str(self.world.wheel)
        for name, host in given.items():
            pair = name.removesuffix("_HOST") + "_PORT"
            if name.endswith("_HOST") and pair in given and self.reaches(host):
                translated |= {name: "127.0.0.1", pair: str(self.world.port(host, given[pair]))}
        return translated

    def _run(self, words: list[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            return subprocess.Popen(
                words, env=self.environment, cwd=self._inside(self.stage.workdir), stdout=out,
                stderr=out, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def start(self) -> None:
        self.process = self._run(self.command(self.spec["command"]), self.log)

    @property
    def one_shot(self) -> bool:
        return self.spec.get("restart") == "no"

    def probe(self) -> subprocess.Popen[bytes]:
        """Start the health check's own command."""
        kind, *words = self.spec["healthcheck"]["test"]
        if kind == "CMD-SHELL":
            words = ["sh", "-c", words[0].replace("$$", "$")]
        return self._run(self.command(words), self.log.with_suffix(".health.log"))

    def healthy(self) -> bool:
        """Run the health check once, to its end."""
        return self.probe().wait(timeout=600) == 0

    def ask_to_stop(self) -> None:
        """Send the signal with which Docker stops a container."""
        assert self.process is not None
        self.process.send_signal(self.stop_signal)

    def ends(self) -> bool:
        """Say whether the service ends by itself once it is asked to."""
        assert self.process is not None
        try:
            self.process.wait(
                timeout=600
            )  # Docker gives it ten seconds; here nobody judges by the clock
        except subprocess.TimeoutExpired:
            return False
        finally:
            self.kill()
        return True

    stop_signal = signal.SIGTERM

    def kill(self) -> None:
        """End every process of the container, as the end of its first process does."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return
            self.process.wait()

    def tail(self) -> str:
        """Return the end of the logs, for the message of a failure."""
        logs = (self.log, self.log.with_suffix(".health.log"))
        texts = [path.read_text(errors="replace") for path in logs if path.exists()]
        return "\n---\n".join("\n".join(text.splitlines()[-40:]) for text in texts)


class PostgresContainer(Container):
    """Does what the image's entry point does: initdb with the given arguments, then the command."""

    stop_signal = signal.SIGINT  # the image's STOPSIGNAL

    def __init__(self, world: World, name: str, spec: dict[str, Any] | None = None) -> None:
        super().__init__(world, name, spec)
        self.stage.environment["PATH"] = f"{_PROGRAMS}:/usr/bin:/bin"

    @property
    def data(self) -> Path:
        return self._inside("/var/lib/postgresql").resolve() / "18" / "docker"

    def start(self) -> None:
        given = self.environment
        secret = self.world.folder / "secret"
        secret.write_text(given["POSTGRES_PASSWORD"])
        prefix = become_unprivileged(self.data, _PROGRAMS / "initdb")
        secret.chmod(0o644)
        initdb = [*prefix, "initdb", f"--pgdata={self.data}", f"--username={given['POSTGRES_USER']}",
                f"--pwfile={secret}", "--auth-host=scram-sha-256", "--no-sync",
                *given["POSTGRES_INITDB_ARGS"].split()]  # fmt: skip
        subprocess.run(initdb, env=given, check=True, capture_output=True, cwd="/")
        create = [*prefix, "postgres", "--single", f"-D{self.data}", "postgres"]
        query = f'CREATE DATABASE "{given["POSTGRES_DB"]}"\n'
        subprocess.run(
            create, env=given, check=True, capture_output=True, cwd="/", input=query.encode()
        )
        program, *options = self.command(self.spec["command"])
        local = [f"-D{self.data}", f"-p{self.world.port(self.name, 5432)}", "-clisten_addresses=127.0.0.1",
                 "-cunix_socket_directories=", "-cfsync=off"]  # fmt: skip
        self.process = self._run([*prefix, program, *options, *local], self.log)


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

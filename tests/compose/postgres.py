"""The service `postgres`: the image's own first set-up, done with the embedded server's programs."""

import signal
import subprocess
from pathlib import Path
from typing import Any

from churn.stack.postgres import become_unprivileged, program
from tests.compose.containers import Container, World

_PROGRAMS = program("postgres").parent


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
        made = [*prefix, "initdb", f"--pgdata={self.data}", f"--username={given['POSTGRES_USER']}",
                f"--pwfile={secret}", "--auth-host=scram-sha-256", "--no-sync",
                *given["POSTGRES_INITDB_ARGS"].split()]  # fmt: skip
        subprocess.run(made, env=given, check=True, capture_output=True, cwd="/")
        create = [*prefix, "postgres", "--single", f"-D{self.data}", "postgres"]
        query = f'CREATE DATABASE "{given["POSTGRES_DB"]}"\n'
        subprocess.run(
            create, env=given, check=True, capture_output=True, cwd="/", input=query.encode()
        )
        program, *options = self.command(self.spec["command"])
        local = [f"-D{self.data}", f"-p{self.world.port(self.name, 5432)}", "-clisten_addresses=127.0.0.1",
                 "-cunix_socket_directories=", "-cfsync=off"]  # fmt: skip
        self.process = self._run([*prefix, program, *options, *local], self.log)

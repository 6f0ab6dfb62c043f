"""What a stack writes into its state folder: `stack.json`, `stack.env` and the lock."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import psutil
from filelock import FileLock, Timeout
from pydantic import BaseModel

from churn.errors import ChurnError
from churn.files import write_text
from churn.settings import OF_THE_STACK, private_home, write_env

_JSON, _LOCK = "stack.json", "lock"


class PartRecord(BaseModel):
    """One part as it was started.

    Attributes:
        pid: its first process.
        port: its port on the loopback.
        started: seconds since the epoch.
        temporary: whether the command that started it stops it when it ends, and holds the lock until then.
            Others run until `churn down`.
    """

    pid: int
    port: int | None = None
    started: float
    temporary: bool = False


class StackRecord(BaseModel):
    """`stack.json`: the parts of the stack that runs in a state folder."""

    parts: dict[str, PartRecord] = {}

    @classmethod
    def read(cls, home: Path) -> Self:
        """Read `stack.json`; without the file, there are no parts."""
        with contextlib.suppress(FileNotFoundError):
            return cls.model_validate_json((home / _JSON).read_text())
        return cls()

    def write(self, home: Path, environment: Mapping[str, str] | None = None) -> None:
        """Write both files, readable by their owner only; without parts, remove them.

        Without an environment, `stack.env` stays as it is.
        """
        if not self.parts:
            (home / _JSON).unlink(missing_ok=True)
            (home / OF_THE_STACK).unlink(missing_ok=True)
            return
        write_text(home / _JSON, self.model_dump_json(indent=2) + "\n", mode=0o600)
        if environment is not None:
            write_env(home / OF_THE_STACK, environment)


@contextlib.contextmanager
def locked(home: Path, patience: float = 0) -> Iterator[None]:
    """Hold the state folder's lock, so that nobody else starts or stops parts meanwhile.

    Who waits does so for `patience` seconds. The kernel releases the lock when its process ends, however that
    ends.

    Raises:
        ChurnError: another command holds it, or the folder belongs to another user.
    """
    # No other user can open the file, and so none can hold the lock.
    lock = FileLock(home / _LOCK, timeout=patience, mode=0o600)
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
        other = lock_holder(home)
        who = f"process {other.pid} ({' '.join(other.cmdline()[-4:])})" if other else "another one"
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
    path = str(home / _LOCK)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(file.path == path for file in process.open_files()):
                return process
    return None

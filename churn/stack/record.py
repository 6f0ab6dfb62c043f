"""What a stack writes into its state folder: `stack.json`, `stack.env` and the lock."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

import psutil
from filelock import FileLock, Timeout
from pydantic import BaseModel

from churn.errors import ChurnError
from churn.files import write_text
from churn.settings import OF_THE_STACK, private_home, write_env
from churn.stack.processes import living

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

    def is_alive(self, family: Iterable[psutil.Process]) -> bool:
        """Return whether the part lives, given the living processes that belong to it.

        It lives as long as its first process: what that one started may outlive it, but does not do its work.
        """
        return any(process.pid == self.pid for process in family)


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


def lost(home: Path) -> list[str]:
    """Return the parts that died under the command that had started them for itself.

    Nobody restarts them while it runs, since it holds the lock: it is in vain to wait for them.
    """
    own = {n: part for n, part in StackRecord.read(home).parts.items() if part.temporary}
    # Without a holder, the record is what a killed command has left.
    if not own or lock_holder(home) is None:
        return []
    families = living(home)
    return sorted(name for name, part in own.items() if not part.is_alive(families.get(name, ())))


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

"""A part between its start and the moment at which it is well, or has failed."""

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from churn.errors import ChurnError
from churn.stack.part import Part
from churn.stack.processes import spawn

_TAIL_LINES = 12


class Underway:
    """One part that was just started."""

    def __init__(self, part: Part, home: Path, environment: Mapping[str, str]) -> None:
        self.part, self.begun = part, time.monotonic()
        self._log_before = part.log.stat().st_size if part.log.exists() else 0
        self.process: subprocess.Popen[bytes] = spawn(part, home, environment)

    @property
    def seconds(self) -> float:
        """The time since the start."""
        return time.monotonic() - self.begun

    def is_well(self) -> bool:
        """Say whether the part is well now; raise a ChurnError if it ended or took too long."""
        code = self.process.poll()
        if code == 0 and self.part.probe is None:
            return True
        if code is not None:
            raise self._failure(f"ended with status {code}")
        problem = self.part.probe() if self.part.probe else "still at work"
        if problem and self.seconds > self.part.patience:
            raise self._failure(f"is not well after {self.part.patience:.0f} s: {problem}")
        return not problem

    def _failure(self, what: str) -> ChurnError:
        with self.part.log.open("rb") as log:
            log.seek(self._log_before)
            tail = log.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
        return ChurnError(
            "\n".join([f"{self.part.name} {what}", *(f"  | {line}" for line in tail)]),
            remedy=f"the whole log is {self.part.log}",
        )

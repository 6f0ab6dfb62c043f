"""How the supervisor tells what it does, to a person's screen or to nobody."""

from typing import Literal, Protocol

State = Literal["starting", "ready", "stopped"]


class Report(Protocol):
    """Called at each step of a part."""

    def __call__(self, name: str, state: State, seconds: float) -> None:
        """Take note that the part `name` is in `state`, which took `seconds`."""


def silent(name: str, state: State, seconds: float) -> None:
    """Report to nobody."""

"""Waiting for something that another thread or process does."""

import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")
# Seconds, to end what hangs: every wait ends as soon as it can.
PATIENCE = 1800.0


def until(condition: Callable[[], bool], seconds: float = 300, every: float = 0.01) -> None:
    """Wait for the condition, not longer than `seconds`; look again `every` so many of them."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(every)


def eventually(
    look: Callable[[], Seen], wanted: Callable[[Seen], bool], seconds: float = PATIENCE
) -> Seen:
    """Look until what is seen is what is wanted; return it."""
    deadline = time.monotonic() + seconds
    while not wanted(seen := look()):
        assert time.monotonic() < deadline, f"waited in vain; seen last: {seen}"
        time.sleep(0.5)
    return seen

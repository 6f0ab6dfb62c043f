"""What the supervisor knows of a part: its command, its address, its log and when it is well."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Probe = Callable[[], str]  # says what is wrong; an empty text when all is well


@dataclass(frozen=True)
class Part:
    """One process of the stack, with everything that it starts itself.

    Attributes:
        name: how people and `stack.json` call it.
        command: gives the command line, when the part is about to start.
        probe: asks the part whether it is well; None for a step that runs once and ends.
        is_done: asked before a step starts: whether it need not run at all.
        log: where its output goes.
        environment: its own variables, beyond those of the stack.
        after: the parts that must be well before it starts.
        port: where it listens, on the loopback.
        variable: the environment variable that moves the port.
        url: what a person opens in a browser.
        patience: seconds until it must be well.
    """

    name: str
    command: Callable[[], list[str]]
    log: Path
    probe: Probe | None = None
    is_done: Callable[[], bool] = lambda: False
    environment: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    port: int | None = None
    variable: str = ""
    url: str = ""
    patience: float = 300


def with_what_they_need(names: tuple[str, ...], parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return the named parts and all that they come after, in the order of `parts`."""
    after = {part.name: part.after for part in parts}
    wanted: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        wanted.add(name)
        waiting.extend(set(after.get(name, ())) - wanted)
    return tuple(part for part in parts if part.name in wanted)

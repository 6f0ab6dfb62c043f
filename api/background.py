"""A thread that does one thing again and again until it is stopped."""

import threading
from collections.abc import Callable


class Repeater:
    """Calls `action` at once and then every `interval` seconds, until it returns True or is stopped."""

    def __init__(self, name: str, action: Callable[[], bool | None], interval: float) -> None:
        self._action, self._interval = action, interval
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait until a running call has returned."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._action():
                return
            self._stopping.wait(self._interval)

"""A TCP proxy on the loopback that drops connections now and then, as a tired network does."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np

_CHUNK_BYTES = 1 << 16


@dataclass
class DroppingProxy:
    """Relays to a port; a share of what it relays is dropped together with its connection.

    Attributes:
        target: the port of the server behind it.
        share: of connections that are dropped, 0 to 1.
        per_request: drop that share of requests instead, whichever connection they come by: what HTTP
            clients keep open would otherwise never be dropped.
        dropped: how many connections were dropped so far.
    """

    target: int
    share: float
    per_request: bool
    chance: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))
    dropped: int = 0

    def serve(self, listening: socket.socket) -> None:
        """Relay every connection until the socket is closed."""
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with (
            suppress(OSError),
            client,
            socket.create_connection(("127.0.0.1", self.target)) as server,
        ):
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            left = self._chunks_until_drop()
            while chunk := client.recv(_CHUNK_BYTES):
                left = self._chunks_until_drop() if self.per_request else left - 1
                if left == 0:
                    self.dropped += 1
                    return
                server.sendall(chunk)

    def _chunks_until_drop(self) -> int:
        """Return after how many chunks of the client this connection is dropped; negative: never."""
        if self.chance.random() >= self.share:
            return -1
        return 0 if self.per_request else int(self.chance.integers(1, 20))


@contextmanager
def dropping(
    target: int, share: float, *, per_request: bool
) -> Iterator[tuple[int, DroppingProxy]]:
    """Run a proxy in front of a port; yields its own port and itself."""
    proxy = DroppingProxy(target, share, per_request)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=proxy.serve, args=(listening,), daemon=True).start()
        yield listening.getsockname()[1], proxy
        # Closing alone would not wake the thread that waits for the next connection.
        listening.shutdown(socket.SHUT_RDWR)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(_CHUNK_BYTES):
            sink.sendall(chunk)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)

"""Ports: which are free, and who holds one that is not."""

import secrets
import socket
from collections.abc import Iterable

import psutil

from churn.errors import ChurnError
from churn.stack.part import Part
from churn.stack.processes import MARK

LOOPBACK = "127.0.0.1"
_SAFE = range(10_240, 32_768)  # above the well-known ones


def free_port() -> int:
    """Return a TCP port of the loopback that nobody listens on now.

    It lies below the range from which the kernel gives ports to outgoing connections: one of
    those could take the port before the server that it is meant for starts.
    """
    while not is_free(port := secrets.choice(_SAFE)):
        pass
    return port


def is_free(port: int) -> bool:
    """Say whether a server could listen on `port` of the loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def check_ports(parts: Iterable[Part]) -> None:
    """Raise a ChurnError that names the ports which are taken, their variables and their holders."""
    taken = [part for part in parts if part.port is not None and not is_free(part.port)]
    if not taken:
        return
    facts = [
        f"port {part.port} of {part.name} ({part.variable}) is taken{holder(part.port or 0)}"
        for part in taken
    ]
    moved = " ".join(f"{part.variable}={free_port()}" for part in taken)
    raise ChurnError(
        "\n".join(facts), remedy=f"stop what holds it, or choose another port: {moved} churn up"
    )


def holder(port: int) -> str:
    """Say who listens on `port`, as far as this user may know."""
    try:
        pid = next(
            (
                connection.pid
                for connection in psutil.net_connections("tcp")
                if connection.laddr
                and connection.laddr.port == port
                and connection.status == psutil.CONN_LISTEN
                and connection.pid
            ),
            None,
        )
        if pid is None:
            return ""
        process = psutil.Process(pid)
        text = f" by process {pid} ({' '.join(process.cmdline())[:120]})"
        folder = process.environ().get(MARK)
    except psutil.Error:
        return ""
    return f"{text}, part of the stack in {folder}" if folder else text

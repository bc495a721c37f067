"""Ports of 127.0.0.1 for servers that must find the same port free again after they were killed.

A port that the system hands out for port 0 lies in the range of outgoing connections: while the server is down, any
client of the machine may get it as its source port, and a client that keeps dialling the dead server may even connect
to itself. So ports are taken below that range; port 0 is the last resort.
"""

import random
import socket
from pathlib import Path

from pganalytics.embedded.errors import PortInUse

HOST = "127.0.0.1"
LOWEST = 15_000
OUTGOING_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def is_free(port: int) -> bool:
    """Whether a server could listen there now. Connections that linger after a close do not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
        return True


def is_listening(port: int) -> bool:
    """Whether a connection to the port is accepted within a second."""
    try:
        with socket.create_connection((HOST, port), timeout=1.0):
            return True
    except OSError:
        return False


def free_port() -> int:
    """A port that nobody uses at this moment. Another process may take it before the server does: then try again."""
    for _ in range(50):
        port = random.randrange(LOWEST, _outgoing_low())  # noqa: S311  (a port number is no secret)
        if is_free(port):
            return port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def claim_port(requested: int | None) -> int:
    """The requested port, or any free one. PortInUse when the requested one has an owner."""
    if requested is None:
        return free_port()
    if not is_free(requested):
        raise PortInUse(requested)
    return requested


def _outgoing_low() -> int:
    try:
        low = int(OUTGOING_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        low = 32_768
    return low if low > LOWEST + 1_000 else 32_768

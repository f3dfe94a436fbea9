"""Ports of this machine → ports that this installation claims and keeps."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from operations.stack.home import Home, StackError, read_json, write_json

PREFERRED: Mapping[str, int] = {
    "api": 8000,
    "simulator": 8100,
    "kafka": 9092,
    "kafka_controller": 9192,
    "postgres": 5432,
}
SEARCHED = 500


class NoFreePort(StackError):
    """No free port near the preferred one."""


class PortClaims:
    """Ports held for one owner from the choice until its servers listen; gone with the process.

    Two stacks that start in the same second would both find 9092 free. An abstract Unix socket named after the port
    is claimed atomically, is shared by all users of this network namespace, and leaves no file behind.
    """

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def choose(self, preferred: int) -> int:
        """The preferred port, or the nearest free one above it."""
        for port in range(preferred, min(preferred + SEARCHED, 65536)):
            if self._claim(port):
                return port
        raise NoFreePort(f"no free port between {preferred} and {preferred + SEARCHED - 1}")

    def _claim(self, port: int) -> bool:
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            claim.bind(f"\0tallystick-port-{port}")
        except OSError:
            claim.close()
            return False
        if not is_free(port):
            claim.close()
            return False
        self._held.append(claim)
        return True

    def release(self) -> None:
        for claim in self._held:
            claim.close()
        self._held.clear()


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now; with SO_REUSEADDR, as servers use, TIME_WAIT does not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def choose_ports(home: Home, claims: PortClaims, wanted: Mapping[str, int]) -> dict[str, int]:
    """A free port for each name: the wanted port, else the kept one, else the nearest free port above."""
    kept = read_json(home.ports)
    ports = {name: claims.choose(wanted.get(name) or int(kept.get(name, usual))) for name, usual in PREFERRED.items()}
    write_json(home.ports, ports)
    return ports

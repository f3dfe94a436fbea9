"""A room process's HTTP page: `/metrics` for Prometheus, `/readyz` with the reasons why a room is not ready."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from prometheus_client import make_wsgi_app, start_http_server

from topics.runtime.process.health import Health
from topics.settings import SettingsError

Start = Callable[..., Any]


def serve_page(host: str, port: int, healths: Sequence[Health]) -> int:
    """Serve in a thread. → the port; a free one if 0 was asked for.

    Errors: SettingsError if the address is not available.
    """
    try:
        server, _ = start_http_server(port, addr=host)
    except OSError as error:
        where = f"{host}:{port}"
        raise SettingsError(
            f"TALLY_METRICS_HOST, TALLY_METRICS_PORT: cannot listen on {where}: {error.strerror}"
        ) from None
    server.set_app(page(healths))
    return server.server_port


def page(healths: Sequence[Health]) -> Callable[[dict[str, Any], Start], Iterable[bytes]]:
    """The WSGI application."""
    metrics = make_wsgi_app()

    def answer(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/readyz":
            shown: Iterable[bytes] = metrics(environ, start)
            return shown
        report = readiness(healths)
        status = "200 OK" if report["ready"] else "503 Service Unavailable"
        start(status, [("Content-Type", "application/json")])
        return [json.dumps(report).encode()]

    return answer


def readiness(healths: Sequence[Health]) -> dict[str, Any]:
    """Ready while every room runs; `reasons` are as in the API's own `/readyz`."""
    rooms = [{"room": h.room, "state": h.state, "reason": h.reason} for h in healths]
    waiting = [h for h in healths if h.state != "running"]
    return {"ready": not waiting, "reasons": [f"{h.room} {h.state}: {h.reason}" for h in waiting], "rooms": rooms}

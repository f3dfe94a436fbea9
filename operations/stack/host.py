"""Names of rooms and the API → one process that runs them until SIGTERM or SIGINT: `tally run`."""

from __future__ import annotations

import importlib
import os

from operations.stack.starting import check
from topics import catalog
from topics.runtime.process.health import Health
from topics.runtime.process.host import Host
from topics.runtime.process.upkeep import Upkeep
from topics.runtime.shape.consumer import AnyConsumer, Consumer
from topics.settings import Settings

STREAMS = {"settlements": "reconciliation"}  # what comes through Faust → its room
BEHIND = {"reconciliation", *STREAMS}  # nobody waits for these
NICE = 10


def build(name: str, settings: Settings) -> AnyConsumer:
    """The room of that name, wired."""
    consumer = importlib.import_module(f"{catalog.room(name).migrations}.consumer").build(settings)
    assert isinstance(consumer, Consumer)
    return consumer


def serve(settings: Settings, names: list[str]) -> int:
    """→ the exit code, after the stop. Errors: SettingsError if a setting must be corrected first."""
    partitions = check(settings, names)
    if BEHIND.issuperset(names):
        os.nice(NICE)
    host = Host(settings)
    for name in names:
        if name == "api":
            _add_api(host, settings)
        elif name in STREAMS:
            _add_stream(host, settings, name)
        else:
            host.add_room(build(name, settings))
    return host.run(names, partitions)


def _add_api(host: Host, settings: Settings) -> None:
    """Imported here: a process of rooms alone needs no web framework."""
    from producers import api
    from producers.trimming import trim

    health = Health("api", state="running")
    listening = api.listen(settings)
    address = f"{settings.api_host}:{listening.getsockname()[1]}"
    host.add("api", lambda: api.serve(settings, host.stop, listening), health, address)
    host.add("doors upkeep", Upkeep(settings, "doors", host.stop, trim=trim, health=health).run)


def _add_stream(host: Host, settings: Settings, name: str) -> None:
    """Imported here: Faust is 30 MB."""
    from reconciliation.host import StreamLoop

    loop = StreamLoop(settings, build(STREAMS[name], settings), host.stop)
    host.add(name, loop.run, loop.health)

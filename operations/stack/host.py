"""Names of rooms and the API → one process that runs them until SIGTERM or SIGINT: `tally run`."""

from __future__ import annotations

import importlib

from operations.stack.starting import check
from topics.runtime.process.health import Health
from topics.runtime.process.host import Host
from topics.runtime.process.upkeep import Upkeep
from topics.runtime.shape.consumer import AnyConsumer, Consumer
from topics.settings import Settings


def build(name: str, settings: Settings) -> AnyConsumer:
    """The room of that name, wired."""
    consumer = importlib.import_module(f"consumers.{name}.consumer").build(settings)
    assert isinstance(consumer, Consumer)
    return consumer


def serve(settings: Settings, names: list[str]) -> int:
    """→ the exit code, after the stop. Errors: SettingsError if a setting must be corrected first."""
    partitions = check(settings, names)
    host = Host(settings)
    for name in names:
        if name == "api":
            _add_api(host, settings)
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

"""Names of rooms, and the API → one process of them, until SIGTERM or SIGINT. What `tally run` runs."""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from importlib import metadata

import structlog

from operations.stack.process_page import serve_page
from operations.stack.starting import check
from topics.runtime.process.health import Health, write_report
from topics.runtime.process.kafka_loop import RoomLoop
from topics.runtime.process.upkeep import Upkeep
from topics.runtime.shape.consumer import AnyConsumer, Consumer
from topics.settings import Settings, SettingsError

log = structlog.get_logger()


def build(name: str, settings: Settings) -> AnyConsumer:
    """The room of that name, wired."""
    consumer = importlib.import_module(f"consumers.{name}.consumer").build(settings)
    assert isinstance(consumer, Consumer)
    return consumer


def serve(settings: Settings, names: list[str]) -> int:
    """Run until told to stop. → 0, or 1 where a part died of a bug; the supervisor then starts all of it again.

    Errors: SettingsError for what must be put right before it can run.
    """
    partitions = check(settings, names)
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    parts = _Parts(stop)
    for name in names:
        _add(parts, settings, name, stop)
    port = serve_page(settings.metrics_host, settings.metrics_port, parts.healths)
    report = partial(write_report, settings.home / "run", "-".join(names), parts.healths, port, settings.metrics_host)
    _report_once(settings, report)
    _calm_collector()
    _keep_memory()
    _say_start(settings, parts, port, partitions)
    parts.start()
    try:
        reported = _report_until(stop, report)
    finally:
        stop.set()
        ended = parts.join()
    code = _code(parts, reported and ended)
    log.info("ended", action="end", parts=names, code=code)
    if not ended:
        os._exit(code)  # a thread that does not end would keep the process
    if parts.wrong is not None:
        raise parts.wrong
    return code


def _code(parts: _Parts, well: bool) -> int:
    """As docs/cli.md explains them."""
    if parts.wrong is not None:
        return 2
    return 0 if well and not parts.failed else 1


def _say_start(settings: Settings, parts: _Parts, port: int, partitions: dict[str, int] | None) -> None:
    """Of the partitions, as many as each topic has that is read or written here; none while Kafka is away."""
    log.info(
        "started",
        action="start",
        version=metadata.version("tallystick"),
        parts=[health.room for health in parts.healths],
        **parts.addresses,
        metrics=f"{settings.metrics_host}:{port}",
        kafka=settings.kafka,
        partitions=partitions,
    )


def _report_once(settings: Settings, report: Callable[[], None]) -> None:
    """Errors: SettingsError where the home cannot be written."""
    try:
        report()
    except OSError as error:
        raise SettingsError(f"TALLY_HOME: {settings.home} cannot be written: {error.strerror}") from None


HEADLESS_S_MAX = 5.0


def _report_until(stop: threading.Event, report: Callable[[], None]) -> bool:
    """→ whether it could be written to the end. A process of which nobody can know how it is must not live on."""
    written_at = time.monotonic()
    while not stop.wait(0.5):
        try:
            report()
            written_at = time.monotonic()
        except OSError as error:
            if time.monotonic() - written_at > HEADLESS_S_MAX:
                log.error("report cannot be written", action="end", error=str(error))
                return False
    return True


def _add(parts: _Parts, settings: Settings, name: str, stop: threading.Event) -> None:
    if name == "api":
        health = Health("api", state="running")
        api = importlib.import_module("producers.api")
        listening = api.listen(settings)
        parts.addresses["api"] = f"{settings.api_host}:{listening.getsockname()[1]}"
        parts.add("api", lambda: api.serve(settings, stop, listening), health)
        trim = importlib.import_module("producers.trimming").trim
        parts.add("doors upkeep", Upkeep(settings, "doors", stop, trim=trim, health=health).run)
        return
    consumer = build(name, settings)
    wake = threading.Event() if name == "executor" else None
    loop = RoomLoop(settings, consumer, stop, wake)
    parts.add(name, loop.run, loop.health)
    chores = (consumer.find_stuck, consumer.trim, consumer.sum_up)
    parts.add(f"{name} upkeep", Upkeep(settings, name, stop, *chores, loop.health).run)
    if wake is not None:
        caller = importlib.import_module("consumers.executor.caller")
        parts.add("caller", lambda: caller.run_caller(settings, consumer, stop, wake))
    if name == "webhooks":
        sender = importlib.import_module("consumers.webhooks.sender")
        parts.add("webhook sender", lambda: sender.run_sender(settings, stop))


def _calm_collector() -> None:
    """Batches make many short-lived objects and no cycles; looking for cycles took a quarter of the CPU (measured)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


_M_TRIM_THRESHOLD = -1  # malloc.h
KEPT_BYTES = 256 * 1024 * 1024


def _keep_memory() -> None:
    """What one batch needed, the next one needs again. Given back to the system in between, it came back a page fault at
    a time (a fifteenth of a room's time with batches of 2,000, measured). C libraries that do not know of it go without."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


END_S_MAX = 20.0


class _Parts:
    """Threads that live and die together."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._threads: list[threading.Thread] = []
        self.healths: list[Health] = []
        self.addresses: dict[str, str] = {}  # of what listens
        self.failed = False
        self.wrong: SettingsError | None = None

    def add(self, name: str, work: Callable[[], None], health: Health | None = None) -> None:
        self._threads.append(threading.Thread(target=self._run, args=(name, work), name=name))
        if health:
            self.healths.append(health)

    def _run(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except SettingsError as error:
            self.wrong = error
        except Exception:
            log.exception("part died", action="die", part=name)
            self.failed = True
        finally:
            self._stop.set()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> bool:
        """→ whether all have ended in time."""
        deadline = time.monotonic() + END_S_MAX
        for thread in self._threads:
            thread.join(max(0.1, deadline - time.monotonic()))
        if late := [thread.name for thread in self._threads if thread.is_alive()]:
            log.error("parts do not end", action="end", late=late)
        return not late

"""Rooms and doors → one process: threads that live and die together, its signals, its page, its report, its memory.

It knows none of them by name: a room says itself what runs beside its loop (`Consumer.side_tasks`).
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import metadata

import structlog

from topics.runtime.process.health import Health, write_report
from topics.runtime.process.kafka_loop import RoomLoop
from topics.runtime.process.page import serve_page
from topics.runtime.process.upkeep import Upkeep
from topics.runtime.shape.consumer import AnyConsumer
from topics.settings import Settings, SettingsError

log = structlog.get_logger()

END_S_MAX = 20.0
HEADLESS_S_MAX = 5.0


class Host:
    """One process, from its making on: SIGTERM and SIGINT set `stop`. Its parts run once `run` is called."""

    def __init__(self, settings: Settings) -> None:
        self.stop = threading.Event()
        self._settings = settings
        self._threads: list[threading.Thread] = []
        self._healths: list[Health] = []
        self._addresses: dict[str, str] = {}  # of what listens
        self._failed = False
        self._wrong: SettingsError | None = None
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: self.stop.set())

    def add(self, name: str, work: Callable[[], None], health: Health | None = None, address: str = "") -> None:
        """A part: `work` returns once `stop` is set. Whichever ends first ends all."""
        self._threads.append(threading.Thread(target=self._run, args=(name, work), name=name))
        if health:
            self._healths.append(health)
        if address:
            self._addresses[name] = address

    def add_room(self, consumer: AnyConsumer) -> None:
        """A room: its loop, its upkeep, and what it runs beside them."""
        wake = threading.Event()
        loop = RoomLoop(self._settings, consumer, self.stop, wake)
        self.add(consumer.name, loop.run, loop.health)
        chores = (consumer.find_stuck, consumer.trim, consumer.sum_up)
        upkeep = Upkeep(self._settings, consumer.name, self.stop, *chores, loop.health)
        self.add(f"{consumer.name} upkeep", upkeep.run)
        for name, work in consumer.side_tasks.items():
            self.add(name, partial(work, self._settings, consumer, self.stop, wake))

    def run(self, names: Sequence[str], partitions: Mapping[str, int] | None) -> int:
        """Until told to stop. → 0, or 1 where a part died of a bug; the supervisor then starts all of it again.

        `names` are of what was added, `partitions` what the log tells of the topics. Errors: SettingsError for what must be put
        right before it can run.
        """
        where = self._settings.metrics_host
        port = serve_page(where, self._settings.metrics_port, self._healths)
        report = partial(write_report, self._settings.home / "run", "-".join(names), self._healths, port, where)
        _report_once(self._settings, report)
        _tune_collector()
        _keep_freed_memory()
        self._log_start(port, partitions)
        for thread in self._threads:
            thread.start()
        try:
            reported = _report_until(self.stop, report)
        finally:
            self.stop.set()
            ended = self._join()
        code = self._code(reported and ended)
        log.info("ended", action="end", parts=list(names), code=code)
        if not ended:
            os._exit(code)  # a thread that does not end would keep the process
        if self._wrong is not None:
            raise self._wrong
        return code

    def _run(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except SettingsError as error:
            self._wrong = error
        except Exception:
            log.exception("part died", action="die", part=name)
            self._failed = True
        finally:
            self.stop.set()

    def _join(self) -> bool:
        """→ whether all have ended in time."""
        deadline = time.monotonic() + END_S_MAX
        for thread in self._threads:
            thread.join(max(0.1, deadline - time.monotonic()))
        if late := [thread.name for thread in self._threads if thread.is_alive()]:
            log.error("parts do not end", action="end", late=late)
        return not late

    def _code(self, well: bool) -> int:
        """As docs/cli.md explains them."""
        if self._wrong is not None:
            return 2
        return 0 if well and not self._failed else 1

    def _log_start(self, port: int, partitions: Mapping[str, int] | None) -> None:
        """Of the partitions, as many as each topic has that is read or written here; none while Kafka is away."""
        log.info(
            "started",
            action="start",
            version=metadata.version("tallystick"),
            parts=[health.room for health in self._healths],
            **self._addresses,
            metrics=f"{self._settings.metrics_host}:{port}",
            kafka=self._settings.kafka,
            partitions=partitions,
        )


def _report_once(settings: Settings, report: Callable[[], None]) -> None:
    """Errors: SettingsError where the home cannot be written."""
    try:
        report()
    except OSError as error:
        raise SettingsError(f"TALLY_HOME: {settings.home} cannot be written: {error.strerror}") from None


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


def _tune_collector() -> None:
    """Batches make many short-lived objects and no cycles; looking for cycles took a quarter of the CPU (measured)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


_M_TRIM_THRESHOLD = -1  # malloc.h
KEPT_BYTES = 256 * 1024 * 1024


def _keep_freed_memory() -> None:
    """What one batch needed, the next one needs again. Given back to the system in between, it came back a page fault at
    a time (a fifteenth of a room's time with batches of 2,000, measured). C libraries that do not know of it go without."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)

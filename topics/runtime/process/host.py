"""Rooms and doors → one process: its threads (which end together), signals, metrics page, report and memory.

It knows no room by name: a room declares what runs beside its loop (`Consumer.side_tasks`).
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
    """One process. SIGTERM and SIGINT set `stop`. Its parts start with `run`."""

    def __init__(self, settings: Settings) -> None:
        self.stop = threading.Event()
        self._settings = settings
        self._threads: list[threading.Thread] = []
        self._healths: list[Health] = []
        self._addresses: dict[str, str] = {}  # of parts that listen
        self._failed = False
        self._wrong: SettingsError | None = None
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: self.stop.set())

    def add(self, name: str, work: Callable[[], None], health: Health | None = None, address: str = "") -> None:
        """Add a part: `work` returns once `stop` is set. The first part to end ends all."""
        self._threads.append(threading.Thread(target=self._run, args=(name, work), name=name))
        if health:
            self._healths.append(health)
        if address:
            self._addresses[name] = address

    def add_room(self, consumer: AnyConsumer) -> None:
        """Add a room: its loop, its upkeep and its side tasks."""
        wake = threading.Event()
        loop = RoomLoop(self._settings, consumer, self.stop, wake)
        self.add(consumer.name, loop.run, loop.health)
        chores = (consumer.find_stuck, consumer.trim, consumer.sum_up)
        upkeep = Upkeep(self._settings, consumer.name, self.stop, *chores, loop.health)
        self.add(f"{consumer.name} upkeep", upkeep.run)
        for name, work in consumer.side_tasks.items():
            self.add(name, partial(work, self._settings, consumer, self.stop, wake))

    def run(self, names: Sequence[str], partitions: Mapping[str, int] | None) -> int:
        """Run until `stop` is set. → 0, or 1 if a part died of a bug; the supervisor then starts the process again.

        `names` are those of the parts; `partitions` is for the log: topic → number of partitions. Errors: SettingsError if a
        setting must be corrected first.
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
            os._exit(code)  # a thread that does not end would keep the process alive
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
        """→ whether all threads have ended in time."""
        deadline = time.monotonic() + END_S_MAX
        for thread in self._threads:
            thread.join(max(0.1, deadline - time.monotonic()))
        if late := [thread.name for thread in self._threads if thread.is_alive()]:
            log.error("parts do not end", action="end", late=late)
        return not late

    def _code(self, well: bool) -> int:
        """The exit code (docs/cli.md)."""
        if self._wrong is not None:
            return 2
        return 0 if well and not self._failed else 1

    def _log_start(self, port: int, partitions: Mapping[str, int] | None) -> None:
        """`partitions`: of each topic that this process reads or writes; None while Kafka is away."""
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
    """Errors: SettingsError if the home folder cannot be written."""
    try:
        report()
    except OSError as error:
        raise SettingsError(f"TALLY_HOME: {settings.home} cannot be written: {error.strerror}") from None


def _report_until(stop: threading.Event, report: Callable[[], None]) -> bool:
    """→ False if the report could not be written for HEADLESS_S_MAX: a process whose state is unknown must end."""
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
    """Batches make many short-lived objects and no cycles; garbage collection took a quarter of the CPU (measured)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


_M_TRIM_THRESHOLD = -1  # malloc.h
KEPT_BYTES = 256 * 1024 * 1024


def _keep_freed_memory() -> None:
    """Keep freed memory for the next batch. Returned to the system it came back by page faults (a fifteenth of a room's time
    with batches of 2,000, measured). Does nothing if the C library has no mallopt."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)

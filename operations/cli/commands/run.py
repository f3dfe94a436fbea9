"""`tally run NAME…`: any mix of rooms and the API in one process, until SIGTERM or SIGINT."""

from __future__ import annotations

import ctypes
import gc
import importlib
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Annotated

import structlog
import typer
from structlog.tracebacks import ExceptionDictTransformer

from operations.pages.process_page import serve_page
from operations.terminal import note
from topics.catalog import CONSUMERS
from topics.runtime.process.health import Health, write_report
from topics.runtime.process.kafka_loop import RoomLoop
from topics.runtime.process.upkeep import Upkeep
from topics.runtime.shape.consumer import Consumer
from topics.settings import Settings, SettingsError, load_settings

app = typer.Typer(no_args_is_help=True)
log = structlog.get_logger()
NAMES = ("api", *(room.name for room in CONSUMERS))


@app.command()
def run(names: Annotated[list[str], typer.Argument(help=f"Any of: {', '.join(NAMES)}.", metavar="NAME…")]) -> None:
    """Run rooms and the API in this process. Any number of processes may run the same room."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(NAMES)}")
    settings = load_settings()
    configure_logs(settings)
    sys.exit(serve(settings, list(dict.fromkeys(names))))


def configure_logs(settings: Settings) -> None:
    """JSON lines on stderr."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),  # locals hold names
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.log_level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def build(name: str, settings: Settings) -> Consumer:
    """The room of that name, wired."""
    consumer = importlib.import_module(f"consumers.{name}.consumer").build(settings)
    assert isinstance(consumer, Consumer)
    return consumer


def serve(settings: Settings, names: list[str]) -> int:
    """Run until told to stop. → 0, or 1 where a part died of a bug; the supervisor then starts all of it again."""
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    parts = _Parts(stop)
    for name in names:
        _add(parts, settings, name, stop)
    metrics_port = serve_page(settings.metrics_port_base, parts.healths)
    _calm_collector()
    _keep_memory()
    parts.start()
    while not stop.wait(0.5):
        write_report(settings.home / "run", "-".join(names), parts.healths, metrics_port)
    parts.join()
    return 1 if parts.failed else 0


def _add(parts: _Parts, settings: Settings, name: str, stop: threading.Event) -> None:
    if name == "api":
        health = Health("api", state="running")
        parts.add("api", lambda: importlib.import_module("producers.api").serve(settings, stop), health)
        trim = importlib.import_module("producers.trimming").trim
        parts.add("doors upkeep", Upkeep(settings, "doors", stop, trim=trim).run)
        return
    consumer = build(name, settings)
    wake = threading.Event() if name == "executor" else None
    loop = RoomLoop(settings, consumer, stop, wake)
    parts.add(name, loop.run, loop.health)
    parts.add(f"{name} upkeep", Upkeep(settings, name, stop, consumer.find_stuck, consumer.trim).run)
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


class _Parts:
    """Threads that live and die together."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._threads: list[threading.Thread] = []
        self.healths: list[Health] = []
        self.failed = False

    def add(self, name: str, work: Callable[[], None], health: Health | None = None) -> None:
        self._threads.append(threading.Thread(target=self._run, args=(name, work), name=name))
        if health:
            self.healths.append(health)

    def _run(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except SettingsError as error:
            note(str(error))
            self.failed = True
        except Exception:
            log.exception("part died", action="die", part=name)
            self.failed = True
        finally:
            self._stop.set()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        deadline = time.monotonic() + 20
        for thread in self._threads:
            thread.join(max(0.1, deadline - time.monotonic()))

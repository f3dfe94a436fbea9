"""The schedules of sources, and the clock → a timer at each moment from which another file is missing: a side task of the
room's processes. Timers begin with a message; a file that does not come sends none.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import datetime

import psycopg
import structlog

from reconciliation.files import MISSED
from reconciliation.schedule import expired
from schemas.envelope import EventId, derive_id
from topics.runtime.calls import timers
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.consumer import AnyConsumer, Connection, Timer
from topics.runtime.shape.store import Store, error_kind
from topics.settings import Settings
from topics.settlement_sources import SettlementSource

log = structlog.get_logger()

EVERY_S = 5.0


def run_schedule_watch(settings: Settings, consumer: AnyConsumer, stop: threading.Event, wake: threading.Event) -> None:
    """Look every few seconds until `stop` is set. Raises only on a bug."""
    sources = [source for source in settings.settlement_sources if source.files]
    store, clock, known = Store(settings, consumer.name), Clock(settings.clock_file), set[EventId]()
    try:
        while sources and not stop.wait(EVERY_S):
            known |= _look(store, sources, known, clock.now())
        stop.wait()
    finally:
        store.close()


def _look(store: Store, sources: Iterable[SettlementSource], known: set[EventId], now: datetime) -> set[EventId]:
    """→ the timers that are set now"""
    try:
        with store.transaction() as conn:
            return set_timers(conn, sources, known, now)
    except psycopg.Error as error:
        if error_kind(error) != "away":
            raise
        log.warning("database away", action="schedule", error=str(error).strip()[:200])
        return set()


def set_timers(
    conn: Connection, sources: Iterable[SettlementSource], known: set[EventId], now: datetime
) -> set[EventId]:
    """One for each source and moment, whoever sets it and however often: its id is made of both. → those that are new"""
    due = [_timer(source, newest.at) for source in sources if (newest := expired(source, now))]
    new = [(timer, id_) for timer, id_ in due if id_ not in known]
    if new:
        timers.save(conn, new)
    return {id_ for _, id_ in new}


def _timer(source: SettlementSource, at: datetime) -> tuple[Timer, EventId]:
    """A schedule that has changed is looked at anew."""
    by = f"schedule {source.name} {source.files!r} {sorted(source.holidays)}"
    return Timer(MISSED, source.name, at), derive_id(by, "reconciliation", 0, int(at.timestamp() * 1000))

"""A room's periodic work beside its hot path: report stuck money, check topics, delete old rows, sum finished ones up.

In its own thread and on its own connections, each closed after use: a stopped room still reports what is stuck.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from topics.catalog import CONSUMERS
from topics.runtime.dead_letters.stuck import stuck_letters
from topics.runtime.process import partition_counts
from topics.runtime.process.health import Health
from topics.runtime.process.metrics import REPARTITIONED
from topics.runtime.process.stuck import StuckWatch
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.consumer import FindStuck, Slice
from topics.runtime.shape.kafka import kafka_config
from topics.runtime.shape.store import Store, error_kind
from topics.settings import Settings

log = structlog.get_logger()

LOOK_EVERY_S = 30.0
TIDY_EVERY_S = 60.0


@dataclass(slots=True)
class _UpkeepTask:
    every_s: float
    work: Callable[[], None]
    next_at: float = 0.0


class Upkeep:
    """One process's upkeep. Several processes of a room may run it at once: they skip each other's locked rows."""

    def __init__(
        self,
        settings: Settings,
        room: str,
        stop: threading.Event,
        find_stuck: FindStuck | None = None,
        trim: Slice | None = None,
        sum_up: Slice | None = None,
        health: Health | None = None,
    ) -> None:
        self._settings = settings
        self._room = room
        self._stop = stop
        self._find_stuck = find_stuck
        self._chores = [chore for chore in (trim, sum_up) if chore is not None]
        self._health = health or Health(room)
        self._kafka: AdminClient | None = None
        self._clock = Clock(settings.clock_file)
        self._watch = StuckWatch()
        self._tasks = [_UpkeepTask(TIDY_EVERY_S, self.tidy), _UpkeepTask(LOOK_EVERY_S, self.look_at_topics)]
        if room in {consumer.name for consumer in CONSUMERS}:  # the doors have no letters
            self._tasks.append(_UpkeepTask(LOOK_EVERY_S, self.look))

    def run(self) -> None:
        """Run until `stop` is set. Raises only on a bug."""
        while not self._stop.wait(1.0):
            for task in self._tasks:
                if time.monotonic() >= task.next_at and not self._stop.is_set():
                    self._guard(task.work)
                    task.next_at = time.monotonic() + task.every_s

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except psycopg.Error as error:
            if error_kind(error) != "away":
                raise
            log.info("database away", action="upkeep", room=self._room, error=str(error).strip()[:200])
        except KafkaException as error:
            log.info("kafka away", action="upkeep", room=self._room, error=str(error))

    def look(self) -> None:
        store, now = Store(self._settings, self._room), self._clock.now()
        try:
            with store.transaction() as conn:
                found = stuck_letters(conn, self._room, self._settings, now)
                if self._find_stuck is not None:
                    found += self._find_stuck(conn, self._settings.stuck, now)
        finally:
            store.close()
        self._watch.look(found)

    def look_at_topics(self) -> None:
        """Check each topic's number of partitions. A change is logged once, and noted in the health while it lasts."""
        if self._kafka is None:
            self._kafka = AdminClient(kafka_config(self._settings))
        found, store = partition_counts.find(self._kafka, self._settings, self._room), Store(self._settings, self._room)
        try:
            with store.transaction() as conn:
                partition_counts.remember(conn, found)
                changed = partition_counts.changes(conn, found)
        finally:
            store.close()
        for line in changed:
            if line not in self._health.notes:
                log.warning("partitions changed", action="topics", room=self._room, topic=line)
        self._health.notes = changed
        REPARTITIONED.labels(self._room).set(len(changed))

    def tidy(self) -> None:
        """Run each chore slice by slice, each in a transaction of its own, until nothing is left."""
        for chore in self._chores:
            store = Store(self._settings, self._room)
            try:
                while not self._stop.is_set():
                    with store.transaction() as conn:
                        done = chore(conn, self._settings.retention, self._clock.now())
                    if not done:
                        break
            finally:
                store.close()

"""A committed transaction → its outbox rows published; and the chores between batches. It knows no room and no transport.

The HTTP doors use a `Desk` as it is; a room's `RoomDesk` applies messages besides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from topics.runtime.outbox.outbox import Publisher, Row
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.failpoints import hit
from topics.runtime.shape.store import Store
from topics.settings import Settings

BACKLOG_MAX = 20_000  # unacknowledged records, above which no batch is begun


@dataclass(slots=True)
class Chore:
    """Periodic work between batches."""

    every_s: float
    work: Callable[[], None]
    next_at: float = 0

    def do(self) -> None:
        """Run the work if it is due."""
        if time.monotonic() >= self.next_at:
            self.work()
            self.next_at = time.monotonic() + self.every_s


class Desk:
    """A store's connection and a Kafka producer, for one thread. Not thread-safe."""

    def __init__(self, settings: Settings, name: str) -> None:
        """`name` is the schema's: a room's, or `doors`."""
        self.store = Store(settings, name)
        self.clock = Clock(settings.clock_file)
        self.publisher = Publisher(settings)

    @property
    def backlogged(self) -> bool:
        """Whether the broker is so far behind that what is committed now could not be published."""
        return self.publisher.unacknowledged > BACKLOG_MAX

    def publish(self, rows: Iterable[Row]) -> None:
        """Publish committed rows. Raises nothing: `tidy` publishes later what failed now."""
        hit("before_publish")
        self.publisher.publish(self.store, rows)
        hit("after_publish")

    def tidy(self) -> None:
        """Delete published rows, publish again after an error, sweep rows that other processes left."""
        self.publisher.tidy(self.store)

    def finish(self) -> None:
        """Publish committed rows before the end; other processes sweep the rest. Errors: psycopg.Error, KafkaException."""
        self.publisher.flush(5)
        self.tidy()

"""A batch, whatever brought it → applied, its events published, the room's caller woken; and the room's chores between batches.

No transport in here: Kafka's loop and the executor's recorder bring their messages and say how they wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import psycopg
import structlog
from confluent_kafka import KafkaException

from topics import catalog
from topics.runtime.dead_letters.store import is_stopped
from topics.runtime.delivery import inbox
from topics.runtime.delivery.apply import Applied, Begins, apply
from topics.runtime.delivery.drain import drain
from topics.runtime.delivery.fire import fire
from topics.runtime.outbox.latest import LatestPublisher
from topics.runtime.outbox.outbox import Publisher
from topics.runtime.process import metrics
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.consumer import AnyConsumer, Message
from topics.runtime.shape.failpoints import hit
from topics.runtime.shape.store import Store, error_kind
from topics.settings import Settings

log = structlog.get_logger()

GATHER_S_MAX = 0.2
BACKLOG_MAX = 20_000  # unacknowledged records, above which nothing more is begun
TIDY_EVERY_S = 0.25
LATEST_EVERY_S = 0.05
DRAIN_EVERY_S = 0.5
DRAIN_S_MAX = 0.25
FIRE_EVERY_S = 0.5
TRIM_EVERY_S = 60


def gather_s(took_s: float) -> float:
    """How long what comes next may come together, since the last batch ended: half as long as that took. Fewer transactions,
    less of their fixed cost.

    Twice as long did nothing for the throughput, and fed itself: a slow batch made the next one wait, and be large.
    """
    return min(took_s / 2, GATHER_S_MAX)


@dataclass(slots=True)
class Chore:
    """Something done between batches, every so often."""

    every_s: float
    work: Callable[[], None]
    next_at: float = 0

    def do(self) -> None:
        """If it is due."""
        if time.monotonic() >= self.next_at:
            self.work()
            self.next_at = time.monotonic() + self.every_s


class Desk:
    """Where one thread applies messages of a room, with a connection and a producer of its own. Not thread-safe.

    `wake` is set when a batch with calls was committed; `stop` ends a long drain.
    """

    def __init__(
        self, settings: Settings, consumer: AnyConsumer, stop: threading.Event, wake: threading.Event | None = None
    ) -> None:
        self.store = Store(settings, consumer.name)
        self.clock = Clock(settings.clock_file)
        self.publisher = Publisher(settings)
        self.latest: LatestPublisher | None = None
        self._consumer = consumer
        self._stop = stop
        self._wake = wake
        self._ended_at = self._took_s = 0.0  # of the last batch
        self._draining, self._trimming = Chore(DRAIN_EVERY_S, self._drain), Chore(TRIM_EVERY_S, self._trim)

    # ── a batch ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def apply(self, messages: Sequence[Message], begins: Begins | None) -> Iterator[Applied]:
        """Apply, and publish after each commit; then yield what was committed. `begins` and errors: as `apply`'s."""
        for applied in apply(self.store, self._consumer, messages, begins, self.clock.now()):
            self._publish(applied)
            yield applied

    def _publish(self, applied: Applied) -> None:
        hit("before_publish")
        self.publisher.publish(self.store, applied.rows)
        hit("after_publish")
        metrics.count(self._consumer.name, applied)
        if applied.calls and self._wake:
            self._wake.set()

    def ended(self, started: float) -> float:
        """A batch that was begun at `started` has ended. → how long it took, in seconds."""
        self._ended_at = time.monotonic()
        self._took_s = self._ended_at - started
        return self._took_s

    def gather_s(self, at_least_s: float = 0.0) -> float:
        """How long from now the next batch may come together; `at_least_s` counts from the end of the last one."""
        return max(0.0, self._ended_at + max(at_least_s, gather_s(self._took_s)) - time.monotonic())

    @property
    def backlogged(self) -> bool:
        """Whether the broker takes nothing: what is applied now could not be published."""
        return self.publisher.unacknowledged > BACKLOG_MAX

    # ── between batches ──────────────────────────────────────────────────────────────────────────────────────────────

    def chores(self) -> list[Chore]:
        """Those of one thread of a process. More desks in a process only tidy."""
        chores = [self._draining, Chore(TIDY_EVERY_S, self.tidy), self._trimming]
        if self._consumer.compacted:
            count = metrics.EVENTS.labels(self._consumer.name).inc
            self.latest = LatestPublisher(self._consumer, self.publisher, count)
            chores.append(Chore(LATEST_EVERY_S, self.publish_latest))
        if catalog.TIMERS in self._consumer.room.reads:
            chores.append(Chore(FIRE_EVERY_S, self._fire))
        return chores

    def tidy(self) -> None:
        """Delete published rows, publish again after an error, sweep what others left."""
        self.publisher.tidy(self.store)

    def publish_latest(self) -> None:
        """The next step for compacted topics."""
        if self.latest is not None:
            self.latest.tick(self.store.connection(), self.clock.now())

    def _drain(self) -> None:
        """What is due, for a while, and soon again: between slices of a long backlog new messages are read."""
        until = time.monotonic() + DRAIN_S_MAX
        while (applied := drain(self.store, self._consumer, self.clock.now())) is not None:
            self._publish(applied)
            if self._stop.is_set() or time.monotonic() > until:
                self._draining.every_s = 0.0
                return
        self._draining.every_s = DRAIN_EVERY_S

    def _fire(self) -> None:
        """Timers that are due; the rest of many in the next turns."""
        for applied in fire(self.store, self._consumer, self.publisher.holder, self.clock.now()):
            self._publish(applied)

    def _trim(self) -> None:
        """A slice of old claims; the next one soon while there are more."""
        with self.store.transaction() as conn:
            gone = inbox.trim(conn)
        self._trimming.every_s = 0.0 if gone == inbox.TRIM_ROWS else TRIM_EVERY_S

    # ── trouble, and the end ─────────────────────────────────────────────────────────────────────────────────────────

    def on_database_away(self, error: psycopg.Error, doing: str) -> None:
        """The database is away: whoever applies waits for it. Raises the error where it means anything else."""
        if error_kind(error) != "away":
            raise error
        log.warning("database away", action=doing, room=self._consumer.name, error=str(error).strip()[:200])
        self.store.close()

    def is_lifted(self) -> bool:
        """Whether the stop is lifted, as far as we can tell. What is committed is published meanwhile, the rows of the dead
        too."""
        try:
            self.tidy()
            self.publish_latest()
            with self.store.transaction() as conn:
                return not is_stopped(conn)
        except (psycopg.Error, KafkaException):
            self.store.close()
            return False

    def finish(self) -> None:
        """A clean end: publish what is owed. Anything left is swept by others. Errors: psycopg.Error, KafkaException."""
        self.publisher.flush(5)
        if self.latest:
            self.latest.finish(self.store.connection(), self.clock.now())
            self.publisher.flush(1)
        self.tidy()

"""A batch of any transport → applied, its records published, the room's sender woken; and the chores between batches.

It knows no transport: the Kafka loop and the executor's recorder pass their messages in and do their own waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import psycopg
import structlog
from confluent_kafka import KafkaException

from topics import catalog
from topics.runtime.dead_letters.store import is_stopped
from topics.runtime.delivery import inbox
from topics.runtime.delivery.apply import Applied, Begins, apply
from topics.runtime.delivery.drain import drain
from topics.runtime.delivery.fire import fire
from topics.runtime.outbox.desk import Chore, Desk
from topics.runtime.outbox.latest import LatestPublisher
from topics.runtime.process import metrics
from topics.runtime.shape.consumer import AnyConsumer, Message
from topics.runtime.shape.store import error_kind
from topics.settings import Settings

log = structlog.get_logger()

GATHER_S_MAX = 0.2
TIDY_EVERY_S = 0.25
LATEST_EVERY_S = 0.05
DRAIN_EVERY_S = 0.5
DRAIN_S_MAX = 0.25
FIRE_EVERY_S = 0.5
TRIM_EVERY_S = 60


def gather_s(took_s: float) -> float:
    """How long messages are gathered after a batch has ended: half as long as it took. Fewer transactions, less fixed cost.

    Twice as long did not raise the throughput, and fed itself: a slow batch made the next one wait and grow.
    """
    return min(took_s / 2, GATHER_S_MAX)


class RoomDesk(Desk):
    """Applies messages of a room, with its own connection and producer, for one thread. Not thread-safe.

    `wake` is set after the commit of a batch with calls; `stop` ends a long drain.
    """

    def __init__(
        self, settings: Settings, consumer: AnyConsumer, stop: threading.Event, wake: threading.Event | None = None
    ) -> None:
        super().__init__(settings, consumer.name)
        self.latest: LatestPublisher | None = None
        self._consumer = consumer
        self._stop = stop
        self._wake = wake
        self._ended_at = self._took_s = 0.0  # of the last batch
        self._draining, self._trimming = Chore(DRAIN_EVERY_S, self._drain), Chore(TRIM_EVERY_S, self._trim)
        self._firing = Chore(FIRE_EVERY_S, self._fire)

    # ── a batch ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def apply(self, messages: Sequence[Message], begins: Begins | None) -> Iterator[Applied]:
        """Apply, publish after each commit, then yield the commit's result. `begins` and errors: as `apply`'s."""
        for applied in apply(self.store, self._consumer, messages, begins, self.clock.now()):
            self._publish(applied)
            yield applied

    def _publish(self, applied: Applied) -> None:
        self.publish(applied.rows)
        metrics.count(self._consumer.name, applied)
        if applied.calls and self._wake:
            self._wake.set()

    def ended(self, started: float) -> float:
        """Note that the batch begun at `started` has ended. → its seconds"""
        self._ended_at = time.monotonic()
        self._took_s = self._ended_at - started
        return self._took_s

    def gather_s(self, at_least_s: float = 0.0) -> float:
        """Seconds from now to gather the next batch; `at_least_s` counts from the end of the last one."""
        return max(0.0, self._ended_at + max(at_least_s, gather_s(self._took_s)) - time.monotonic())

    # ── between batches ──────────────────────────────────────────────────────────────────────────────────────────────

    def chores(self) -> list[Chore]:
        """The chores of one desk of a process. Other desks of the process only tidy."""
        chores = [self._draining, Chore(TIDY_EVERY_S, self.tidy), self._trimming]
        if self._consumer.compacted:
            count = metrics.EVENTS.labels(self._consumer.name).inc
            self.latest = LatestPublisher(self._consumer, self.publisher, count)
            chores.append(Chore(LATEST_EVERY_S, self.publish_latest))
        if catalog.TIMERS in self._consumer.room.reads:
            chores.append(self._firing)
        return chores

    def publish_latest(self) -> None:
        """The next step of publishing compacted topics."""
        if self.latest is not None:
            self.latest.tick(self.store.connection(), self.clock.now())

    def _drain(self) -> None:
        """Retry due letters for at most DRAIN_S_MAX, and go on soon: between slices of a long backlog messages are consumed."""
        until = time.monotonic() + DRAIN_S_MAX
        while (applied := drain(self.store, self._consumer, self.clock.now())) is not None:
            self._publish(applied)
            if self._stop.is_set() or time.monotonic() > until:
                self._draining.every_s = 0.0
                return
        self._draining.every_s = DRAIN_EVERY_S

    def _fire(self) -> None:
        """Fire due timers; the rest of many in the next turns, and at once those that were set for now: work in slices."""
        self._firing.every_s = FIRE_EVERY_S
        for applied in fire(self.store, self._consumer, self.publisher.holder, self.clock.now()):
            self._publish(applied)
            if applied.due:
                self._firing.every_s = 0.0

    def _trim(self) -> None:
        """Delete a slice of old claims; the next slice soon while there are more."""
        with self.store.transaction() as conn:
            gone = inbox.trim(conn)
        self._trimming.every_s = 0.0 if gone == inbox.TRIM_ROWS else TRIM_EVERY_S

    # ── trouble, and the end ─────────────────────────────────────────────────────────────────────────────────────────

    def on_database_away(self, error: psycopg.Error, doing: str) -> None:
        """Close the connection if the database is away; the caller waits for it. Errors: `error`, if it means anything else."""
        if error_kind(error) != "away":
            raise error
        log.warning("database away", action=doing, room=self._consumer.name, error=str(error).strip()[:200])
        self.store.close()

    def is_lifted(self) -> bool:
        """Whether the stop is lifted; False while unknown. Meanwhile committed rows are published, those of dead processes,
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
        """As `Desk`'s, the compacted topics included."""
        self.publisher.flush(5)
        if self.latest:
            self.latest.finish(self.store.connection(), self.clock.now())
            self.publisher.flush(1)
        self.tidy()
        with self.store.transaction() as conn:
            self.publisher.give_up_leases(conn)

"""Kafka → apply → publish → offsets, for one room in one thread; and the room's chores between batches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import psycopg
import structlog
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from topics import catalog
from topics.runtime.delivery.apply import Applied, Partition
from topics.runtime.delivery.positions import start_offsets, stop_for_gone_offset
from topics.runtime.making.revisions import refuse_older
from topics.runtime.outbox.desk import Chore
from topics.runtime.process import metrics
from topics.runtime.process.health import Health
from topics.runtime.process.placed import PlacedPartitions
from topics.runtime.process.room_desk import RoomDesk
from topics.runtime.shape.consumer import OPAQUE, AnyConsumer, Message
from topics.runtime.shape.failpoints import hit
from topics.runtime.shape.kafka import kafka_config
from topics.runtime.shape.record import message_of
from topics.runtime.shape.store import Stopped
from topics.settings import Settings

log = structlog.get_logger()

IDLE_S = 0.05
TOPICS_EVERY_S = 1.0
SILENT_S = 10.0  # after so long without records a partition that has more is read again


class RoomLoop:
    """One process's share of a room. `run` returns when `stop` is set; it raises only on a bug."""

    def __init__(
        self, settings: Settings, consumer: AnyConsumer, stop: threading.Event, wake: threading.Event | None = None
    ) -> None:
        self.health = Health(consumer.name)
        self._consumer = consumer
        self._settings = settings
        self._stop = stop
        self._desk = RoomDesk(settings, consumer, stop, wake)
        self._store, self._publisher = self._desk.store, self._desk.publisher
        self._placed = PlacedPartitions(settings, consumer.name, self._store)
        self._opaque: set[Partition] = set()  # whose next batch the client cannot unpack
        self._opaque_at: dict[Partition, int] = {}  # the offset that was due when that happened last
        self._kafka = KafkaConsumer(_consumer_config(settings, consumer.name))
        self._chores = [
            *self._desk.chores(),
            Chore(1.0, self._commit_offsets),
            Chore(SILENT_S, self._read_silent_again),
            Chore(TOPICS_EVERY_S, self._placed.look_at_topics),
        ]

    def run(self) -> None:
        room = self._consumer.room
        polled = [topic for topic in room.reads if topic.on_kafka and topic not in room.streamed]
        topics = [name for topic in polled for name in self._names(topic)]
        self._kafka.subscribe(topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)
        try:
            while not self._stop.is_set():
                self._guard(self._step)
        finally:
            self._close()

    def _names(self, topic: catalog.Topic) -> list[str]:
        return [self._settings.topic_prefix + name for name in catalog.names(topic, self._settings.upstreams)]

    # ── one turn ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _step(self) -> None:
        self._place_late()
        messages = self._poll()
        if messages or self._opaque:
            hit("after_poll")
            self._handle(messages)
        for chore in self._chores:
            chore.do()
        if self._publisher.failing:
            self.health.paused("kafka", self._publisher.failing)
        else:
            self.health.running()

    def _poll(self) -> list[Message]:
        """Consume up to a batch; a busy room gathers more first."""
        if self._desk.backlogged:
            self._publisher.poll(IDLE_S)
            return []
        records = self._kafka.consume(1, IDLE_S)
        if records:
            self._publisher.poll()
            # Until the batch is full, at most. After a quiet time it is 0. A room without anybody waiting has a longer gather_s.
            gather_s = self._desk.gather_s(self._consumer.room.gather_s)
            records += self._kafka.consume(self._settings.batch_max - 1, gather_s)
        return [message_of(record, self._settings.topic_prefix) for record in records if self._usable(record)]

    def _usable(self, record: KafkaMessage) -> bool:
        error = record.error()
        if error is None:
            return True
        where = ((record.topic() or "")[len(self._settings.topic_prefix) :], record.partition() or 0)
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            if where not in self._placed.offsets:
                return False  # paused without an offset until its position can be read
            raise self._stop_for_gone_offset(where, error)
        if error.code() == KafkaError._BAD_COMPRESSION:
            self._opaque.add(where)
        log.warning("kafka", action="poll", room=self._consumer.name, error=str(error))
        return False

    def _stop_for_gone_offset(self, where: Partition, error: KafkaError) -> Stopped:
        """→ the stop: retention has deleted the due message. Errors: Stopped if the topic has been replaced."""
        due = self._placed.offsets[where]
        self._at_positions([self._placed.kafka_name(where)])
        return stop_for_gone_offset(self._store, where, due, str(error))

    def _handle(self, messages: Sequence[Message]) -> None:
        """Apply the batch, and retry it while the database is away; publish after each commit."""
        rest = self._placed.without_gaps(self._placed.unapplied(messages))
        rest += self._opaque_after(rest)
        started = time.monotonic()
        while rest and not self._stop.is_set():
            try:
                for applied in self._desk.apply(rest, self._placed.offsets):
                    self._note_applied(applied)
                break
            except psycopg.Error as error:
                self._wait_for_database(error)
                rest = self._placed.unapplied(rest)
        metrics.BATCH_SECONDS.labels(self._consumer.name).observe(self._desk.ended(started))

    def _opaque_after(self, messages: Sequence[Message]) -> list[Message]:
        """Batches that cannot be unpacked, as records without contents, one offset at a time: a batch's size is unknown.

        The client would fetch such a batch for ever. Each offset is read a second time first.
        """
        found = []
        due = dict(self._placed.offsets) | {(m.topic, m.partition): m.offset + 1 for m in messages}
        for where in self._opaque & (due.keys() - self._placed.late):
            if self._opaque_at.get(where) == due[where]:
                found.append(Message(*where, due[where], None, None, OPAQUE, 0))
            self._opaque_at[where] = due[where]
            self._placed.late.add(where)
        self._opaque.clear()
        return found

    def _note_applied(self, applied: Applied) -> None:
        """Move the offsets; partitions that another process has moved are read again from their positions."""
        self._placed.note(applied)
        if applied.foreign:
            self._read_again(applied.foreign)

    # ── partitions come and go ───────────────────────────────────────────────────────────────────────────────────────

    def _on_assign(self, kafka: KafkaConsumer, partitions: list[TopicPartition]) -> None:
        """Reading starts at the stored position. Without a database the partitions are paused at offset 0, and records from
        there are dropped.

        Without an offset librdkafka would look for Kafka's committed one, which is missing at the first start, and then ask
        the broker for the end; while the broker is away it asks on, and goes to the end although it was given a position
        meanwhile (seen).
        """
        try:
            self._read(self._at_positions(partitions))
        except (psycopg.Error, KafkaException, Stopped) as error:
            kafka.incremental_assign([TopicPartition(p.topic, p.partition, 0) for p in partitions])
            kafka.pause(partitions)
            self._placed.late |= {self._placed.where(p) for p in partitions}
            if isinstance(error, Stopped):
                self.health.stopped(error.code, error.reason)

    def _read(self, partitions: list[TopicPartition]) -> None:
        """Read from these offsets. Always resumed: a pause outlives its assignment (librdkafka)."""
        self._kafka.incremental_assign(partitions)
        self._kafka.resume(partitions)

    def _at_positions(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        ids = self._placed.topic_ids(map(self._placed.where, partitions))
        placed = start_offsets(self._store, self._kafka, partitions, self._settings.topic_prefix, ids)
        self._placed.offsets |= placed
        return [TopicPartition(p.topic, p.partition, placed[self._placed.where(p)]) for p in partitions]

    def _on_revoke(self, kafka: KafkaConsumer, partitions: list[TopicPartition]) -> None:
        self._commit_offsets()
        self._forget(partitions)

    def _on_lost(self, kafka: KafkaConsumer, partitions: list[TopicPartition]) -> None:
        self._forget(partitions)

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        self._placed.forget(map(self._placed.where, partitions))

    def _place_late(self) -> None:
        """Place partitions that were assigned while the database was away or the room had stopped."""
        if self._placed.late:
            self._read_again(set(self._placed.late))

    def _read_again(self, wheres: set[Partition]) -> None:
        """Read these partitions again from their stored positions, if they are still assigned to us."""
        assigned = {self._placed.where(p) for p in self._kafka.assignment()}
        mine = [self._placed.kafka_name(where) for where in sorted(wheres & assigned)]
        for where in wheres:
            self._placed.offsets.pop(where, None)
        self._placed.late |= wheres & assigned  # until it has worked
        if mine:
            at = self._at_positions(mine)
            self._kafka.incremental_unassign(mine)
            self._read(at)
        self._placed.late -= wheres

    def _commit_offsets(self) -> None:
        """Commit offsets to Kafka, to show the lag only; they are never ahead of the positions."""
        if not self._placed.to_commit:
            return
        hit("before_offsets")
        offsets = [self._placed.kafka_name(where, offset) for where, offset in self._placed.to_commit.items()]
        self._placed.to_commit.clear()
        try:
            self._kafka.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            log.info("offsets not committed", action="offsets", room=self._consumer.name, error=str(error))
        hit("after_offsets")

    # ── chores ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _read_silent_again(self) -> None:
        """Read silent partitions again that have more messages (seen once, after cuts of the connection)."""
        assigned = {self._placed.where(p) for p in self._kafka.assignment()}
        self._placed.late |= assigned - self._placed.offsets.keys()
        self._placed.look_for_silent()

    # ── trouble ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _guard(self, work: Callable[[], None]) -> None:
        """Database away: wait for it. Room stopped: wait for the operator. Membership is kept throughout."""
        try:
            work()
        except Stopped as stopped:
            self._wait_for_lift(stopped)
        except psycopg.Error as error:
            self._wait_for_database(error)
        except KafkaException as error:
            log.warning("kafka away", action="pause", room=self._consumer.name, error=str(error))
            self.health.paused("kafka", str(error))
            self._placed.late |= set(self._placed.offsets)  # consumed and unapplied messages are read again
            self._publisher.poll(1.0)

    def _wait_for_database(self, error: psycopg.Error) -> None:
        self._desk.on_database_away(error, "pause")
        self._report_database_away(error)
        self._pause_until(self._database_answers)
        self.health.running()

    def _database_answers(self) -> bool:
        """Errors: OlderSchema, if it was away at the start, or was restored from before a migration."""
        try:
            self._store.check()
            with self._store.transaction() as conn:
                refuse_older(conn, self._consumer.room)
        except psycopg.Error as error:
            self._report_database_away(error)
            return False
        return True

    def _report_database_away(self, error: psycopg.Error) -> None:
        """The newest reason: a server that was down may be back, and read-only."""
        self.health.paused("database", str(error).strip()[:200])

    def _wait_for_lift(self, stopped: Stopped) -> None:
        """Consumed and unapplied messages are read again after the lift."""
        log.error("room stopped", action="stop", room=self._consumer.name, code=stopped.code, reason=stopped.reason)
        self.health.stopped(stopped.code, stopped.reason)
        self._placed.late |= set(self._placed.offsets)
        self._pause_until(self._desk.is_lifted)
        log.info("room goes on", action="resume", room=self._consumer.name)

    def _pause_until(self, ready: Callable[[], bool]) -> None:
        """Keep polling while paused: a member that stops polling is removed from its group."""
        next_try = time.monotonic() + 0.2
        while not self._stop.is_set():
            assigned = self._kafka.assignment()
            if assigned:
                self._kafka.pause(assigned)
            for record in self._kafka.consume(100, 0.2):
                if record.error() is None:  # fetched before the pause: read it again
                    self._placed.late.add(
                        ((record.topic() or "")[len(self._settings.topic_prefix) :], record.partition() or 0)
                    )
            self._publisher.poll()
            if time.monotonic() >= next_try:
                if ready():
                    break
                next_try = time.monotonic() + 0.5
        assigned = self._kafka.assignment()
        if assigned:
            self._kafka.resume(assigned)

    def _close(self) -> None:
        """End: publish committed rows, commit offsets, leave the group."""
        try:
            self._desk.finish()
            self._commit_offsets()
        except (psycopg.Error, KafkaException) as error:
            log.warning("unclean end", action="close", room=self._consumer.name, error=str(error).strip()[:200])
        self._kafka.close()
        self._placed.close()
        self._store.close()
        self.health.gone()


def _consumer_config(settings: Settings, room: str) -> dict[str, object]:
    return {
        **kafka_config(settings),
        "group.id": f"{settings.topic_prefix}{room}",
        "group.protocol": "consumer",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",  # skip records of an upstream's aborted transactions
        "auto.offset.reset": "error",  # positions are explicit: a missing offset must stop the room, not be skipped
        "queued.min.messages": 4 * settings.batch_max,
        "queued.max.messages.kbytes": 16_384,
        # By default a second, in which no partition of any topic is fetched once enough is queued.
        "fetch.queue.backoff.ms": 50,
        "fetch.wait.max.ms": 500,
        "max.poll.interval.ms": 300_000,
        "topic.metadata.refresh.interval.ms": 60_000,
    }

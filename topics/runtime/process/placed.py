"""The partitions that a process reads of a room, and the offset that is due in each: the same for every transport.

A client may lose messages, or stay silent about a partition that holds more (both seen after cuts of the connection). Such
a partition becomes late: its transport reads it again from the stored position.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import structlog
from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from topics.runtime.delivery.apply import Applied, Partition
from topics.runtime.delivery.positions import Offsets, skip_empty
from topics.runtime.process.second_reader import SecondReader
from topics.runtime.process.topic_watch import TopicWatch
from topics.runtime.shape.consumer import Message
from topics.runtime.shape.kafka import kafka_config, offsets
from topics.runtime.shape.store import Store
from topics.settings import Settings

log = structlog.get_logger()


class PlacedPartitions:
    """What one thread of a process reads of a room. Not thread-safe."""

    def __init__(self, settings: Settings, room: str, store: Store) -> None:
        self.offsets: Offsets = {}  # due next, of the partitions whose reading stands at their position
        self.late: set[Partition] = set()  # to be read (again) from their stored positions
        self.to_commit: Offsets = {}  # moved since Kafka's offsets were committed last
        self._room = room
        self._prefix = settings.topic_prefix
        self._store = store
        self._admin = AdminClient(kafka_config(settings))
        self._topics = TopicWatch(self._admin)
        self._second = SecondReader(settings, room)
        self._looked: Offsets = {}  # positions at the last check for silent partitions
        self._overdue: Offsets = {}  # of these, the ones that had more messages
        self._read_again_at: dict[Partition, tuple[int, int]] = {}  # position and end when a silent one was read again

    def where(self, partition: TopicPartition) -> Partition:
        return partition.topic[len(self._prefix) :], partition.partition

    def kafka_name(self, where: Partition, offset: int = -1001) -> TopicPartition:
        return TopicPartition(self._prefix + where[0], where[1], offset)

    def topic_ids(self, wheres: Iterable[Partition]) -> dict[str, str]:
        """Kafka's present id of each topic. Errors: KafkaException."""
        names = {self._prefix + topic for topic, _ in wheres}
        return {name[len(self._prefix) :]: id_ for name, id_ in self._topics.ids(names).items()}

    def forget(self, wheres: Iterable[Partition]) -> None:
        """These are no longer ours."""
        for where in wheres:
            self.offsets.pop(where, None)
            self.to_commit.pop(where, None)
            self.late.discard(where)

    def close(self) -> None:
        self._second.close()

    # ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def unapplied(self, messages: Sequence[Message]) -> list[Message]:
        """Without messages of partitions that are not ours now, or before the position."""
        return [m for m in messages if m.offset >= self.offsets.get((m.topic, m.partition), m.offset + 1)]

    def without_gaps(self, messages: Sequence[Message]) -> list[Message]:
        """Each partition's messages up to a gap; the partition is then late.

        That brings the messages that the client has lost. Offsets without a message are no gap.
        """
        due = dict(self.offsets)
        whole: list[Message] = []
        broken: set[Partition] = set()
        for message in messages:
            where = (message.topic, message.partition)
            if where in broken:
                continue
            if due[where] < message.offset and (lost := self._second.offsets(where, due[where], message.offset)):
                log.warning("gap", action="read again", room=self._room, partition=where, lost=sorted(lost)[:10])
                broken.add(where)
                continue
            due[where] = message.offset + 1
            whole.append(message)
        self.late |= broken
        return whole

    def note(self, applied: Applied) -> None:
        """Move the offsets of what was applied."""
        ours = {where: offset for where, offset in applied.ends.items() if where in self.offsets}
        self.offsets |= ours
        self.to_commit |= ours

    # ── silence ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def look_for_silent(self) -> set[Partition]:
        """Make partitions late that hold more and were silent since two looks. → those that are silent although they were
        read again"""
        self._admin.poll(0)  # for its log lines
        looked, self._looked = self._looked, dict(self.offsets)
        overdue, self._overdue = self._overdue, {}
        quiet = {
            where: due for where, due in self._looked.items() if looked.get(where) == due and where not in self.late
        }
        try:
            ends = self._ends_holding_more(quiet)
        except KafkaException:
            return set()  # silent because Kafka is away
        dumb = set()
        for where, end in ends.items():
            due = self._overdue[where] = quiet[where]
            if overdue.get(where) != due:
                continue  # a message that has only just come
            if self._read_again_at.get(where) == (due, end):
                dumb.add(where)
                continue
            log.warning("silent", action="read again", room=self._room, partition=where, due=due, end=end)
            self._read_again_at[where] = (due, end)
            self.late.add(where)
        return dumb

    def look_at_topics(self) -> None:
        """Partitions of replaced topics are late: placing them stops the room."""
        changed = self._topics.changed({self.kafka_name(where).topic for where in self.offsets})
        self.late |= {where for where in self.offsets if self.kafka_name(where).topic in changed}

    def _ends_holding_more(self, quiet: Offsets) -> dict[Partition, int]:
        """The ends of the partitions with a message past their position. If there are only offsets without a message, the
        position moves to the end: else they would count as lag, and retention could delete the position's offset."""
        self._second.forget_unused()
        more = {}
        for where, end in self._ends_of(quiet).items():
            due = quiet[where]
            if due < end and self._second.offsets(where, due, end):
                more[where] = end
            elif due < end:
                self._skip_empty(where, due, end)
        return more

    def _skip_empty(self, where: Partition, due: int, end: int) -> None:
        with self._store.transaction() as conn:
            moved = skip_empty(conn, where, due, end)
        if moved:
            self.offsets[where] = self.to_commit[where] = end
        else:
            self.late.add(where)  # moved by another process

    def _ends_of(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Over the admin client's connection: on the consumer's each answer waits behind a fetch of half a second."""
        wanted = [self.kafka_name(where) for where in partitions]
        if not wanted:
            return {}
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        found = offsets(self._admin, wanted, latest, IsolationLevel.READ_COMMITTED, 1)
        return {self.where(partition): offset for partition, offset in found.items()}

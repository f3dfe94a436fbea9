"""Topics → the ids of their records, the latest of each key, and the records that a room has not consumed yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from operations.auditor.engine.stores import Stores
from schemas.envelope import event_type
from schemas.events import AnyEvent
from topics import catalog
from topics.catalog import Topic
from topics.runtime.shape.kafka import kafka_config, leader_moved, offsets, partitions, topic_ids
from topics.runtime.shape.record import headers_of
from topics.settings import Settings

READ_LIMIT_S = 30.0  # without a single record
AT_ONCE = 5000
LEADER_S = 15.0
Partition = tuple[str, int]
Ends = dict[Partition, tuple[int, int]]  # first available offset; end of what can be read


class Reader:
    """Reads ranges of partitions, without a group or commits. Topic names have no prefix."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.prefix = settings.topic_prefix
        self.upstreams = settings.upstreams
        self._admin = AdminClient(kafka_config(settings))
        self._kafka = Consumer(
            {
                **kafka_config(settings),
                "group.id": f"{settings.topic_prefix}verify",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "queued.max.messages.kbytes": 32_768,
                "fetch.wait.max.ms": 50,
            }
        )
        self._kafka.list_topics(timeout=15)  # without it the client asks for leaders one topic per second

    def close(self) -> None:
        self._kafka.close()

    def names(self, topic: Topic) -> list[str]:
        return catalog.names(topic, self.upstreams)

    def ends(self, *topics: Topic) -> Ends:
        """The ends of all partitions of these topics, in two requests. Errors: KafkaException if the broker is away."""
        return self.ends_of([name for topic in topics for name in self.names(topic)])

    def existing(self, names: Sequence[str]) -> list[str]:
        there = self._kafka.list_topics(timeout=15).topics
        return [name for name in names if self.prefix + name in there]

    def ends_of(self, names: Sequence[str]) -> Ends:
        at = self._partitions(names)
        first = self._offsets(at, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        last = self._offsets(at, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return {where: (first[where], last[where]) for where in at}

    def written(self, *topics: Topic) -> dict[Partition, int]:
        """The next offsets to be written, which are above the ends while a producer's transaction is open."""
        at = self._partitions([name for topic in topics for name in self.names(topic)])
        return self._offsets(at, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)  # type: ignore[no-untyped-call]

    def count(self, ranges: Mapping[Partition, tuple[int, int]]) -> dict[Partition, int]:
        """The number of records in these ranges, without transaction marks and aborted records."""
        counts = dict.fromkeys(ranges, 0)
        for record in self.records(ranges):
            counts[self.name_of(record), record.partition() or 0] += 1
        return counts

    def _partitions(self, names: Sequence[str]) -> list[Partition]:
        return [self._where(place) for place in partitions(self._kafka, [self.prefix + name for name in names])]

    def _where(self, place: TopicPartition) -> Partition:
        return place.topic[len(self.prefix) :], place.partition

    def _offsets(
        self,
        at: Sequence[Partition],
        which: OffsetSpec,
        isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> dict[Partition, int]:
        """Ask for offsets; again while a partition has no leader, or one that has just restarted."""
        if not at:
            return {}
        until = time.monotonic() + LEADER_S
        asked = [TopicPartition(self.prefix + name, partition) for name, partition in at]
        while True:
            try:
                found = offsets(self._admin, asked, which, isolation, LEADER_S)
                return {self._where(place): offset for place, offset in found.items()}
            except KafkaException as error:
                if not leader_moved(error.args[0]) or time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def topic_ids(self, names: Collection[str]) -> dict[str, str]:
        """Kafka's id of each of these topics; a topic that was deleted and made again has another."""
        found = topic_ids(self._admin, [self.prefix + name for name in names])
        return {name[len(self.prefix) :]: id_ for name, id_ in found.items()}

    def records(self, ranges: Mapping[Partition, tuple[int, int]]) -> Iterator[KafkaMessage]:
        """All records of these ranges, from the first offset to before the second."""
        left = {where: until for where, (start, until) in ranges.items() if start < until}
        at = [TopicPartition(self.prefix + name, partition, ranges[name, partition][0]) for name, partition in left]
        self._kafka.assign(at)
        try:
            while left:
                batch = self._kafka.consume(1, READ_LIMIT_S)  # `consume(n, t)` would wait t for all n
                batch += self._kafka.consume(AT_ONCE, 0)
                if not batch:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"nothing came of {sorted(left)[0]}"))
                yield from self._wanted(batch, left)
        finally:
            self._kafka.unassign()

    def name_of(self, record: KafkaMessage) -> str:
        return (record.topic() or "")[len(self.prefix) :]

    def _wanted(self, batch: Sequence[KafkaMessage], left: dict[Partition, int]) -> Iterator[KafkaMessage]:
        for record in batch:
            where = (self.name_of(record), record.partition() or 0)
            error = record.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                left.pop(where, None)  # not waited for: a compacted topic may have dropped it
                continue
            if error is not None and leader_moved(error):
                continue  # reading goes on at the new leader
            if error is not None:
                raise KafkaException(error)
            offset = record.offset()
            assert offset is not None
            if where not in left or offset >= left[where]:
                left.pop(where, None)
                continue
            if offset + 1 >= left[where]:
                del left[where]
            yield record


@dataclass(slots=True)
class Bookmark:
    """The position up to which a topic was read."""

    topic: Topic
    trimmed: bool = False  # retention has deleted the oldest records
    at: dict[Partition, int] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """A remark for the report."""
        return "the topic's oldest records are gone" if self.trimmed else ""

    def read_on(self, reading: Reader) -> Iterator[KafkaMessage]:
        """The records since the last call."""
        ends = reading.ends(self.topic)
        self.trimmed = self.trimmed or any(low > 0 for low, _ in ends.values())
        yield from reading.records(
            {where: (max(low, self.at.get(where, low)), high) for where, (low, high) in ends.items()}
        )
        self.at = {where: high for where, (_, high) in ends.items()}


@contextmanager
def reader(settings: Settings) -> Iterator[Reader]:
    reading = Reader(settings)
    try:
        yield reading
    finally:
        reading.close()


def event_ids(records: Iterator[KafkaMessage], kinds: Sequence[type[AnyEvent]]) -> Iterator[tuple[str, str]]:
    """(event id, key) of the records of these types. Records without an id are left out: rooms make dead letters of them."""
    wanted = {event_type(kind).encode() for kind in kinds}
    for record in records:
        headers = dict(headers_of(record))
        if headers.get("ce_type") in wanted and headers.get("ce_id"):
            yield headers["ce_id"].decode("utf-8", "replace"), key_of(record)


def key_of(record: KafkaMessage) -> str:
    return (record.key() or b"").decode("utf-8", "replace")


def positions(stores: Stores, room: str) -> dict[Partition, int]:
    return {(topic, p): at for topic, p, at in stores.rows(room, "SELECT topic, partition, next_offset FROM positions")}


def topics_read(stores: Stores, room: str) -> dict[str, set[str]]:
    """Name → ids of the topics that the room has read under this name; none if it did before ids were kept."""
    found: dict[str, set[str]] = {}
    for topic, id_ in stores.rows(room, "SELECT DISTINCT topic, topic_id FROM positions WHERE topic_id IS NOT NULL"):
        found.setdefault(topic, set()).add(id_)
    return found


def unread(reading: Reader, stores: Stores, room: str, topic: Topic) -> dict[Partition, tuple[int, int]]:
    """The ranges of a topic that a room has not applied yet."""
    at = positions(stores, room)
    ranges = {}
    for where, (low, high) in reading.ends(topic).items():
        start = max(low, at.get(where, low))
        if start < high:
            ranges[where] = (start, high)
    return ranges


def unread_keys(
    reading: Reader, stores: Stores, room: str, topic: Topic, wanted: Callable[[str], bool]
) -> Iterator[str]:
    """Keys with a record that the room has not applied yet."""
    for record in reading.records(unread(reading, stores, room, topic)):
        key = key_of(record)
        if wanted(key):
            yield key

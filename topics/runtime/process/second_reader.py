"""The offsets of a partition that hold a message, as read by a client other than the room's.

Offsets are rightly without a message after a transaction's end (its marker takes one) or abort, and after compaction. They
are wrongly missing if the room's client has lost records (seen: two, after cuts of the connection). Only a second reading
distinguishes these.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from topics.runtime.shape.kafka import kafka_config
from topics.settings import Settings

Partition = tuple[str, int]

LIMIT_S = 10.0  # without an answer
AT_ONCE = 1000
NEAR = 10_000  # offsets that are read through rather than sought past


@dataclass(slots=True)
class Track:
    """The offsets of a partition's messages, complete from `since` up to before `until`."""

    since: int
    until: int
    offsets: set[int] = field(default_factory=set)
    used: bool = True  # since the last `forget_unused`
    failed: KafkaError | None = None  # the client cannot read on


class SecondReader:
    """Follows the partitions that `offsets` was called for. Joins no group, commits nothing. Not thread-safe."""

    def __init__(self, settings: Settings, room: str) -> None:
        self._prefix = settings.topic_prefix
        self._config = _config(settings, room)
        self._client: KafkaConsumer | None = None  # most rooms never need one
        self._tracks: dict[Partition, Track] = {}

    def offsets(self, where: Partition, start: int, end: int) -> set[int]:
        """Those from `start` up to before `end` that hold a message. Later calls start at `end` or after.

        Errors: KafkaException if Kafka does not answer within LIMIT_S, or a record cannot be read.
        """
        track = self._tracks.get(where)
        if track is None or track.failed or not track.since <= start <= track.until + NEAR:
            track = self._begin(where, start)
        give_up_at = time.monotonic() + LIMIT_S
        while track.until < end:
            self._read_on()
            if track.failed:
                raise KafkaException(track.failed)
            if track.until < end and time.monotonic() > give_up_at:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{where} cannot be read up to {end}"))
        found = {offset for offset in track.offsets if start <= offset < end}
        track.offsets = {offset for offset in track.offsets if offset >= end}
        track.since, track.used = end, True
        return found

    def forget_unused(self) -> None:
        """Stop following partitions that were not asked for since the last time."""
        for where in [where for where, track in self._tracks.items() if not track.used]:
            self._end(where)
        for track in self._tracks.values():
            track.used = False

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _begin(self, where: Partition, start: int) -> Track:
        if where in self._tracks:
            self._end(where)
        self._client = self._client or KafkaConsumer(self._config)
        self._client.incremental_assign([TopicPartition(self._prefix + where[0], where[1], start)])
        self._tracks[where] = Track(start, start)
        return self._tracks[where]

    def _end(self, where: Partition) -> None:
        assert self._client is not None
        self._client.incremental_unassign([TopicPartition(self._prefix + where[0], where[1])])
        del self._tracks[where]

    def _read_on(self) -> None:
        assert self._client is not None
        records = self._client.consume(1, 0.2)  # `consume(n, t)` would wait out t for all n
        for record in records + self._client.consume(AT_ONCE, 0):
            self._note(record)

    def _note(self, record: KafkaMessage) -> None:
        """A message's offset, or the end up to which there is none."""
        error, offset = record.error(), record.offset()
        track = self._tracks.get(((record.topic() or "")[len(self._prefix) :], record.partition() or 0))
        if track is None:
            return
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            track.failed = error
            return
        assert offset is not None
        if error is None:
            track.offsets.add(offset)
        track.until = max(track.until, offset + 1 if error is None else offset)


def _config(settings: Settings, room: str) -> dict[str, object]:
    return {
        **kafka_config(settings),
        "group.id": f"{settings.topic_prefix}{room}.second",  # the client wants one; nothing is committed under it
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "queued.max.messages.kbytes": 4_096,
        "fetch.wait.max.ms": 50,  # a newly followed partition waits so long for the others' fetch
    }

"""Where a process begins to read: at the stored position; the first time at Kafka's, else at the earliest."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import OFFSET_INVALID, KafkaException, TopicPartition
from confluent_kafka import Consumer as KafkaConsumer

from topics.runtime.dead_letters import store as letters
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.store import Stopped, Store

Placed = dict[tuple[str, int], int]


def place(store: Store, kafka: KafkaConsumer, partitions: Sequence[TopicPartition], prefix: str) -> Placed:
    """The offsets to read from. Errors: psycopg.Error; KafkaException; Stopped where Kafka's offset is ahead of ours.

    Then the store was restored, or someone skipped: what lies between would be lost in silence. Kafka's offset is set
    back to ours, so that the room goes on from there once an operator has looked and lifts the stop.
    """
    committed = _committed(kafka, partitions, prefix)
    with store.transaction() as conn:
        rows = conn.execute(
            "SELECT topic, partition, next_offset FROM positions"
            " JOIN unnest(%s::text[], %s::integer[]) AS t (topic, partition) USING (topic, partition)",
            [[topic for topic, _ in committed], [partition for _, partition in committed]],
        )
        stored = {(topic, partition): offset for topic, partition, offset in rows}
        ahead = {w: o for w, o in committed.items() if w in stored and o > stored[w]}
        new = {w: o if o >= 0 else _earliest(kafka, prefix, w) for w, o in committed.items() if w not in stored}
        if new:
            conn.execute(
                "INSERT INTO positions (topic, partition, next_offset)"
                " SELECT * FROM unnest(%s::text[], %s::integer[], %s::bigint[]) ON CONFLICT DO NOTHING",
                [[topic for topic, _ in new], [partition for _, partition in new], list(new.values())],
            )
        if ahead:
            (topic, partition), offset = next(iter(ahead.items()))
            at = stored[(topic, partition)]
            reason = f"Kafka's offset of {topic}[{partition}] is {offset}, ours {at}: restored, or skipped by someone"
            letters.write_stop(conn, "offset_ahead", reason)
    if ahead:
        _set_back(
            kafka, [TopicPartition(prefix + topic, partition, stored[topic, partition]) for topic, partition in ahead]
        )
        raise Stopped("offset_ahead", reason)
    return stored | new


def pass_by(conn: Connection, where: tuple[str, int], due: int, end: int) -> bool:
    """Move a position past offsets that hold no message. False where it is no longer `due`: nothing is changed then."""
    moved = conn.execute(
        "UPDATE positions SET next_offset = %s WHERE topic = %s AND partition = %s AND next_offset = %s RETURNING 1",
        [end, *where, due],
    )
    return moved.fetchone() is not None


def _committed(kafka: KafkaConsumer, partitions: Sequence[TopicPartition], prefix: str) -> Placed:
    found = kafka.committed(list(partitions), timeout=10)
    for partition in found:
        if partition.error:
            raise KafkaException(partition.error)
    return {(p.topic[len(prefix) :], p.partition): p.offset for p in found}


def _set_back(kafka: KafkaConsumer, offsets: list[TopicPartition]) -> None:
    try:
        kafka.commit(offsets=offsets, asynchronous=False)
    except KafkaException:
        pass  # the stop stands; after its lift this is tried again


def _earliest(kafka: KafkaConsumer, prefix: str, where: tuple[str, int]) -> int:
    low, _ = kafka.get_watermark_offsets(TopicPartition(prefix + where[0], where[1]), timeout=10)
    assert low != OFFSET_INVALID
    return int(low)

"""Where a process begins to read: at the stored position; without one at Kafka's committed offset, else at the earliest.

A position belongs to one topic by Kafka's topic id. A topic that was deleted and created again has other records at the
same offsets: going on would skip those before the position, so the room stops until an operator chooses the way out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import OFFSET_INVALID, KafkaException, TopicPartition
from confluent_kafka import Consumer as KafkaConsumer

from topics.runtime.dead_letters import store as letters
from topics.runtime.delivery.apply import stop_room
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.store import Stopped, Store

Partition = tuple[str, int]
Offsets = dict[Partition, int]


@dataclass(frozen=True, slots=True)
class _Row:
    """A stored position, and the way out that an operator has chosen for it."""

    next_offset: int
    topic_id: str | None
    way: str | None


def start_offsets(
    store: Store,
    kafka: KafkaConsumer,
    partitions: Sequence[TopicPartition],
    prefix: str,
    ids: Mapping[str, str],
    set_back: Callable[[list[TopicPartition]], None] | None = None,
) -> Offsets:
    """The offsets to read from; `ids` are Kafka's present topic ids. Errors: psycopg.Error; KafkaException; Stopped if a
    topic has been replaced, or Kafka's committed offset is ahead of the stored position.

    Ahead means that the store was restored from a backup, or that somebody moved the offset: the records between would be
    skipped silently. The offset is set back to the position (by `set_back`, where `kafka` is no member of the group), from
    which the room goes on once an operator lifts the stop.
    """
    committed = _committed(kafka, partitions, prefix)
    with store.transaction() as conn:
        rows = _stored(conn, committed, ids)
        replaced = {
            w: ids[w[0]] for w, row in rows.items() if row.topic_id not in (None, ids[w[0]]) and row.way is None
        }
        restarted = {w: earliest(kafka, prefix, w) for w, row in rows.items() if row.way == "start"}
        stored = {w: row.next_offset for w, row in rows.items()} | restarted
        ahead = {} if replaced else {w: o for w, o in committed.items() if w in stored and o > stored[w]}
        new = {w: o if o >= 0 else earliest(kafka, prefix, w) for w, o in committed.items() if w not in stored}
        _insert(conn, new, ids)
        stop: Stopped | None
        if replaced:
            stop = _stop_replaced(conn, *next(iter(replaced.items())))
        else:
            _move_to_topics(conn, {w: stored[w] for w, row in rows.items() if row.way or row.topic_id is None}, ids)
            stop = _stop_ahead(conn, {w: (o, stored[w]) for w, o in ahead.items() if w not in restarted})
    if ahead:
        (set_back or partial(_set_back, kafka))([TopicPartition(prefix + w[0], w[1], stored[w]) for w in ahead])
    if stop:
        raise stop
    return stored | new


def earliest(kafka: KafkaConsumer, prefix: str, where: Partition) -> int:
    """The first offset that the broker still has. Errors: KafkaException."""
    low, _ = kafka.get_watermark_offsets(TopicPartition(prefix + where[0], where[1]), timeout=10)
    assert low != OFFSET_INVALID
    return int(low)


def stop_for_gone_offset(store: Store, where: Partition, due: int, why: str) -> Stopped:
    """→ the stop: retention has deleted the due message."""
    reason = f"message {due} of {where[0]}[{where[1]}] is gone from Kafka: {why}; `tally resume` names the ways out"
    return stop_room(store, "offset_gone", reason, {"topic": where[0], "partition": where[1], "offset": due})


def skip_empty(conn: Connection, where: Partition, due: int, end: int) -> bool:
    """Move a position past offsets without messages. False, and nothing changed, if the position is no longer `due`."""
    moved = conn.execute(
        "UPDATE positions SET next_offset = %s WHERE topic = %s AND partition = %s AND next_offset = %s RETURNING 1",
        [end, *where, due],
    )
    return moved.fetchone() is not None


# A way out holds for its stop's subject only: that one new topic, or that one offset.
_STORED = """
SELECT p.topic, p.partition, p.next_offset, p.topic_id, (
    SELECT s.way FROM stops s WHERE s.way IS NOT NULL AND s.about->>'topic' = p.topic AND (
        (s.about->>'topic_id' = t.id AND p.topic_id IS DISTINCT FROM t.id)
        OR (s.about->>'partition' = p.partition::text AND s.about->>'offset' = p.next_offset::text)
    ) ORDER BY s.id DESC LIMIT 1)
FROM positions p JOIN unnest(%s::text[], %s::integer[], %s::text[]) AS t (topic, partition, id) USING (topic, partition)
"""


def _stored(conn: Connection, wheres: Offsets, ids: Mapping[str, str]) -> dict[Partition, _Row]:
    rows = conn.execute(_STORED, _columns(wheres, lambda w: w[0], lambda w: w[1], lambda w: ids[w[0]]))
    return {(topic, partition): _Row(*row) for topic, partition, *row in rows}


def _columns(wheres: Offsets, *columns: Callable[[Partition], Any]) -> list[list[Any]]:
    return [[column(where) for where in wheres] for column in columns]


def _insert(conn: Connection, new: Offsets, ids: Mapping[str, str]) -> None:
    if new:
        conn.execute(
            "INSERT INTO positions (topic, partition, next_offset, topic_id)"
            " SELECT * FROM unnest(%s::text[], %s::integer[], %s::bigint[], %s::text[]) ON CONFLICT DO NOTHING",
            _columns(new, lambda w: w[0], lambda w: w[1], lambda w: new[w], lambda w: ids[w[0]]),
        )


def _move_to_topics(conn: Connection, rows: Offsets, ids: Mapping[str, str]) -> None:
    """Store these positions under the present topic ids."""
    if rows:
        conn.execute(
            "UPDATE positions p SET next_offset = u.next, topic_id = u.id"
            " FROM unnest(%s::text[], %s::integer[], %s::bigint[], %s::text[]) AS u (topic, partition, next, id)"
            " WHERE p.topic = u.topic AND p.partition = u.partition",
            _columns(rows, lambda w: w[0], lambda w: w[1], lambda w: rows[w], lambda w: ids[w[0]]),
        )


def _stop_replaced(conn: Connection, where: Partition, id_: str) -> Stopped:
    topic, _ = where
    reason = f"{topic} is not the topic that was read: it was deleted and made anew; `tally resume` names the ways out"
    # An operator may have chosen a way out since our query, or be about to commit one: a second stop for the same topic
    # would ask again. The stop that is being lifted is locked until then.
    conn.execute("SELECT 1 FROM stops WHERE lifted_at IS NULL FOR UPDATE")
    chosen = "SELECT 1 FROM stops WHERE way IS NOT NULL AND code = 'topic_replaced' AND about->>'topic_id' = %s"
    if conn.execute(chosen, [id_]).fetchone() is None:
        letters.write_stop(conn, "topic_replaced", reason, about={"topic": topic, "topic_id": id_})
    return Stopped("topic_replaced", reason)


def _stop_ahead(conn: Connection, ahead: Mapping[Partition, tuple[int, int]]) -> Stopped | None:
    if not ahead:
        return None
    (topic, partition), (offset, at) = next(iter(ahead.items()))
    reason = f"Kafka's offset of {topic}[{partition}] is {offset}, ours {at}: restored, or skipped by someone"
    letters.write_stop(conn, "offset_ahead", reason)
    return Stopped("offset_ahead", reason)


def _committed(kafka: KafkaConsumer, partitions: Sequence[TopicPartition], prefix: str) -> Offsets:
    found = kafka.committed(list(partitions), timeout=10)
    for partition in found:
        if partition.error:
            raise KafkaException(partition.error)
    return {(p.topic[len(prefix) :], p.partition): p.offset for p in found}


def _set_back(kafka: KafkaConsumer, offsets: list[TopicPartition]) -> None:
    try:
        kafka.commit(offsets=offsets, asynchronous=False)
    except KafkaException:
        pass  # the stop is stored; retried after its lift

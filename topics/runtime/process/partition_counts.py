"""A room's topics on the broker → a line for each whose number of partitions has changed.

A key's events are in order because they share a partition, and its partition depends on their number. We never change that
number. If somebody does, the events in flight of a key may be consumed out of order (revisions show it), and a compacted
topic keeps old records of keys that have moved; nothing is lost: rooms go on and report it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString, NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from topics import catalog
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.kafka import describe_topics
from topics.settings import Settings


class PartitionCount(NamedTuple):
    """A topic as it is now, without prefix. A topic that is deleted and created again has another id."""

    topic: str
    topic_id: str
    partitions: int


def find(kafka: AdminClient, settings: Settings, room: str) -> list[PartitionCount]:
    """The room's keyed topics that exist. Errors: KafkaException where the broker is away."""
    of_room = catalog.room(room)
    named = [n for t in (*of_room.reads, *of_room.writes) if t.on_kafka for n in catalog.names(t, settings.upstreams)]
    found = []
    for name, future in describe_topics(kafka, [settings.topic_prefix + name for name in named]).items():
        try:
            topic = future.result()
        except KafkaException as error:
            if error.args[0].name() != "UNKNOWN_TOPIC_OR_PART":
                raise
            continue
        found.append(PartitionCount(name[len(settings.topic_prefix) :], str(topic.topic_id), len(topic.partitions)))
    return found


def remember(conn: Connection, found: Sequence[PartitionCount]) -> None:
    """Store the counts of topics that are new."""
    conn.execute(
        f"INSERT INTO topics (topic, topic_id, partitions) SELECT * FROM {_FOUND} ON CONFLICT DO NOTHING",
        _columns(found),
    )


def changes(conn: Connection, found: Sequence[PartitionCount]) -> list[str]:
    """A line for each topic whose number has changed since it was stored."""
    rows = conn.execute(
        f"SELECT topic, topics.partitions, now.partitions FROM topics JOIN {_FOUND} AS now (topic, topic_id, partitions)"
        " USING (topic, topic_id) WHERE topics.partitions <> now.partitions ORDER BY 1",
        _columns(found),
    )
    return [f"{topic} has {now} partitions and had {was}: see docs/stops.md" for topic, was, now in rows]


_FOUND: LiteralString = "unnest(%s::text[], %s::text[], %s::integer[])"


def _columns(found: Sequence[PartitionCount]) -> list[list[object]]:
    return [[each.topic for each in found], [each.topic_id for each in found], [each.partitions for each in found]]

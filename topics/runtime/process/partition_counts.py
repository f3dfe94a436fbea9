"""What the broker says of a room's topics → a line for each whose number of partitions is not what it was.

A key's events are in order because they share a partition, which hangs on how many there are. Nobody of ours changes that
number; if somebody does, keys with events on the way at that moment may be heard out of order (revisions tell), a compacted
topic keeps old records of keys that have moved, and nothing is lost: rooms go on, and say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString, NamedTuple

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from topics import catalog
from topics.runtime.shape.consumer import Connection
from topics.settings import Settings


class PartitionCount(NamedTuple):
    """A topic as it is now, without prefix. One that was deleted and made anew has another id, and is another topic."""

    topic: str
    topic_id: str
    partitions: int


def find(kafka: AdminClient, settings: Settings, room: str) -> list[PartitionCount]:
    """The room's keyed topics that exist. Errors: KafkaException where the broker is away."""
    of_room = catalog.room(room)
    named = [n for t in (*of_room.reads, *of_room.writes) if t.on_kafka for n in catalog.names(t, settings.upstreams)]
    asked = TopicCollection([settings.topic_prefix + name for name in named])
    described = kafka.describe_topics(asked, request_timeout=5)
    found = []
    for name, future in described.items():
        try:
            topic = future.result()
        except KafkaException as error:
            if error.args[0].name() != "UNKNOWN_TOPIC_OR_PART":
                raise
            continue
        found.append(PartitionCount(name[len(settings.topic_prefix) :], str(topic.topic_id), len(topic.partitions)))
    return found


def remember(conn: Connection, found: Sequence[PartitionCount]) -> None:
    """Topics that were not seen before."""
    conn.execute(
        f"INSERT INTO topics (topic, topic_id, partitions) SELECT * FROM {_FOUND} ON CONFLICT DO NOTHING",
        _columns(found),
    )


def changes(conn: Connection, found: Sequence[PartitionCount]) -> list[str]:
    """A line for each topic that has another number now than when it was first seen."""
    rows = conn.execute(
        f"SELECT topic, topics.partitions, now.partitions FROM topics JOIN {_FOUND} AS now (topic, topic_id, partitions)"
        " USING (topic, topic_id) WHERE topics.partitions <> now.partitions ORDER BY 1",
        _columns(found),
    )
    return [f"{topic} has {now} partitions and had {was}: see docs/stops.md" for topic, was, now in rows]


_FOUND: LiteralString = "unnest(%s::text[], %s::text[], %s::integer[])"


def _columns(found: Sequence[PartitionCount]) -> list[list[object]]:
    return [[each.topic for each in found], [each.topic_id for each in found], [each.partitions for each in found]]

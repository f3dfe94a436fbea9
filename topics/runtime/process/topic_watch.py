"""The topics that a room reads → their Kafka ids, and which topics have been replaced under the same name."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Future

from confluent_kafka.admin import AdminClient, TopicDescription  # type: ignore[attr-defined]

from topics.runtime.shape.kafka import describe_topics, topic_ids


class TopicWatch:
    """Notices a topic that is deleted and created again: the client would read on in it at the old offset (seen)."""

    def __init__(self, admin: AdminClient) -> None:
        self._admin = admin
        self._ids: dict[str, str] = {}  # by full name, as last returned
        self._asked: dict[str, Future[TopicDescription]] = {}

    def ids(self, names: Collection[str]) -> dict[str, str]:
        """The present ids. Errors: KafkaException."""
        now = topic_ids(self._admin, names)
        self._ids |= now
        return now

    def changed(self, names: Collection[str]) -> set[str]:
        """The topics with another id than `ids` returned last. Requested in one call, read in the next, without waiting."""
        described = {
            name: asked.result() for name, asked in self._asked.items() if asked.done() and not asked.exception()
        }
        self._asked = describe_topics(self._admin, names) if names else {}
        return {name for name, topic in described.items() if str(topic.topic_id) != self._ids.get(name)}

"""Topics that a room reads → Kafka's ids of them, and which have become others under the same names."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Future

from confluent_kafka.admin import AdminClient, TopicDescription  # type: ignore[attr-defined]

from topics.runtime.shape.kafka import describe_topics, topic_ids


class TopicWatch:
    """A topic that was deleted and made anew has another id, and the client reads on in it at the old one's offset (seen)."""

    def __init__(self, admin: AdminClient) -> None:
        self._admin = admin
        self._ids: dict[str, str] = {}  # by full name, as last told
        self._asked: dict[str, Future[TopicDescription]] = {}

    def ids(self, names: Collection[str]) -> dict[str, str]:
        """As they are now. Errors: KafkaException."""
        now = topic_ids(self._admin, names)
        self._ids |= now
        return now

    def changed(self, names: Collection[str]) -> set[str]:
        """Those with another id than `ids` told last. Asked at one look, read at the next: nobody waits for the answer."""
        described = {
            name: asked.result() for name, asked in self._asked.items() if asked.done() and not asked.exception()
        }
        self._asked = describe_topics(self._admin, names) if names else {}
        return {name for name, topic in described.items() if str(topic.topic_id) != self._ids.get(name)}

"""The topics that a room reads → their Kafka ids, and which topics have been replaced under the same name."""

from __future__ import annotations

import time
from collections.abc import Collection
from concurrent.futures import Future

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, TopicDescription  # type: ignore[attr-defined]

from topics.runtime.shape.kafka import describe_topics, topic_ids

LIMIT_S = 1.0
# While a request waits for a broker that is away, two threads of the client run without rest (librdkafka 2.16, measured):
# with a request every second two rooms took both processors, and Kafka's restart 40 s in place of 10.
AWAY_S = 10.0


class TopicWatch:
    """Notices a topic that is deleted and created again: the client would read on in it at the old offset (seen)."""

    def __init__(self, admin: AdminClient) -> None:
        self._admin = admin
        self._ids: dict[str, str] = {}  # by full name, as last returned
        self._asked: dict[str, Future[TopicDescription]] = {}
        self._again_at = 0.0  # monotonic, seconds

    def ids(self, names: Collection[str]) -> dict[str, str]:
        """The present ids. Errors: KafkaException."""
        now = topic_ids(self._admin, names)
        self._ids |= now
        return now

    def changed(self, names: Collection[str]) -> set[str]:
        """The topics with another id than `ids` returned last. Requested in one call, read in a later one, without waiting.
        After a request without an answer none is made for AWAY_S."""
        if not all(asked.done() for asked in self._asked.values()):
            return set()
        if any(_unanswered(asked) for asked in self._asked.values()):
            self._again_at = time.monotonic() + AWAY_S
        described = {name: asked.result() for name, asked in self._asked.items() if not asked.exception()}
        ask = names and time.monotonic() >= self._again_at
        self._asked = describe_topics(self._admin, names, LIMIT_S) if ask else {}
        return {name for name, topic in described.items() if str(topic.topic_id) != self._ids.get(name)}


def _unanswered(asked: Future[TopicDescription]) -> bool:
    error = asked.exception()
    return isinstance(error, KafkaException) and error.args[0].code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT)

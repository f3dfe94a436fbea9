"""What delivers messages twice in journeys and chaos ← a Kafka that refuses for a moment."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message

from tests.journey.mischief import Copier
from topics.settings import Settings


class Restarted:
    """A producer whose broker has just come back, and knows the topic from the second time on."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._knows = False

    def produce(self, topic: str, *_: Any, **__: Any) -> None:
        if not self._knows:
            self._knows = True
            raise KafkaException(KafkaError(KafkaError._UNKNOWN_TOPIC))
        self.said.append(topic)

    def poll(self, *_: object) -> None:
        pass


def test_a_topic_that_kafka_does_not_know_yet_gets_its_copy_later() -> None:
    copier = Copier(Settings(kafka="127.0.0.1:1", secret="s" * 64), seed=1, share=1.0)
    producer = copier._producer = Restarted()  # type: ignore[assignment]
    copier._consider(Message("executions.v1", 0, 0, b"k", b"v", [("ce_id", b"1")]))
    copier._repeat_due(float("inf"))
    copier._repeat_due(float("inf"))
    assert producer.said == ["executions.v1"]

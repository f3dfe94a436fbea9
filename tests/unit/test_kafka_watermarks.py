"""A partition's watermarks are asked for again while its leader is being elected, and only then."""

from __future__ import annotations

from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from topics.runtime.shape.kafka import watermarks


class Electing:
    """A client whose first answers are errors."""

    def __init__(self, *codes: int) -> None:
        self._codes = list(codes)
        self.refreshed = 0

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        if self._codes:
            raise KafkaException(KafkaError(self._codes.pop(0)))
        return 3, 7

    def list_topics(self, topic: str, timeout: float) -> Any:
        self.refreshed += 1


def asked(client: Electing, limit_s: float = 15) -> tuple[int, int]:
    return watermarks(cast("Consumer", client), TopicPartition("executions.v1", 0), limit_s)


def test_a_leader_that_is_being_elected_is_waited_for_with_fresh_metadata() -> None:
    client = Electing(KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
    assert asked(client) == (3, 7)
    assert client.refreshed == 2


def test_any_other_error_is_told_at_once() -> None:
    client = Electing(KafkaError._TRANSPORT)
    with pytest.raises(KafkaException):
        asked(client)
    assert client.refreshed == 0


def test_the_limit_ends_it() -> None:
    with pytest.raises(KafkaException):
        asked(Electing(*[KafkaError.NOT_LEADER_FOR_PARTITION] * 50), limit_s=0)

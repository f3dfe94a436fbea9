"""What Kafka says of topics, or does not say → when it is asked again."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from topics.runtime.process import topic_watch
from topics.runtime.process.topic_watch import TopicWatch


class Kafka:
    """An admin client whose requests are answered by the test."""

    def __init__(self) -> None:
        self.requests: list[Future[Any]] = []

    def describe_topics(self, wanted: Any, request_timeout: float) -> dict[str, Future[Any]]:
        self.requests.append(Future())
        return dict.fromkeys(wanted.topic_names, self.requests[-1])


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture
def watch(kafka: Kafka) -> TopicWatch:
    found = TopicWatch(kafka)  # type: ignore[arg-type]
    found._ids = {"t": "old"}
    return found


def test_while_kafka_is_away_it_is_asked_every_ten_seconds(
    kafka: Kafka, watch: TopicWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request that waits for a broker keeps two threads of the client busy, which the broker needs to come back."""
    for second in range(60):
        monkeypatch.setattr(topic_watch.time, "monotonic", lambda second=second: 1000.0 + second)
        watch.changed({"t"})
        if kafka.requests and not kafka.requests[-1].done():
            kafka.requests[-1].set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
    assert len(kafka.requests) == 6


def test_one_request_is_on_its_way_at_a_time(kafka: Kafka, watch: TopicWatch) -> None:
    assert [watch.changed({"t"}) for _ in range(5)] == [set()] * 5
    assert len(kafka.requests) == 1
    kafka.requests[0].set_result(SimpleNamespace(topic_id="new"))
    assert watch.changed({"t"}) == {"t"}
    assert len(kafka.requests) == 2


def test_a_topic_that_is_gone_is_asked_for_again_at_once(kafka: Kafka, watch: TopicWatch) -> None:
    """It may be just being made anew."""
    watch.changed({"t"})
    kafka.requests[0].set_exception(KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)))
    assert watch.changed({"t"}) == set()
    assert len(kafka.requests) == 2

"""Settings → what every client of Kafka is given; and what Kafka knows of a topic."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec, TopicDescription  # type: ignore[attr-defined]

from topics.settings import Settings

# The usual way to find a broker again, `rebootstrap`, forgets how long it has waited: each client tried, and logged it,
# twenty times a second for as long as the broker was away (measured).
_RECONNECT: dict[str, str | int | float | bool] = {
    "metadata.recovery.strategy": "none",
    "reconnect.backoff.ms": 100,
    "reconnect.backoff.max.ms": 1000,
}


def kafka_config(settings: Settings) -> dict[str, Any]:
    """What every client is given. Its lines go to Python's logging whenever it is polled; one never polled keeps them."""
    return {
        "bootstrap.servers": settings.kafka,
        "log_level": "3",
        "logger": logging.getLogger("kafka"),
        **_RECONNECT,
        **settings.kafka_options,
    }


# What a client hears after a broker has started again, or a partition has moved, until it has asked for the leaders anew.
_LEADER_MOVED = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
)


def leader_moved(error: KafkaError) -> bool:
    return error.code() in _LEADER_MOVED


def offsets(
    admin: AdminClient, wanted: Sequence[TopicPartition], which: OffsetSpec, isolation: IsolationLevel, limit_s: float
) -> dict[TopicPartition, int]:
    """The offsets that `which` stands for. Errors: KafkaException; where a leader has moved the next call finds it, for a
    client that is fenced asks for the new leader only when it is told to."""
    asked = admin.list_offsets(dict.fromkeys(wanted, which), isolation_level=isolation, request_timeout=limit_s)
    try:
        return {partition: future.result().offset for partition, future in asked.items()}
    except KafkaException as error:
        if leader_moved(error.args[0]):
            admin.list_topics(timeout=limit_s)
        raise


def partitions(kafka: Consumer | AdminClient, names: Sequence[str]) -> list[TopicPartition]:
    """Every partition of these topics (full names), as the broker has them. Errors: KafkaException."""
    topics = kafka.list_topics(timeout=15).topics
    if unknown := [name for name in names if name not in topics]:
        raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"no topic {unknown[0]}"))
    return [TopicPartition(name, number) for name in names for number in sorted(topics[name].partitions)]


def describe_topics(admin: AdminClient, names: Iterable[str]) -> dict[str, Future[TopicDescription]]:
    """What Kafka knows of each topic (full names): asked now, read later."""
    wanted = TopicCollection(sorted(names))
    asked: dict[str, Future[TopicDescription]] = admin.describe_topics(wanted, request_timeout=5)
    return asked


def topic_ids(admin: AdminClient, names: Iterable[str]) -> dict[str, str]:
    """Kafka's own id of each topic: one that was deleted and made anew has another. Errors: KafkaException."""
    return {name: str(topic.result().topic_id) for name, topic in describe_topics(admin, names).items()}

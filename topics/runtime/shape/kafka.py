"""Settings → the configuration of every Kafka client; and look-ups of topics, partitions and offsets."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec, TopicDescription  # type: ignore[attr-defined]

from topics.settings import Settings

# The default recovery, `rebootstrap`, resets the back-off: each client reconnected, and logged it, twenty times a second
# while the broker was away (measured).
_RECONNECT: dict[str, str | int | float | bool] = {
    "metadata.recovery.strategy": "none",
    "reconnect.backoff.ms": 100,
    "reconnect.backoff.max.ms": 1000,
}


def kafka_config(settings: Settings) -> dict[str, Any]:
    """Shared by all clients. librdkafka's log lines reach Python's logging when the client is polled."""
    return {
        "bootstrap.servers": settings.kafka,
        "log_level": "3",
        "logger": logging.getLogger("kafka"),
        **_RECONNECT,
        **settings.kafka_options,
    }


# Errors after a broker's restart or a partition's move, until the client has refreshed its metadata.
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
    """The offsets that `which` stands for. Errors: KafkaException. After a leader has moved the metadata is refreshed here, so
    that the next call finds the new leader: a fenced client does not refresh it by itself."""
    asked = admin.list_offsets(dict.fromkeys(wanted, which), isolation_level=isolation, request_timeout=limit_s)
    try:
        return {partition: future.result().offset for partition, future in asked.items()}
    except KafkaException as error:
        if leader_moved(error.args[0]):
            admin.list_topics(timeout=limit_s)
        raise


def watermarks(kafka: Consumer, partition: TopicPartition, limit_s: float = 15) -> tuple[int, int]:
    """→ the first offset and the one behind the last; equal where it holds none. A partition whose leader
    has just moved, or of a topic just made, is asked again within the limit. Errors: KafkaException."""
    end = time.monotonic() + limit_s
    while True:
        try:
            low, high = kafka.get_watermark_offsets(partition, timeout=limit_s)
            return low, high
        except KafkaException as error:
            if not leader_moved(error.args[0]) or time.monotonic() > end:
                raise
        kafka.list_topics(
            partition.topic, timeout=limit_s
        )  # this client does not refresh its metadata for that by itself
        time.sleep(0.1)


def partitions(kafka: Consumer | AdminClient, names: Sequence[str]) -> list[TopicPartition]:
    """Every partition of these topics (full names), as the broker has them. Errors: KafkaException."""
    topics = kafka.list_topics(timeout=15).topics
    if unknown := [name for name in names if name not in topics]:
        raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"no topic {unknown[0]}"))
    return [TopicPartition(name, number) for name in names for number in sorted(topics[name].partitions)]


def describe_topics(
    admin: AdminClient, names: Iterable[str], limit_s: float = 5
) -> dict[str, Future[TopicDescription]]:
    """Kafka's description of each topic (full names, repeats allowed: a room may read what it writes), as futures."""
    wanted = TopicCollection(sorted(set(names)))
    asked: dict[str, Future[TopicDescription]] = admin.describe_topics(wanted, request_timeout=limit_s)
    return asked


def topic_ids(admin: AdminClient, names: Iterable[str]) -> dict[str, str]:
    """Kafka's id of each topic; it changes when a topic is deleted and created again. Errors: KafkaException."""
    return {name: str(topic.result().topic_id) for name, topic in describe_topics(admin, names).items()}

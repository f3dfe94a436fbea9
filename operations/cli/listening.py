"""Topics → events for people, with buyers' personal fields redacted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, TopicPartition
from confluent_kafka import Message as KafkaMessage

from schemas.envelope import TYPE_PREFIX
from topics.catalog import TOPICS, all_topics
from topics.runtime.shape.kafka import kafka_config, partitions
from topics.runtime.shape.record import headers_of
from topics.settings import Settings

HIDDEN = frozenset[str]().union(*(kind.personal for topic in TOPICS for kind in topic.says))
POLL_S = 0.5


class UnknownTopic(Exception):
    """There is no such topic; the message lists the topics."""


@dataclass(frozen=True, slots=True)
class ShownRecord:
    """One record, redacted."""

    at: datetime
    topic: str
    key: str
    event: str
    event_id: str
    says: Any

    def as_dict(self) -> dict[str, Any]:
        fields = {"at": self.at.isoformat(), "topic": self.topic, "key": self.key, "event": self.event}
        return {**fields, "id": self.event_id, "says": self.says}


def topics_named(settings: Settings, names: Sequence[str]) -> list[str]:
    """Full names without prefix; all for none. Errors: UnknownTopic."""
    known = all_topics(settings.upstreams)
    wanted = []
    for name in names:
        full = name.removeprefix(settings.topic_prefix)
        full = full if full in known else f"{full}.v1"
        if full not in known:
            raise UnknownTopic(f"there is no topic {name}; there are {', '.join(known)}")
        wanted.append(full)
    return wanted or list(known)


def listen(settings: Settings, topics: Sequence[str], from_beginning: bool, key: str | None) -> Iterator[ShownRecord]:
    """Yields records for ever. Joins no group and commits nothing."""
    start = OFFSET_BEGINNING if from_beginning else OFFSET_END
    kafka = Consumer(
        {**kafka_config(settings), "group.id": f"{settings.topic_prefix}tail", "enable.auto.commit": False}
    )
    try:
        found = partitions(kafka, [settings.topic_prefix + name for name in topics])
        kafka.assign([TopicPartition(where.topic, where.partition, start) for where in found])
        while True:
            for record in [*kafka.consume(1, POLL_S), *kafka.consume(500, 0)]:
                if record.error() is None and (key is None or _text(record.key()) == key):
                    yield shown_record(record, settings.topic_prefix)
    finally:
        kafka.close()


def shown_record(record: KafkaMessage, prefix: str) -> ShownRecord:
    headers = {name: _text(value) for name, value in headers_of(record)}
    return ShownRecord(
        datetime.fromtimestamp(record.timestamp()[1] / 1000, UTC),
        (record.topic() or "")[len(prefix) :],
        _text(record.key()),
        headers.get("ce_type", "?").removeprefix(TYPE_PREFIX),
        headers.get("ce_id", "?"),
        redacted_value(record.value()),
    )


def redacted_value(value: bytes | None) -> Any:
    """The value without buyers' personal fields; only its size if it is no JSON object."""
    try:
        body = json.loads(value or b"")
        if isinstance(body, dict):
            return redact(body)
    except (ValueError, RecursionError):  # a sender may nest arbitrarily deep
        pass
    return f"{len(value or b'')} bytes that are no JSON object"


def redact(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: "…" if name in HIDDEN else redact(held) for name, held in value.items()}
    return [redact(held) for held in value] if isinstance(value, list) else value


def as_line(record: ShownRecord) -> str:
    """12:34:56.789 executions.v1 o-1 PaymentCaptured.v1 gross=12.34 EUR psp=northpay …"""
    says = record.says
    fields = " ".join(f"{n}={_short(v)}" for n, v in says.items() if v != "…") if isinstance(says, dict) else str(says)
    return (
        f"{record.at:%H:%M:%S}.{record.at.microsecond // 1000:03} {record.topic} {record.key} {record.event} {fields}"
    )


def _short(value: Any) -> str:
    match value:
        case {"amount": amount, "currency": currency}:
            return f"{amount} {currency}"
        case dict() | list():
            return f"{len(value)} of them" if isinstance(value, list) else "{…}"
    return str(value)


def _text(raw: str | bytes | None) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw or ""

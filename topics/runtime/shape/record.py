"""A Kafka record → a message free of transport; headers ⇄ the bytes that a letter stores."""

from __future__ import annotations

from collections.abc import Iterable
from operator import methodcaller
from typing import cast

import orjson
from confluent_kafka import Message as KafkaMessage

from topics.runtime.shape.consumer import Message

HeaderPairs = list[tuple[str, bytes]]

# Called from C, where a result with an exception set is noticed: CPython's specialised method call misses it.
_headers = methodcaller("headers")


def headers_of(record: KafkaMessage) -> tuple[tuple[str, bytes], ...]:
    """Empty if a name is not UTF-8: the client raises then (confluent-kafka 2.16).

    Call it once for each record: a second result would hold null pointers.
    """
    try:
        return tuple(cast(list[tuple[str, bytes]], _headers(record) or ()))
    except SystemError:
        return ()


def message_of(record: KafkaMessage, prefix: str) -> Message:
    topic, partition, offset = record.topic(), record.partition(), record.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    stamp = record.timestamp()[1]
    return Message(topic[len(prefix) :], partition, offset, record.key(), record.value(), headers_of(record), stamp)


def dump_headers(headers: Iterable[tuple[str, bytes]]) -> bytes:
    """JSON pairs; any byte has its place in latin-1."""
    return orjson.dumps([(name, None if value is None else value.decode("latin-1")) for name, value in headers])


def load_headers(raw: bytes) -> HeaderPairs:
    """A header without a value, as other producers write them, stays None."""
    return [(name, None if value is None else value.encode("latin-1")) for name, value in orjson.loads(raw)]  # type: ignore[misc]

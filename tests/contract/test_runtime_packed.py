"""Compressed records that unpack to hundreds of megabytes → dead letters that hold no key; what comes after them is heard."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from confluent_kafka import Producer

from tests.contract.rooms import Books, request_body, request_headers
from tests.contract.running import members, wait
from topics.runtime.shape.kafka import kafka_config
from topics.settings import Settings

TOPIC = "payment-requests.shop.v1"
MB = 1 << 20


def upstream_writes(settings: Settings, codec: str, values: Sequence[bytes]) -> None:
    """As one batch, so far as the client makes one; all of one partition."""
    config = {"compression.type": codec, "message.max.bytes": 1_000_000_000, "linger.ms": 500}
    producer = Producer(kafka_config(settings) | config)
    failed: list[object] = []
    for number, value in enumerate(values):
        headers = list(request_headers(f"{codec}-{number}-{len(value)}"))
        producer.produce(
            settings.topic_prefix + TOPIC,
            value,
            b"k",
            0,
            headers=headers,
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
    assert (producer.flush(60), failed) == (0, [])


@pytest.mark.parametrize(
    ("codec", "size", "code"), [("gzip", 20 * MB, "too_large"), ("zstd", 100 * MB, "cannot_unpack")]
)
def test_a_record_that_unpacks_to_hundreds_of_megabytes_holds_up_nobody(
    on_kafka: Settings, books: Books, codec: str, size: int, code: str
) -> None:
    upstream_writes(on_kafka, codec, [b"1 " * size, b"{}"])
    upstream_writes(on_kafka, "none", [json.dumps(request_body("k")).encode()])
    with members(on_kafka, 1):
        wait("what came after it is done", lambda: books.effects("k") == [1])
    assert books.letters()[0] == ("dead", code)
    assert books.rows("SELECT count(*) FROM parked WHERE holds OR length(value) > 1000 OR kafka_offset > 1") == [(0,)]
    assert books.stops() == []

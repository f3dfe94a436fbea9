"""What Kafka sends to Faust, broken in its records → what can be read of it, and nothing raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from reconciliation.record_batches import RecordBatches
from topics.runtime.shape.consumer import OPAQUE

Pairs = list[tuple[str, bytes]]


def batch(*headers: Pairs, codec: int = 0, first: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, False, -1, -1, -1, 1 << 20)
    for index, pairs in enumerate(headers):
        builder.append(index, 1000 + index, b"key", b"value %d" % index, pairs)
    built = bytearray(builder.build())
    built[:8] = first.to_bytes(8, "big")
    return bytes(built)


def spoiled(raw: bytes) -> bytes:
    """Another byte for an equal count of them: sums are the fetch's to check."""
    return raw.replace(b"SPOILED", b"SPOIL\xff\xfe")


def read(raw: bytes) -> list[Any]:
    batches = RecordBatches(raw)
    found = []
    while batches.has_next():
        found += list(batches.next_batch())
    # The fetch drops what it had before an error, by the offset.
    return [record for n, record in enumerate(found) if all(r.offset < record.offset for r in found[:n])]


def test_a_header_whose_name_is_no_text_takes_its_own_records_headers_and_no_others() -> None:
    good: Pairs = [("ce_id", b"1")]
    found = read(spoiled(batch(good, [*good, ("SPOILED", b"x")], good)) + batch(good, first=3))
    assert [(r.offset, r.key, r.value) for r in found] == [
        *((n, b"key", b"value %d" % n) for n in range(3)),
        (3, b"key", b"value 0"),
    ]
    assert [list(r.headers) for r in found] == [good, [], good, good]
    assert [r.timestamp for r in found] == [1000, 1001, 1002, 1000]


def cut(raw: bytes) -> bytes:
    """Rubbish in place of the compressed records."""
    return raw[:61] + bytes(len(raw) - 61)


def miscounted(raw: bytes) -> bytes:
    return raw[:57] + (99).to_bytes(4, "big") + raw[61:]


@pytest.mark.parametrize(("broken", "codec"), [(cut, 1), (cut, 2), (cut, 3), (cut, 4), (miscounted, 0)])
def test_a_batch_that_cannot_be_unpacked_is_as_many_records_without_contents(
    broken: Callable[[bytes], bytes], codec: int
) -> None:
    found = read(broken(batch([], [], codec=codec, first=5)) + batch([], first=7))
    assert [r.offset for r in found] == [5, 6, 7]
    if broken is cut:
        assert [(r.key, r.value, tuple(r.headers)) for r in found[:2]] == [(None, None, OPAQUE)] * 2
    assert found[2].value == b"value 0", "and the next batch is read"

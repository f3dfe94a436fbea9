"""Bytes from outside → looked at in time that grows with their length and no faster, whatever they hold."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from producers.bodies import parsed
from producers.problems import Problem
from schemas.requests import BODY_MAX, PaymentRequest, repeated_field
from schemas.text import looks_like_card_number
from tests.contract.rooms import request_body, request_headers
from topics.runtime.shape.consumer import Message
from topics.runtime.shape.decode import decode

LENGTH, TIMES = 8_000, 16  # 128 kB in the end; what grows with the square takes 256 times as long


def repeated(piece: str) -> Callable[[int], bytes]:
    return lambda length: (piece * (length // len(piece))).encode()


def inside(before: str, piece: str, after: str) -> Callable[[int], bytes]:
    return lambda length: (before + piece * (length // len(piece)) + after).encode()


def fields(length: int) -> str:
    return ",".join(f'"f{number:07}":1' for number in range(length // 13))


SHAPES: dict[str, Callable[[int], bytes]] = {
    "digits and spaces": repeated("1 "),
    "digits that begin as a card does": repeated("4 "),
    "one digit and many spaces": inside("1", " ", ""),
    "twelve digits and many spaces": lambda length: (("1" + " " * (length // 12)) * 12).encode(),
    "digits alone": repeated("4"),
    "near misses": repeated("1 1 1 1 1 1 1 1 1 1 1 1 x"),
    "a name of digits and spaces": inside('{"', "1 ", '":1}'),
    "unknown fields": lambda length: f"{{{fields(length)}}}".encode(),
    "a field that stands twice, last": lambda length: (
        json.dumps(request_body("c"))[:-1] + f',"metadata":{{{fields(length)},"f":1,"f":2}}}}'
    ).encode(),
    "empty orders": inside('{"payment_orders":[{}', ",{}", "]}"),
    "lists in lists": repeated("["),
    "objects in objects": repeated('{"a":'),
    "a long number": inside('{"a":', "7", "}"),
    "a long fraction": inside('{"a":0.', "7", "}"),
    "escapes": inside('{"a":"', "\\u0041", '"}'),
    "no Unicode, last": inside('{"a":[1', ",1", ',"\\ud800"]}'),
}


def from_kafka(value: bytes) -> None:
    incoming = decode(Message("payment-requests.v1", 0, 0, b"c", value, request_headers("id"), 1), frozenset(), b"")
    assert not incoming.readable


def from_kafka_with_headers(value: bytes) -> None:
    headers = tuple((f"h{number}", b"1") for number in range(len(value) // 8))
    incoming = decode(Message("payment-requests.v1", 0, 0, b"c", b"{}", (*headers, ("x", value)), 1), frozenset(), b"")
    assert incoming.failure


def over_http(body: bytes) -> None:
    with pytest.raises(Problem):
        parsed(PaymentRequest, body)


def for_repeats(body: bytes) -> None:
    with suppress(ValueError, RecursionError):
        repeated_field(body)


@pytest.mark.parametrize("look", [for_repeats, from_kafka, from_kafka_with_headers, over_http])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_look_at_foreign_bytes_takes_no_longer_than_their_length_says(
    shape: str, look: Callable[[bytes], None]
) -> None:
    short, long = SHAPES[shape](LENGTH), SHAPES[shape](LENGTH * TIMES)
    assert len(long) > LENGTH * TIMES * 0.9
    assert _took_s(look, long) < 5 * TIMES * _took_s(look, short)


def _took_s(look: Callable[[bytes], None], value: bytes) -> float:
    """The shortest of several: of this process alone, so that a busy machine does not count."""

    def once() -> float:
        started = time.process_time_ns()
        look(value)
        return (time.process_time_ns() - started) / 1e9

    return min(once() for _ in range(5))


def test_a_text_with_more_candidates_than_anybody_means_counts_as_a_card_number() -> None:
    assert looks_like_card_number("1 " * 2000)
    assert not looks_like_card_number("1 " * 500)


def test_a_body_with_thousands_of_errors_is_refused_by_one() -> None:
    with pytest.raises(Problem) as refused:
        parsed(PaymentRequest, b'{"payment_orders":[%s]}' % b",".join([b"{}"] * 5000))
    assert (refused.value.code, len(refused.value.errors)) == ("too_many_errors", 1)


@pytest.mark.parametrize("more", [0, 1])
def test_a_request_on_a_topic_may_be_as_large_as_one_by_http(more: int) -> None:
    headers = request_headers("id")
    room = BODY_MAX - len(b"c") - sum(len(name) + len(value) for name, value in headers) + more
    value = json.dumps(request_body("c")).encode().ljust(room)
    incoming = decode(Message("payment-requests.v1", 0, 0, b"c", value, headers, 1), frozenset(), b"")
    assert (incoming.failure and incoming.failure.code) == ("too_large" if more else None)
    assert incoming.holds is not bool(more)

"""Any bytes → an event, a refusal or a failure with a code: never an exception."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.envelope import digest, is_event_id
from schemas.events import PaymentRequested
from tests.contract.rooms import REQUESTS, Log, event_id, request_body, request_headers
from topics.runtime.shape.consumer import Broken, Message
from topics.runtime.shape.decode import Incoming, decode

UPSTREAMS = frozenset({"shop"})
SHOP = "payment-requests.shop.v1"


def read(message: Message) -> Incoming:
    return decode(message, UPSTREAMS, b"a key")


def asked(body: Any, key: bytes = b"c", topic: str = REQUESTS) -> Incoming:
    value = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read(Message(topic, 0, 0, key, value, request_headers("id-1"), 1))


def test_an_event_of_ours_is_claimed_under_its_own_id() -> None:
    incoming = read(Log().capture("k", 1))
    assert (incoming.failure, incoming.claim, incoming.door) == (None, event_id("k", 1), False)


def test_an_id_on_a_door_belongs_to_its_topic_and_source() -> None:
    log = Log()
    claims = {
        read(log.request("c", id_="x")).claim,
        read(log.request("c", id_="x", topic=SHOP)).claim,
        read(log.record(b"{}", key=b"c", headers=request_headers("x", "elsewhere"), topic=REQUESTS)).claim,
        event_id("k", 1),
    }
    assert len(claims) == 4


def test_the_upstream_is_known_by_its_topic_and_not_by_what_it_says() -> None:
    incoming = asked(request_body("c", owner="other"), topic=SHOP)
    assert incoming.upstream == "shop"


def test_the_hash_covers_key_and_value_and_nothing_else() -> None:
    log = Log()
    one = log.capture("k", 1)
    assert read(one).hash == read(log.again(one, headers=())).hash
    assert read(one).hash != read(log.again(one, key=b"x")).hash
    assert read(one).hash != read(log.again(one, value=b"x")).hash
    assert read(log.again(one, key=None)).hash != read(log.again(one, key=b"")).hash


def test_a_readable_request_that_breaks_the_contract_is_refused_by_name() -> None:
    body = request_body("c", payment_orders=[])
    event = asked(body, topic=SHOP).event
    assert isinstance(event, Broken)
    assert (event.kind, event.subject_id, event.owner) == (PaymentRequested, "c", "shop")
    assert (event.field, event.code) == ("payment_orders", "no_orders")


@pytest.mark.parametrize("topic", [REQUESTS, SHOP])
@pytest.mark.parametrize("name", ["amount", "checkout_id", "n", "seller_account"])
@pytest.mark.parametrize("spaced", [True, False])
def test_a_field_that_stands_twice_is_refused_by_name(topic: str, name: str, spaced: bool) -> None:
    """The last one was taken, and charged."""
    separators = None if spaced else (",", ":")
    once = json.dumps(request_body("c", owner="shop"), separators=separators)
    assert not isinstance(asked(once.encode(), topic=topic).event, Broken)
    twice = once.replace(f'"{name}":', f'"{name}": "9.99", "{name}":', 1)
    event = asked(twice.encode(), topic=topic).event
    assert isinstance(event, Broken)
    assert (event.subject_id, event.owner, event.field, event.code) == ("c", "shop", name, "repeated_field")


@pytest.mark.parametrize("name", ["ce_id", "ce_source", "ce_type", "ce_specversion"])
def test_an_attribute_that_stands_twice_makes_the_record_unreadable(name: str) -> None:
    message = Log().request("c", id_="x")
    for twice in ((name, b"y"), (name, dict(message.headers)[name])):
        incoming = read(message._replace(headers=(*message.headers, twice)))
        assert incoming.failure is not None
        assert (incoming.failure.code, incoming.failure.detail) == ("bad_headers", f"{name} stands twice")
        assert not incoming.holds
    assert read(message._replace(headers=(*message.headers, ("via", b"a"), ("via", b"b")))).failure is None


@pytest.mark.parametrize("field", ["4111111111111111", "a\0b", "a\u2028b", "x" * 5000])
def test_a_refusal_repeats_no_strangers_words_that_could_do_harm(field: str) -> None:
    event = asked({**request_body("c"), field: 1}).event
    assert isinstance(event, Broken)
    assert event.field.isprintable()
    assert len(event.field) <= 100
    assert "4111" not in event.field + event.detail


@pytest.mark.parametrize("body", [b"[]", b"7", b'"c"', b"null", b"{", b"\xff", b"[" * 100_000, b'{"checkout_id":"d"}'])
def test_what_names_no_checkout_is_a_dead_letter(body: bytes) -> None:
    incoming = asked(body)
    assert incoming.failure is not None
    assert incoming.failure.code == "malformed"
    assert not incoming.holds


def test_a_letters_headers_are_read_only_where_they_make_sense() -> None:
    log = Log()
    message = log.capture("k", 1)
    letter = digest(b"x").encode()

    def with_letter(id_: bytes, attempts: bytes) -> Incoming:
        more = (("tally_letter", id_), ("tally_attempts", attempts))
        return read(log.again(message, headers=(*message.headers, *more)))

    found = with_letter(letter, b"3").letter
    assert found is not None
    assert (found.id, found.attempts) == (letter.decode(), 3)
    for id_, attempts in ((letter, b""), (letter, b"9" * 5000), (letter, b"-1"), (b"x", b"3"), (b"\xff", b"3")):
        assert with_letter(id_, attempts).letter is None


NAMES = st.sampled_from(
    ["ce_id", "ce_type", "ce_specversion", "ce_source", "traceparent", "tally_letter", "tally_attempts", "", "x"]
)
VALUES = (
    st.none()
    | st.binary(max_size=40)
    | st.sampled_from(
        [
            b"1.0",
            b"tallystick.PaymentRequested.v1",
            b"tallystick.PaymentCaptured.v1",
            event_id("k", 1).encode(),
            b"9" * 5000,
        ]
    )
)
TOPICS = st.sampled_from([REQUESTS, SHOP, "executions.v1", "calls", "gone.v1"])


@given(
    TOPICS,
    st.none() | st.binary(max_size=20),
    st.none() | st.binary(max_size=60),
    st.lists(st.tuples(NAMES, VALUES), max_size=8),
)
@settings(max_examples=400, deadline=None)
def test_no_record_whatever_makes_decode_raise(topic: str, key: Any, value: Any, headers: Any) -> None:
    incoming = read(Message(topic, 0, 0, key, value, tuple(headers), 1))
    assert (incoming.failure is None) == (incoming.event is not None)
    assert is_event_id(incoming.claim)
    assert is_event_id(incoming.hash)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["c", "1.00", "EUR"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
PARTS = st.sampled_from(list(request_body("c")))


@given(PARTS, JSON)
@settings(max_examples=400, deadline=None)
def test_a_request_with_any_part_replaced_is_an_event_a_refusal_or_a_failure(part: str, value: Any) -> None:
    incoming = asked(request_body("c") | {part: value})
    assert incoming.failure is not None or incoming.event is not None
    if isinstance(incoming.event, Broken):
        assert (incoming.event.field + incoming.event.detail).isprintable()
        json.dumps([incoming.event.field, incoming.event.detail]).encode()


@given(st.text(string.printable, max_size=80), st.text(max_size=80))
@settings(max_examples=200, deadline=None)
def test_amounts_and_currencies_of_any_kind_are_judged_and_not_tripped_over(amount: str, currency: str) -> None:
    orders = [{"payment_order_id": "o", "seller_account": "s", "amount": amount, "currency": currency}]
    incoming = asked(request_body("c", payment_orders=orders))
    assert incoming.failure is not None or incoming.event is not None

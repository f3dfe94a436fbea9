"""A wrong capture, void or refund on an upstream's topic → a refusal of its own kind, or a dead letter that holds no key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consumers.payments.asking import STATUS_CHANGED
from consumers.payments.operation import OperationRefusal
from schemas.envelope import Envelope, EventId, event_type, record_headers
from schemas.errors import Permanent
from schemas.events import CaptureRequested, OperationKind, RefundRequested, VoidRequested
from schemas.money_back import OperationStatusChanged
from tests.unit.money_back_cases import ask_capture, ask_refund, ask_void, authorised, opened, part_captured, voided
from tests.unit.payment_cases import NOW, Story, captured, cleared, credited, posted, requested
from topics.runtime.shape.consumer import Broken, Message
from topics.runtime.shape.decode import Incoming, decode

ASKED = {"capture": CaptureRequested, "void": VoidRequested, "refund": RefundRequested}
OF = {"checkout_id": "c1", "payment_order_id": "o1"}
AMOUNT = {"amount": "1.00", "currency": "EUR"}
SOUND: dict[OperationKind, dict[str, object]] = {
    "capture": {**OF, "capture_id": "x1", **AMOUNT},
    "void": {**OF, "void_id": "x1"},
    "refund": {**OF, "refund_id": "x1", **AMOUNT},
}


def received(kind: OperationKind, body: bytes, key: bytes = b"c1") -> Incoming:
    headers = record_headers(Envelope(EventId("evt-1"), "/shop", event_type(ASKED[kind]), NOW))
    return decode(Message("payment-requests.shop.v1", 0, 0, key, body, headers, 0), frozenset({"shop"}), b"")


def what_comes_of(kind: OperationKind, body: bytes, story: Story, key: bytes = b"c1") -> tuple[str, str]:
    """The code of the refusal and the field that it names; of a dead letter its code and "dead"."""
    incoming = received(kind, body, key)
    if incoming.failure is not None:
        assert not incoming.holds
        return incoming.failure.code, "dead"
    assert incoming.event is not None
    said, changed = len(story.said), len(story.changes)
    try:
        story.hears(incoming.event, upstream="shop")  # type: ignore[arg-type]
    except Permanent as error:
        return error.code, "dead" if isinstance(incoming.event, Broken) and not (incoming.holds or error.ours) else "!"
    [refusal] = story.said[said:]
    assert type(refusal) is STATUS_CHANGED[kind]
    assert isinstance(refusal, OperationStatusChanged)
    assert (refusal.status, refusal.owner, refusal.checkout_id) == ("refused", "shop", "c1")
    assert [type(change) for change in story.changes[changed:]] == [OperationRefusal]
    return str(refusal.code), refusal.detail.partition(":")[0]


# ── what breaks the contract ─────────────────────────────────────────────────────────────────────────────────────────

EACH: list[tuple[dict[str, object], str, str]] = [
    ({"more": 1}, "unknown_field", "more"),
    ({"own_id": "auto~x"}, "reserved_id", "own_id"),
    ({"own_id": "."}, "invalid_id", "own_id"),
    ({"own_id": ".."}, "invalid_id", "own_id"),
    ({"own_id": "x" * 200}, "malformed", "dead"),
    ({"own_id": "a b"}, "malformed", "dead"),
    ({"own_id": 7}, "malformed", "dead"),
    ({"own_id": None}, "malformed", "dead"),
    ({"payment_order_id": "x" * 200}, "malformed", "dead"),
    ({"payment_order_id": None}, "malformed", "dead"),
    ({"payment_order_id": "o9"}, "unknown_order", "payment_order_id"),
    ({"checkout_id": "x" * 200}, "malformed", "dead"),
    ({"checkout_id": "c2"}, "wrong_key", "dead"),
    ({"owner": "shop"}, "owner_claimed", "owner"),
    ({"received_at": "2026-01-05T12:00:00Z"}, "time_claimed", "received_at"),
]
OF_AN_AMOUNT: list[tuple[dict[str, object], str, str]] = [
    ({"amount": "0.00"}, "not_positive", "amount"),
    ({"amount": "-1.00"}, "not_positive", "amount"),
    ({"amount": "1.0"}, "wrong_decimals", "amount"),
    ({"amount": "1.000"}, "wrong_decimals", "amount"),
    ({"amount": "1e2"}, "invalid_amount", "amount"),
    ({"amount": 1}, "wrong_type", "amount"),
    ({"amount": None}, "wrong_type", "amount"),
    ({"amount": "1" * 40 + ".00"}, "amount_too_large", "amount"),
    ({"currency": "USD"}, "wrong_currency", "currency"),
    ({"currency": "XXX"}, "unknown_currency", "currency"),
    ({"currency": "JPY"}, "wrong_decimals", "amount"),
]
OF_A_REFUND: list[tuple[dict[str, object], str, str]] = [
    ({"amount": "10.01"}, "exceeds_refundable", "amount"),
    ({"reason": ""}, "invalid_text", "reason"),
    ({"reason": "4111 1111 1111 1111"}, "card_number", "reason"),
    ({"reason": "x" * 201}, "invalid_text", "reason"),
    ({"final": True}, "unknown_field", "final"),
]
OF_A_CAPTURE: list[tuple[dict[str, object], str, str]] = [
    ({"final": True, "amount": "0.00"}, "not_positive", "amount"),
    ({"final": "yes"}, "wrong_type", "final"),
    ({"reason": "x"}, "unknown_field", "reason"),
]
WRONG: list[tuple[OperationKind, dict[str, object], str, str]] = [
    *[("capture", *case) for case in (*EACH, *OF_AN_AMOUNT, *OF_A_CAPTURE)],
    *[("void", *case) for case in (*EACH, ({"amount": "1.00"}, "unknown_field", "amount"))],
    *[("refund", *case) for case in (*EACH, *OF_AN_AMOUNT, *OF_A_REFUND)],
]


def story_of(kind: OperationKind) -> Story:
    """An order of 10.00 that is authorised; for refunds, captured."""
    story = Story()
    story.hears(requested(orders=1, capture=None if kind == "refund" else "manual"), cleared())
    [placed] = story.placed()
    if kind == "refund":
        story.hears(captured(placed), credited(placed), posted(placed))
    else:
        story.hears(authorised(placed))
    return story


@pytest.mark.parametrize(
    ("kind", "changed", "code", "field"), WRONG, ids=[f"{kind} {code} {field}" for kind, _, code, field in WRONG]
)
def test_what_cannot_be_is_refused_by_its_kind_and_field_or_a_dead_letter_that_holds_nobody(
    kind: OperationKind, changed: dict[str, object], code: str, field: str
) -> None:
    own = f"{kind}_id"
    body = SOUND[kind] | {name.replace("own_id", own): value for name, value in changed.items()}
    assert what_comes_of(kind, json.dumps(body).encode(), story_of(kind)) == (code, field.replace("own_id", own))


@pytest.mark.parametrize("kind", SOUND)
def test_what_is_no_request_is_refused_or_a_dead_letter_that_holds_nobody(kind: OperationKind) -> None:
    story, sound = story_of(kind), json.dumps(SOUND[kind]).encode()
    twice = sound.replace(b'"payment_order_id":', b'"payment_order_id": "o1", "payment_order_id":')
    assert what_comes_of(kind, twice, story) == ("repeated_field", "payment_order_id")
    for nothing in (b"", b"{", b"null", b"[]", b'"x"', b"{}", b"\xff", b"[" * 5_000):
        assert what_comes_of(kind, nothing, story) == ("malformed", "dead")
    assert what_comes_of(kind, sound, story, key=b"other") == ("wrong_key", "dead")
    assert what_comes_of(kind, sound + b" " * 2_000_000, story) == ("too_large", "dead")


# ── what cannot be as things stand ───────────────────────────────────────────────────────────────────────────────────


def anothers() -> Story:
    story = Story()
    story.hears(requested(orders=1, owner="other"), cleared())
    return story


def not_started() -> Story:
    story = Story()
    story.hears(requested(orders=1, capture="manual"))
    return story


def failed() -> Story:
    story = story_of("void")
    [placed] = story.placed()
    story.hears(ask_void("v1"), voided(placed, "v1", 1000))
    return story


def charged_back() -> Story:
    story = story_of("refund")
    story.hears(opened(story.placed()[0], 1000))
    return story


def all_captured() -> Story:
    story = story_of("capture")
    story.hears(ask_capture("k1", "10.00"), part_captured(story.placed()[0], "k1", 1000, final=True))
    return story


AS_IT_STANDS: list[tuple[Any, OperationKind, str, str]] = [
    *[(anothers, kind, "unknown_payment", "checkout_id") for kind in SOUND],
    *[(Story, kind, "unknown_payment", "checkout_id") for kind in SOUND],
    (not_started, "capture", "not_authorised", "payment_order_id"),
    (not_started, "void", "not_authorised", "payment_order_id"),
    (not_started, "refund", "not_captured", "payment_order_id"),
    (failed, "capture", "not_authorised", "payment_order_id"),
    (failed, "void", "not_authorised", "payment_order_id"),
    (failed, "refund", "not_captured", "payment_order_id"),
    (charged_back, "refund", "order_disputed", "payment_order_id"),
    (lambda: story_of("refund"), "capture", "not_authorised", "payment_order_id"),  # captured automatically
    (lambda: story_of("refund"), "void", "not_authorised", "payment_order_id"),
]


@pytest.mark.parametrize(("story", "kind", "code", "field"), AS_IT_STANDS)
def test_what_cannot_be_as_things_stand_is_refused_by_its_kind(
    story: Any, kind: OperationKind, code: str, field: str
) -> None:
    assert what_comes_of(kind, json.dumps(SOUND[kind]).encode(), story()) == (code, field)


@pytest.mark.parametrize(
    ("kind", "first", "changed"),
    [
        ("capture", ask_capture("x1", "1.00"), {"amount": "1.01"}),
        ("capture", ask_capture("x1", "1.00"), {"final": True}),
        ("refund", ask_refund("x1", "1.00"), {"amount": "1.01"}),
        ("refund", ask_refund("x1", "1.00"), {"reason": "other"}),
    ],
)
def test_the_same_id_with_other_contents_is_refused(
    kind: OperationKind, first: Any, changed: dict[str, object]
) -> None:
    story = story_of(kind)
    story.hears(first)
    assert what_comes_of(kind, json.dumps(SOUND[kind] | changed).encode(), story) == ("contents_conflict", f"{kind}_id")


def test_what_the_executor_alone_can_refuse_is_left_to_it() -> None:
    """Of a manual order only the executor knows what is taken: payments hears of captures later."""
    story = all_captured()
    for kind in ("capture", "void"):
        incoming = received(kind, json.dumps(SOUND[kind]).encode())  # type: ignore[arg-type]
        story.hears(incoming.event, upstream="shop")  # type: ignore[arg-type]
    assert [type(event).__name__ for event in story.said if type(event).__name__.endswith("Placed")][-2:] == [
        "CapturePlaced",
        "VoidPlaced",
    ]

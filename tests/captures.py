"""Captured payments as events and as records, for tests of the rooms that hear executions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from schemas.envelope import Envelope, EventId, derive_id, event_type, record_headers
from schemas.events import AnyEvent, PaymentCaptured
from schemas.money import Money
from topics.runtime.delivery.apply import Applied, apply
from topics.runtime.shape.consumer import AnyConsumer, Cause, Message
from topics.runtime.shape.store import Store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOPIC = "executions.v1"


def capture(payment_order_id: str = "order-1", **changes: object) -> PaymentCaptured:
    """EUR 12.34 for seller-1, of which 0.34 are ours, captured at northpay."""
    terms: dict[str, object] = {
        "payment_order_id": payment_order_id,
        "checkout_id": "checkout-1",
        "owner": "shop",
        "seller_account": "seller-1",
        "buyer_account": "buyer-1",
        "gross": Money(1234, "EUR"),
        "fee": Money(34, "EUR"),
        "net": Money(1200, "EUR"),
        "available_on": NOW,
        "deadline": NOW,
        "psp": "northpay",
        "call_id": "0" * 32,
        "psp_reference": "ch_1",
        "scheme": "visa",
    }
    return PaymentCaptured(**{**terms, **changes})  # type: ignore[arg-type]


def event_id(seed: str) -> EventId:
    return derive_id(seed, "tests", 0, int(NOW.timestamp() * 1000))


def cause(seed: str = "1") -> Cause:
    return Cause(event_id(seed), TOPIC, None, NOW, int(NOW.timestamp() * 1000))


def record(event: AnyEvent, seed: str, offset: int = 0) -> Message:
    """The record that says it, under the event id that `seed` stands for."""
    envelope = Envelope(event_id(seed), "/tallystick/executor", event_type(type(event)), NOW)
    value = event.model_dump_json(exclude_none=True).encode()
    return Message(TOPIC, 0, offset, event.key.encode(), value, record_headers(envelope), int(time.time() * 1000))


def apply_all(store: Store, consumer: AnyConsumer, messages: Sequence[Message]) -> Applied:
    """Apply as one batch, without positions. → what became of them, summed."""
    total = Applied()
    for applied in apply(store, consumer, messages, None, NOW):
        total.messages += applied.messages
        total.duplicates += applied.duplicates
        total.dead += applied.dead
        total.rows += applied.rows
    return total

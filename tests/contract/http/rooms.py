"""The rooms that book a payment, beside the API; the PSP's word is given by the test."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Producer

from consumers.ledger import consumer as ledger
from consumers.payments import consumer as payments
from consumers.risk import consumer as risk
from consumers.wallet import consumer as wallet
from schemas.envelope import Envelope, derive_id, event_type, record_headers
from schemas.events import Event, PaymentCaptured, PaymentDeclined
from schemas.money import Money
from topics.catalog import EXECUTIONS, Topic
from topics.runtime.process.kafka_loop import RoomLoop
from topics.settings import Settings


@contextmanager
def running_rooms(settings: Settings) -> Iterator[None]:
    """payments, risk, wallet and ledger, each in a thread of this process."""
    stop = threading.Event()
    loops = [RoomLoop(settings, room.build(settings), stop) for room in (payments, risk, wallet, ledger)]
    threads = [threading.Thread(target=loop.run) for loop in loops]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def captured(order: dict[str, Any], checkout_id: str, psp: str = "northpay") -> PaymentCaptured:
    return PaymentCaptured(
        **_terms(order, checkout_id), psp=psp, call_id="0" * 32, psp_reference=f"ref-{checkout_id}", scheme="visa"
    )


def declined(order: dict[str, Any], checkout_id: str) -> PaymentDeclined:
    return PaymentDeclined(**_terms(order, checkout_id), psp="northpay", call_id="0" * 32, code="do_not_honour")


def _terms(order: dict[str, Any], checkout_id: str) -> dict[str, Any]:
    gross = Money.parse(order["amount"], order["currency"])
    fee = Money.parse(order["platform_fee"], order["currency"])
    now = datetime.now(UTC)
    return {
        "payment_order_id": order["payment_order_id"],
        "checkout_id": checkout_id,
        "owner": "shop",
        "seller_account": order["seller_account"],
        "buyer_account": "b-1",
        "gross": gross,
        "fee": fee,
        "net": gross - fee,
        "available_on": now,
        "deadline": now + timedelta(hours=1),
    }


_PLACES = itertools.count()


def execute(settings: Settings, *events: Event, topic: Topic = EXECUTIONS) -> None:
    """What the executor, or whoever publishes that topic, would have said."""
    publish(settings, topic, *events)


def publish(settings: Settings, topic: Topic, *events: Event) -> None:
    """As the room that writes this topic would."""
    producer = Producer({"bootstrap.servers": settings.kafka, "partitioner": "murmur2_random", "log_level": 3})
    for event in events:
        now = datetime.now(UTC)
        event_id = derive_id(event.key, "test", next(_PLACES), int(now.timestamp() * 1000))
        headers = record_headers(Envelope(event_id, "/test", event_type(type(event)), now))
        producer.produce(
            settings.topic_prefix + topic.name,
            event.model_dump_json(exclude_none=True).encode(),
            event.key.encode(),
            headers=[*headers],
        )
    assert producer.flush(20) == 0

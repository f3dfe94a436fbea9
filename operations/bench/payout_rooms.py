"""Pay-outs → the rooms' own `apply`, room after room in this process → how many a second: the floor of `tally bench payouts`.

In a database of its own on the installation's servers, deleted at the end. Without HTTP door, Kafka, provider and threads:
what a room says is handed to the rooms that hear it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from typing import Any

from operations.bench import ledger
from producers.doors.destinations import Sealing
from schemas.destinations import IbanAccount
from schemas.envelope import Envelope, derive_id, event_type, record_headers
from schemas.events import AnyEvent, PaymentCaptured
from schemas.money import Money
from schemas.payouts import PayoutRequested, SealedDestination
from schemas.sellers import SellerSet
from topics import catalog
from topics.catalog import Topic
from topics.runtime.calls import rows as calls
from topics.runtime.calls.rows import CallReply, LeasedCall
from topics.runtime.delivery.apply import apply
from topics.runtime.outbox.outbox import OutboxRecord, records_of
from topics.runtime.shape.consumer import AnyConsumer, Message
from topics.runtime.shape.store import Store
from topics.settings import Settings

BATCH = 100  # pay-outs that go through the rooms together
SELLERS = 50
AMOUNT = Money(25, "EUR")
FILLED = Money(10_000_000, "EUR")  # captured for each seller before
BY = "bench"

ROOMS = (catalog.PAYOUTS_ROOM, catalog.RISK_ROOM, catalog.WALLET_ROOM, catalog.EXECUTOR_ROOM, catalog.LEDGER_ROOM)
Build = Callable[[str, Settings], AnyConsumer]


def run(settings: Settings, build: Build, payouts: int) -> float:
    """→ pay-outs a second, from request to submitted, in wallet and ledger. Errors: RuntimeError if any is not booked."""
    with ExitStack() as stack:
        own = stack.enter_context(ledger._own_settings(settings, ledger.LedgerPlan()))
        stack.enter_context(ledger._databases(own, ledger._admin_dsn(settings), lambda line: None))
        rooms = Rooms(own, build, stack)
        for number in range(SELLERS):
            rooms.say(catalog.SELLERS, [_seller(own, f"s-{number}")])
            rooms.say(catalog.EXECUTIONS, [_captured(f"s-{number}")])
        rooms.say(catalog.PAYOUT_REQUESTS, _requests(-BATCH, BATCH))  # plans and caches are warm
        began = time.monotonic()
        for first in range(0, payouts, BATCH):
            rooms.say(catalog.PAYOUT_REQUESTS, _requests(first, min(BATCH, payouts - first)))
        took = time.monotonic() - began
        if rooms.posted != payouts + BATCH:
            raise RuntimeError(f"{rooms.posted} of {payouts + BATCH} pay-outs were booked")
        return payouts / took


class Rooms:
    """The rooms of a pay-out, each with its store. The provider accepts whatever it is asked for."""

    def __init__(self, settings: Settings, build: Build, stack: ExitStack) -> None:
        self.posted = 0  # pay-outs in the ledger
        self._rooms = {room: (Store(settings, room.name), build(room.name, settings)) for room in ROOMS}
        for store, _ in self._rooms.values():
            stack.enter_context(closing(store))

    def say(self, topic: Topic, events: Iterable[AnyEvent]) -> None:
        """Hand the events to the rooms that hear them, and so on with what these say, until nobody says anything more."""
        said = [_record(topic, event) for event in events]
        while said:
            said = [answer for room in ROOMS for answer in self._hear(room, said)]

    def _hear(self, room: catalog.Room, said: Sequence[OutboxRecord]) -> list[OutboxRecord]:
        heard = {topic.name for topic in room.reads}
        answers = self._apply(room, [_message(record) for record in said if record.topic in heard])
        if room is catalog.EXECUTOR_ROOM:
            answers += self._apply(room, self._replies())
        if room is catalog.LEDGER_ROOM:
            self.posted += sum(b'"payout_submitted"' in (record.value or b"") for record in answers)
        return answers

    def _apply(self, room: catalog.Room, messages: Sequence[Message]) -> list[OutboxRecord]:
        if not messages:
            return []
        store, consumer = self._rooms[room]
        done = list(apply(store, consumer, messages, None, datetime.now(UTC)))
        return [record for applied in done for record in records_of(applied.rows)]

    def _replies(self) -> list[Message]:
        """Lease the calls that are due, and record that the provider has accepted each."""
        store, _ = self._rooms[catalog.EXECUTOR_ROOM]
        now = datetime.now(UTC)
        with store.transaction() as conn:
            providers = {psp: BATCH for psp, _ in calls.open_at(conn)}
            leased = calls.lease(conn, providers, now, BY)()
            stored, _ = calls.record(conn, [_accepted(call) for call in leased], now)()
        return [calls.message(reply) for reply in stored]


def _accepted(call: LeasedCall) -> CallReply:
    reply = {"reply": "accepted", "provider_reference": f"tr_{call.id}"}
    return CallReply(call.id, call.subject, call.cause_event_id, call.act, call.act_no, reply, False, call.kind)


def _record(topic: Topic, event: AnyEvent) -> OutboxRecord:
    now = datetime.now(UTC)
    id_ = derive_id(secrets.token_hex(8), BY, 0, int(now.timestamp() * 1000))
    envelope = Envelope(id_, f"/tallystick/{BY}", event_type(type(event)), now, 1)
    value = event.model_dump_json(exclude_none=True).encode()
    return OutboxRecord(topic.name, event.key.encode(), record_headers(envelope), value)


def _message(record: OutboxRecord) -> Message:
    headers: tuple[Any, ...] = tuple(record.headers)
    return Message(record.topic, 0, 0, record.key, record.value, headers, int(time.time() * 1000))


def _requests(first: int, count: int) -> list[PayoutRequested]:
    return [
        PayoutRequested(
            payout_id=f"floor-{number}",
            seller_account=f"s-{number % SELLERS}",
            amount=str(AMOUNT.amount),
            currency=AMOUNT.currency,
            owner=BY,
            requested_by=BY,
        )
        for number in range(first, first + count)
    ]


def _seller(settings: Settings, account: str) -> SellerSet:
    destination = IbanAccount(type="iban", iban="DE89370400440532013000", holder=f"Bench {account}")
    return SellerSet(
        seller_account=account,
        owner=BY,
        seller_revision=1,
        state="active",
        destination=SealedDestination(**Sealing(settings).sealed(account, destination)),  # type: ignore[arg-type]
        destination_changed_by=BY,
        destination_changed_at=datetime.now(UTC) - timedelta(days=30),
    )


def _captured(account: str) -> PaymentCaptured:
    now = datetime.now(UTC)
    return PaymentCaptured(
        payment_order_id=f"order-{account}",
        checkout_id=f"checkout-{account}",
        owner=BY,
        seller_account=account,
        buyer_account="buyer",
        gross=FILLED,
        fee=Money(0, FILLED.currency),
        net=FILLED,
        available_on=now,
        deadline=now,
        psp="northpay",
        call_id=secrets.token_hex(16),
        psp_reference=f"ch_{account}",
        scheme="visa",
    )

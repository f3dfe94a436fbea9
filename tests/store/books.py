"""Payments, executor, wallet and ledger on one real database, without Kafka: what one publishes the others consume at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from consumers.executor import consumer as executor
from consumers.ledger import consumer as ledger
from consumers.payments import consumer as payments
from consumers.risk import consumer as risk
from consumers.wallet import consumer as wallet
from operations.stack.settings import AllSettings
from psp.replies import Reply
from schemas.envelope import Envelope, EventId, derive_id, event_type, record_headers
from schemas.events import AnyEvent, CallEnded
from schemas.payouts import PayoutCallEnded
from tests.store.hearing import TOPIC_OF
from topics.runtime.delivery.apply import apply
from topics.runtime.outbox.outbox import OutboxRecord, records_of
from topics.runtime.shape.consumer import AnyConsumer, Message
from topics.runtime.shape.reading import read
from topics.runtime.shape.store import Store
from topics.settings import PspAccount

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
PSPS = (PspAccount(name="northpay", adapter="northpay", url="http://nowhere", api_key="k"),)


class Rooms:
    """No sender runs: calls stay due until a notification or an answer ends them. Time stands until a test moves it."""

    def __init__(
        self, settings: AllSettings, rooms: Sequence[Any] = (payments, risk, executor, wallet, ledger)
    ) -> None:
        self.settings = settings.model_copy(update={"psps": PSPS})
        built = [room.build(self.settings) for room in rooms]
        self._rooms: list[tuple[AnyConsumer, Store]] = [(room, Store(self.settings, room.name)) for room in built]
        self._count = 0
        self.now = NOON
        self.said: list[OutboxRecord] = []

    def close(self) -> None:
        for _, store in self._rooms:
            store.close()

    def hear(self, *events: AnyEvent) -> None:
        """Each, and all that follows from it in every room."""
        for event in events:
            topic = "calls" if isinstance(event, CallEnded | PayoutCallEnded) else TOPIC_OF[type(event)]
            self._follow([self._message(event, topic)])

    def answer(self, payment_order_id: str, kind: str, reply: Reply) -> None:
        """What a PSP answers to the open call of that kind."""
        (call,) = [call for call in self.calls(payment_order_id, kind) if call["state"] != "ended"]
        ended = CallEnded(
            payment_order_id=payment_order_id,
            call_id=call["call_id"],
            act=call["act"],
            act_no=call["act_no"],
            reply=reply.to_json(),
            ended_at=self.now,
        )
        self.hear(ended)

    def calls(self, payment_order_id: str, kind: str) -> list[dict[str, Any]]:
        statement = "SELECT * FROM call_view WHERE payment_order_id = %s AND kind = %s ORDER BY created_at, call_id"
        return read(self.settings, "executor", statement, [payment_order_id, kind])

    def _message(self, event: AnyEvent, topic: str) -> Message:
        self._count += 1
        ms = int(self.now.timestamp() * 1000)
        envelope = Envelope(
            EventId(derive_id(f"{self._count}", "test", 0, ms)), "/test", event_type(type(event)), self.now
        )
        value = event.model_dump_json(exclude_none=True).encode()
        return Message(topic, 0, self._count, event.key.encode(), value, tuple(record_headers(envelope)), ms)

    def _follow(self, messages: Sequence[Message]) -> None:
        waiting = deque(messages)
        while waiting:
            message = waiting.popleft()
            for consumer, store in self._rooms:
                if message.topic in {topic.name for topic in consumer.room.reads}:
                    waiting.extend(self._apply(consumer, store, message))

    def _apply(self, consumer: AnyConsumer, store: Store, message: Message) -> Iterator[Message]:
        for applied in apply(store, consumer, [message], None, self.now):
            assert not applied.dead + applied.parked, f"{consumer.name} does not take {message}"
            with store.transaction() as conn:
                conn.execute("DELETE FROM outbox WHERE id = ANY(%s)", [[row.id for row in applied.rows]])
            for record in records_of(applied.rows):
                self._count += 1
                self.said.append(record)
                ms = int(self.now.timestamp() * 1000)
                yield Message(record.topic, 0, self._count, record.key, record.value, tuple(record.headers), ms)

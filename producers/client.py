"""An upstream service's requests for payments, money back and pay-outs → its Kafka topics, with the headers that we expect."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType

from confluent_kafka import KafkaError, Message, Producer

from schemas.envelope import Envelope, EventId, child_trace, digest, event_type, record_headers
from schemas.events import AnyEvent, CaptureRequested, PaymentRequested, RefundRequested, VoidRequested
from schemas.payouts import PayoutCancelRequested, PayoutRequest, PayoutRequested
from schemas.requests import CaptureRequest, PaymentRequest, RefundRequest, VoidRequest
from topics.catalog import PAYMENT_REQUESTS, PAYOUT_REQUESTS

_EVENTS: Mapping[type, type[AnyEvent]] = {
    CaptureRequest: CaptureRequested,
    VoidRequest: VoidRequested,
    RefundRequest: RefundRequested,
}


class NotDelivered(Exception):
    """Kafka did not take a record in time. Sending the same request again is safe."""


class UpstreamClient:
    """Publishes requests to `payment-requests.<upstream>.v1` and `payout-requests.<upstream>.v1`, whose names tell their owner.

    A request that is sent again has the same id, and is dropped as a duplicate.
    """

    def __init__(
        self,
        kafka: str,
        upstream: str,
        topic_prefix: str = "",
        options: Mapping[str, str] | None = None,
        timeout_s: float = 30,
    ) -> None:
        self.topic = topic_prefix + PAYMENT_REQUESTS.of(upstream)
        self.payout_topic = topic_prefix + PAYOUT_REQUESTS.of(upstream)
        self._source = f"/{upstream}"
        self._failed: KafkaError | None = None
        self._timeout_s = timeout_s
        self._producer = Producer(
            {
                "bootstrap.servers": kafka,
                "enable.idempotence": True,
                "max.in.flight": 1,  # the reason stands in topics/runtime/outbox/outbox.py
                "acks": "all",
                "linger.ms": 5,
                "partitioner": "murmur2_random",
                "delivery.timeout.ms": int(timeout_s * 1000),
                "log_level": 3,
                **(options or {}),
            }
        )

    def send(self, request: PaymentRequest, traceparent: str | None = None) -> EventId:
        """Queue one request; `flush` waits for Kafka. → the event's id."""
        value = request.model_dump_json(exclude_none=True).encode()
        return self._send(PaymentRequested, request.checkout_id, value, traceparent)

    def send_operation(
        self, checkout_id: str, request: CaptureRequest | VoidRequest | RefundRequest, traceparent: str | None = None
    ) -> EventId:
        """As `send`, for a capture, void or refund of one of the checkout's orders."""
        value = json.dumps({"checkout_id": checkout_id, **request.model_dump(exclude_none=True)}).encode()
        return self._send(_EVENTS[type(request)], checkout_id, value, traceparent)

    def send_payout(self, request: PayoutRequest, traceparent: str | None = None) -> EventId:
        """As `send`, for a pay-out to a seller of this upstream."""
        value = request.model_dump_json(exclude_none=True).encode()
        return self._send(PayoutRequested, request.payout_id, value, traceparent, self.payout_topic)

    def cancel_payout(self, payout_id: str, traceparent: str | None = None) -> EventId:
        """As `send`: do not send this pay-out, if it has not left."""
        value = json.dumps({"payout_id": payout_id}).encode()
        return self._send(PayoutCancelRequested, payout_id, value, traceparent, self.payout_topic)

    def _send(
        self, kind: type[AnyEvent], key: str, value: bytes, traceparent: str | None, topic: str | None = None
    ) -> EventId:
        event_id = EventId(digest(self._source.encode(), value))
        trace = child_trace(traceparent, event_id, event_id)
        envelope = Envelope(event_id, self._source, event_type(kind), datetime.now(UTC), 0, trace)
        self.send_raw(key.encode(), value, record_headers(envelope), topic)
        return event_id

    def send_raw(
        self, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]], topic: str | None = None
    ) -> None:
        """Queue any record, valid or not. Errors: NotDelivered if the queue stays full."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                self._producer.produce(topic or self.topic, value, key, headers=[*headers], on_delivery=self._delivered)
                self._producer.poll(0)
                return
            except BufferError:
                if time.monotonic() > deadline:
                    raise NotDelivered("the queue is full") from None
                self._producer.poll(0.1)

    def flush(self) -> None:
        """Wait until Kafka has acknowledged all records. Errors: NotDelivered."""
        left = self._producer.flush(self._timeout_s)
        failed, self._failed = self._failed, None
        if failed is not None:
            raise NotDelivered(str(failed))
        if left:
            raise NotDelivered(f"{left} records are still waiting")

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failed = error

    def __enter__(self) -> UpstreamClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.flush()

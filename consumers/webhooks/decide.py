"""(an owner's endpoints, an event) → deliveries, in order per endpoint and payment or pay-out. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import assert_never

import orjson

from schemas.envelope import EventId
from schemas.events import (
    PaymentCompleted,
    PaymentRefused,
    PaymentStatusChanged,
    WebhookEndpointSet,
    WebhookResendRequested,
    WebhookTestRequested,
)
from schemas.money_back import (
    CaptureStatusChanged,
    DisputeStatusChanged,
    RefundStatusChanged,
    VoidStatusChanged,
)
from schemas.payouts import (
    PayoutOrder,
    PayoutPlaced,
    PayoutReady,
    PayoutRefused,
    PayoutReleased,
    PayoutStatusChanged,
    PayoutWithdrawn,
)
from schemas.webhooks import EVERYTHING, TEST_TYPE, delivery_id
from topics.runtime.shape.consumer import Cause, Decision

OwnedEvent = (
    PaymentStatusChanged
    | PaymentRefused
    | PaymentCompleted
    | CaptureStatusChanged
    | VoidStatusChanged
    | RefundStatusChanged
    | DisputeStatusChanged
    | PayoutStatusChanged
    | PayoutRefused
)
WebhookEvent = OwnedEvent | PayoutOrder | WebhookEndpointSet | WebhookTestRequested | WebhookResendRequested

Lane = tuple[str, str]  # endpoint, and the payment or pay-out, whose deliveries go one after the other

ENDED = ("delivered", "given_up", "cancelled")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL of an owner that gets webhooks of these event types."""

    endpoint_id: str
    owner: str
    url: str
    event_types: tuple[str, ...]
    secret_versions: tuple[int, ...]
    revision: int
    deleted: bool
    changed_at: datetime

    def subscribes_to(self, kind: str) -> bool:
        return not self.deleted and (kind in self.event_types or EVERYTHING in self.event_types)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one endpoint. The deliveries of a lane are sent one after the other."""

    delivery_id: str
    endpoint_id: str
    lane: str  # the payment, or the pay-out
    event_id: EventId  # the webhook-id, the same however often it is sent
    event_type: str
    body: bytes
    state: str  # due | waiting (behind another of its lane)
    at: datetime


@dataclass(frozen=True, slots=True)
class SentDelivery:
    """An earlier delivery that its owner wants to be sent again."""

    delivery_id: str
    endpoint_id: str
    lane: str
    state: str


@dataclass(frozen=True, slots=True)
class Resend:
    """A delivery starts anew: due, or waiting behind others of its lane."""

    delivery_id: str
    state: str
    at: datetime


Change = Endpoint | Delivery | Resend


@dataclass(slots=True)
class Endpoints:
    """The endpoints of a batch's owners, the busy lanes, and the earlier deliveries to resend."""

    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    owned: dict[str, list[str]] = field(default_factory=dict)  # the endpoints' ids by owner
    busy: set[Lane] = field(default_factory=set)  # lanes with an unfinished delivery: new ones wait behind it
    sent: dict[str, SentDelivery] = field(default_factory=dict)

    def fold(self, change: Change) -> None:
        if isinstance(change, Endpoint):
            if change.endpoint_id not in self.endpoints:
                self.owned.setdefault(change.owner, []).append(change.endpoint_id)
            self.endpoints[change.endpoint_id] = change
        elif isinstance(change, Delivery):
            self.busy.add((change.endpoint_id, change.lane))
        else:
            sent = self.sent[change.delivery_id]
            self.sent[change.delivery_id] = replace(sent, state=change.state)
            self.busy.add((sent.endpoint_id, sent.lane))


def decide(state: Endpoints, event: WebhookEvent, cause: Cause) -> Decision:
    match event:
        case (
            PaymentStatusChanged()
            | PaymentRefused()
            | PaymentCompleted()
            | CaptureStatusChanged()
            | VoidStatusChanged()
            | RefundStatusChanged()
            | DisputeStatusChanged()
            | PayoutStatusChanged()
            | PayoutRefused()
        ):
            return _deliver_to_owner(state, event, cause)
        case PayoutPlaced() | PayoutReleased() | PayoutReady() | PayoutWithdrawn():
            return Decision()
        case WebhookEndpointSet():
            return _set_endpoint(state, event, cause)
        case WebhookTestRequested():
            return _test(state, event, cause)
        case WebhookResendRequested():
            return _resend(state, event, cause)
        case _:
            assert_never(event)


def _deliver_to_owner(state: Endpoints, event: OwnedEvent, cause: Cause) -> Decision:
    """A delivery for each endpoint of the owner that subscribes to the event's type."""
    owned = state.owned.get(event.owner)
    if owned is None:
        return Decision()
    kind = event.webhook_type
    assert kind is not None, "its owner may subscribe to it"
    data = event.model_dump(mode="json", exclude={"owner"})
    subscribed = [endpoint_id for endpoint_id in owned if state.endpoints[endpoint_id].subscribes_to(kind)]
    return Decision([_new_delivery(state, id_, event.key, kind, data, cause) for id_ in subscribed])


def _new_delivery(
    state: Endpoints, endpoint_id: str, lane: str, kind: str, data: dict[str, object], cause: Cause
) -> Delivery:
    waits = (endpoint_id, lane) in state.busy
    return Delivery(
        delivery_id=delivery_id(cause.event_id, endpoint_id),
        endpoint_id=endpoint_id,
        lane=lane,
        event_id=cause.event_id,
        event_type=kind,
        body=webhook_body(cause.event_id, kind, cause.now, data),
        state="waiting" if waits else "due",
        at=cause.now,
    )


def webhook_body(event_id: str, kind: str, at: datetime, data: dict[str, object]) -> bytes:
    """The signed body, the same bytes at each attempt (Standard Webhooks, "Payload structure")."""
    timestamp = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return orjson.dumps({"id": event_id, "type": kind, "timestamp": timestamp, "data": data})


def _set_endpoint(state: Endpoints, event: WebhookEndpointSet, cause: Cause) -> Decision:
    """The latest revision wins. An endpoint never changes its owner: the doors check that, and so does this."""
    known = state.endpoints.get(event.endpoint_id)
    if known is not None and (known.owner != event.owner or known.revision >= event.endpoint_revision):
        return Decision()
    endpoint = Endpoint(
        endpoint_id=event.endpoint_id,
        owner=event.owner,
        url=event.url,
        event_types=event.event_types,
        secret_versions=event.secret_versions,
        revision=event.endpoint_revision,
        deleted=event.deleted,
        changed_at=cause.now,
    )
    return Decision([endpoint])


def _test(state: Endpoints, event: WebhookTestRequested, cause: Cause) -> Decision:
    endpoint = _endpoint_of(state, event.endpoint_id, event.owner)
    if endpoint is None:
        return Decision()
    data: dict[str, object] = {"endpoint_id": event.endpoint_id}
    return Decision([_new_delivery(state, event.endpoint_id, f"test {cause.event_id}", TEST_TYPE, data, cause)])


def _resend(state: Endpoints, event: WebhookResendRequested, cause: Cause) -> Decision:
    """An unfinished delivery becomes due now, a finished one starts anew. Only the owner's own are changed."""
    sent = state.sent.get(event.delivery_id)
    endpoint = _endpoint_of(state, event.endpoint_id, event.owner)
    if sent is None or endpoint is None or sent.endpoint_id != event.endpoint_id:
        return Decision()
    if sent.state not in ENDED:
        return Decision([Resend(sent.delivery_id, sent.state, cause.now)])
    next_state = "waiting" if (sent.endpoint_id, sent.lane) in state.busy else "due"
    return Decision([Resend(sent.delivery_id, next_state, cause.now)])


def _endpoint_of(state: Endpoints, endpoint_id: str, owner: str) -> Endpoint | None:
    endpoint = state.endpoints.get(endpoint_id)
    return endpoint if endpoint is not None and endpoint.owner == owner and not endpoint.deleted else None

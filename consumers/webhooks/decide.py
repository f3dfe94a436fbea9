"""(an owner's endpoints, what happened) → deliveries, in order per endpoint and payment. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
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
from schemas.webhooks import EVERYTHING, TEST_TYPE, delivery_id
from topics.runtime.shape.consumer import Cause, Decision, State

PaymentEvent = PaymentStatusChanged | PaymentRefused | PaymentCompleted
Heard = PaymentEvent | WebhookEndpointSet | WebhookTestRequested | WebhookResendRequested

OVER = ("delivered", "given_up", "cancelled")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an owner wants to hear of which events."""

    endpoint_id: str
    owner: str
    url: str
    event_types: tuple[str, ...]
    secret_versions: tuple[int, ...]
    revision: int
    deleted: bool
    changed_at: datetime

    @property
    def key(self) -> Hashable:
        return endpoint_key(self.endpoint_id)

    def wants(self, kind: str) -> bool:
        return not self.deleted and (kind in self.event_types or EVERYTHING in self.event_types)


@dataclass(frozen=True, slots=True)
class Owned:
    """The ids of an owner's endpoints; known in the batch, never stored."""

    owner: str
    endpoint_ids: tuple[str, ...]

    @property
    def key(self) -> Hashable:
        return owned_key(self.owner)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one endpoint. Those of one lane go one after the other."""

    delivery_id: str
    endpoint_id: str
    lane: str  # the payment
    event_id: EventId  # the webhook-id, the same however often it is sent
    event_type: str
    body: bytes
    state: str  # due | waiting (behind another of its lane)
    at: datetime

    @property
    def key(self) -> Hashable | None:
        return None


@dataclass(frozen=True, slots=True)
class Busy:
    """A lane with a delivery that is not over: what comes now waits behind it."""

    endpoint_id: str
    lane: str

    @property
    def key(self) -> Hashable:
        return lane_key(self.endpoint_id, self.lane)


@dataclass(frozen=True, slots=True)
class Sent:
    """What is known of an earlier delivery that somebody wants again."""

    delivery_id: str
    endpoint_id: str
    lane: str
    state: str

    @property
    def key(self) -> Hashable:
        return sent_key(self.delivery_id)


@dataclass(frozen=True, slots=True)
class Again:
    """A delivery starts anew: due, or waiting behind what its lane is busy with."""

    delivery_id: str
    state: str
    at: datetime

    @property
    def key(self) -> Hashable | None:
        return None


def endpoint_key(endpoint_id: str) -> Hashable:
    return ("endpoint", endpoint_id)


def owned_key(owner: str) -> Hashable:
    return ("owned", owner)


def lane_key(endpoint_id: str, lane: str) -> Hashable:
    return ("lane", endpoint_id, lane)


def sent_key(delivery_id: str) -> Hashable:
    return ("sent", delivery_id)


def decide(state: State, event: Heard, cause: Cause) -> Decision:
    match event:
        case PaymentStatusChanged() | PaymentRefused() | PaymentCompleted():
            return _tell(state, event, cause)
        case WebhookEndpointSet():
            return _set(state, event, cause)
        case WebhookTestRequested():
            return _test(state, event, cause)
        case WebhookResendRequested():
            return _resend(state, event, cause)
        case _:
            assert_never(event)


def _tell(state: State, event: PaymentEvent, cause: Cause) -> Decision:
    """A delivery for each endpoint of the owner that wants this. Without endpoints nothing is done."""
    owned: Owned | None = state.get(owned_key(event.owner))
    if owned is None:
        return Decision()
    kind = event.webhook_type
    assert kind is not None, "its owner may subscribe to it"
    data = event.model_dump(mode="json", exclude={"owner"})
    changes: list[Delivery | Busy] = []
    for endpoint_id in owned.endpoint_ids:
        endpoint: Endpoint = state[endpoint_key(endpoint_id)]
        if endpoint.wants(kind):
            changes += _deliver(state, endpoint_id, event.checkout_id, kind, data, cause)
    return Decision(changes)


def _deliver(
    state: State, endpoint_id: str, lane: str, kind: str, data: dict[str, object], cause: Cause
) -> tuple[Delivery, Busy]:
    waits = lane_key(endpoint_id, lane) in state
    delivery = Delivery(
        delivery_id=delivery_id(cause.event_id, endpoint_id),
        endpoint_id=endpoint_id,
        lane=lane,
        event_id=cause.event_id,
        event_type=kind,
        body=body_of(cause.event_id, kind, cause.now, data),
        state="waiting" if waits else "due",
        at=cause.now,
    )
    return delivery, Busy(endpoint_id, lane)


def body_of(event_id: str, kind: str, at: datetime, data: dict[str, object]) -> bytes:
    """What is signed and sent, each time the same bytes (Standard Webhooks, "Payload structure")."""
    timestamp = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return orjson.dumps({"id": event_id, "type": kind, "timestamp": timestamp, "data": data})


def _set(state: State, event: WebhookEndpointSet, cause: Cause) -> Decision:
    """The latest revision wins. An endpoint never changes hands: doors see to that, and it is checked once more."""
    known: Endpoint | None = state.get(endpoint_key(event.endpoint_id))
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
    owned: Owned = state.get(owned_key(event.owner)) or Owned(event.owner, ())
    if event.endpoint_id in owned.endpoint_ids:
        return Decision([endpoint])
    return Decision([endpoint, replace(owned, endpoint_ids=(*owned.endpoint_ids, event.endpoint_id))])


def _test(state: State, event: WebhookTestRequested, cause: Cause) -> Decision:
    endpoint = _endpoint_of(state, event.endpoint_id, event.owner)
    if endpoint is None:
        return Decision()
    data: dict[str, object] = {"endpoint_id": event.endpoint_id}
    return Decision(_deliver(state, event.endpoint_id, f"test {cause.event_id}", TEST_TYPE, data, cause))


def _resend(state: State, event: WebhookResendRequested, cause: Cause) -> Decision:
    """What is on its way already is only hurried. What the owner does not have is not touched."""
    sent: Sent | None = state.get(sent_key(event.delivery_id))
    endpoint = _endpoint_of(state, event.endpoint_id, event.owner)
    if sent is None or endpoint is None or sent.endpoint_id != event.endpoint_id:
        return Decision()
    if sent.state not in OVER:
        return Decision([Again(sent.delivery_id, sent.state, cause.now)])
    goes = "waiting" if lane_key(sent.endpoint_id, sent.lane) in state else "due"
    again = Again(sent.delivery_id, goes, cause.now)
    return Decision([again, replace(sent, state=goes), Busy(sent.endpoint_id, sent.lane)])


def _endpoint_of(state: State, endpoint_id: str, owner: str) -> Endpoint | None:
    endpoint: Endpoint | None = state.get(endpoint_key(endpoint_id))
    return endpoint if endpoint is not None and endpoint.owner == owner and not endpoint.deleted else None

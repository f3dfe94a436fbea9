"""Webhooks' tables ⇄ what decide knows: endpoints of the batch's owners, and lanes that are busy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from consumers.webhooks.decide import (
    Again,
    Busy,
    Delivery,
    Endpoint,
    Owned,
    PaymentEvent,
    Sent,
    owned_key,
)
from schemas.events import AnyEvent, WebhookEndpointSet, WebhookResendRequested, WebhookTestRequested
from topics.runtime.shape.consumer import Broken, Connection, State
from topics.runtime.shape.store import text_array, uuid_array

Change = Endpoint | Owned | Delivery | Busy | Sent | Again
OwnersWish = WebhookEndpointSet | WebhookTestRequested | WebhookResendRequested


def load(conn: Connection, events: Sequence[AnyEvent | Broken], now: datetime) -> State:
    """One look for the owners' endpoints; where nobody has any, and nobody wants one, that is all."""
    payments = [event for event in events if isinstance(event, PaymentEvent)]
    wishes = [event for event in events if isinstance(event, OwnersWish)]
    owners = sorted({event.owner for event in (*payments, *wishes)})
    endpoints = _endpoints(conn, owners, sorted({event.endpoint_id for event in wishes}))
    state: State = {endpoint.key: endpoint for endpoint in endpoints}
    for owner in owners:
        if theirs := tuple(endpoint.endpoint_id for endpoint in endpoints if endpoint.owner == owner):
            state[owned_key(owner)] = Owned(owner, theirs)
    sent = _sent(conn, [event.delivery_id for event in wishes if isinstance(event, WebhookResendRequested)])
    # An endpoint that is set within this batch counts for the batch's later events.
    ids = sorted({endpoint.endpoint_id for endpoint in endpoints} | {event.endpoint_id for event in wishes})
    lanes = {event.checkout_id for event in payments} | {each.lane for each in sent}
    state |= {each.key: each for each in sent}
    return state | {busy.key: busy for busy in (_busy(conn, ids, sorted(lanes)) if ids and lanes else ())}


def _endpoints(conn: Connection, owners: list[str], endpoint_ids: list[str]) -> list[Endpoint]:
    rows = conn.execute(
        "SELECT endpoint_id, owner, url, event_types, secret_versions, revision, deleted, changed_at FROM endpoints"
        " WHERE owner = ANY(%s::text[]) OR endpoint_id = ANY(%s::text[]) ORDER BY endpoint_id",
        [text_array(owners), text_array(endpoint_ids)],
    )
    return [
        Endpoint(id_, owner, url, tuple(types), tuple(versions), *rest)
        for id_, owner, url, types, versions, *rest in rows
    ]


def _sent(conn: Connection, delivery_ids: list[str]) -> list[Sent]:
    """Not locked here: its lane is, if it is busy; and nobody but an owner's wish wakes what is over."""
    if not delivery_ids:
        return []
    rows = conn.execute(
        "SELECT delivery_id::text, endpoint_id, lane, state FROM deliveries WHERE delivery_id::text = ANY(%s)"
        " ORDER BY endpoint_id, lane, seq FOR UPDATE",
        [sorted(set(delivery_ids))],
    )
    return [Sent(*row) for row in rows]


def _busy(conn: Connection, endpoint_ids: list[str], lanes: list[str]) -> list[Busy]:
    """Locked, so that the sender cannot end a lane's last delivery while another is put behind it."""
    rows = conn.execute(
        "SELECT endpoint_id, lane FROM deliveries WHERE endpoint_id = ANY(%s::text[]) AND lane = ANY(%s)"
        " AND state IN ('due', 'waiting', 'sending') ORDER BY endpoint_id, lane, seq FOR UPDATE",
        [text_array(endpoint_ids), lanes],
    )
    return [Busy(*row) for row in rows]


def save(conn: Connection, changes: Sequence[Change]) -> None:
    """In this order: what is new behind a delivery that starts anew has found its lane busy already."""
    for endpoint in {c.endpoint_id: c for c in changes if isinstance(c, Endpoint)}.values():
        _put(conn, endpoint)
    for again in (change for change in changes if isinstance(change, Again)):
        _again(conn, again)
    deliveries = [change for change in changes if isinstance(change, Delivery)]
    if deliveries:
        _insert(conn, deliveries)


def _put(conn: Connection, endpoint: Endpoint) -> None:
    conn.execute(
        "INSERT INTO endpoints (endpoint_id, owner, url, event_types, secret_versions, revision, deleted, changed_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (endpoint_id) DO UPDATE SET url = excluded.url,"
        " event_types = excluded.event_types, secret_versions = excluded.secret_versions,"
        " revision = excluded.revision, deleted = excluded.deleted, changed_at = excluded.changed_at",
        [
            endpoint.endpoint_id,
            endpoint.owner,
            endpoint.url,
            list(endpoint.event_types),
            list(endpoint.secret_versions),
            endpoint.revision,
            endpoint.deleted,
            endpoint.changed_at,
        ],
    )


def _again(conn: Connection, again: Again) -> None:
    """What is being sent at this moment, or waits, stays as it is."""
    conn.execute(
        "UPDATE deliveries SET state = %s, due_at = %s, tries = 0, ended_at = NULL"
        " WHERE delivery_id = %s::uuid AND state NOT IN ('sending', 'waiting')",
        [again.state, again.at, again.delivery_id],
    )


def _insert(conn: Connection, deliveries: Sequence[Delivery]) -> None:
    """Numbered in the order in which they were decided. One that is there already was told long ago."""
    columns: list[Any] = [
        uuid_array([d.delivery_id for d in deliveries]),
        text_array(d.endpoint_id for d in deliveries),
        [d.lane for d in deliveries],
        uuid_array([d.event_id for d in deliveries]),
        [d.event_type for d in deliveries],
        [d.body for d in deliveries],
        [d.state for d in deliveries],
        [d.at for d in deliveries],
    ]
    conn.execute(
        "INSERT INTO deliveries (delivery_id, endpoint_id, lane, event_id, event_type, body, state, created_at, due_at)"
        " SELECT delivery_id, endpoint_id, lane, event_id, event_type, body, state, at, at FROM"
        " unnest(%s::uuid[], %s::text[], %s::text[], %s::uuid[], %s::text[], %s::bytea[], %s::text[], %s::timestamptz[])"
        " WITH ORDINALITY AS d (delivery_id, endpoint_id, lane, event_id, event_type, body, state, at, place)"
        " ORDER BY place ON CONFLICT DO NOTHING",
        columns,
    )

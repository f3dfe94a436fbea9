"""Webhooks' tables ⇄ the decider's state: endpoints of the batch's owners, and busy lanes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from consumers.webhooks.decide import (
    Change,
    Delivery,
    Endpoint,
    Endpoints,
    Lane,
    OwnedEvent,
    Resend,
    SentDelivery,
    WebhookEvent,
)
from schemas.envelope import is_event_id
from schemas.events import WebhookEndpointSet, WebhookResendRequested, WebhookTestRequested
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.store import text_array, uuid_array
from topics.runtime.shape.table import Column, Table

OwnerRequest = WebhookEndpointSet | WebhookTestRequested | WebhookResendRequested


ENDPOINTS = Table(
    "endpoints",
    Column("endpoint_id", "text", key=True),
    Column("owner", "text", fixed=True),
    Column("url", "text"),
    Column("event_types", "text[]"),
    Column("secret_versions", "int4[]", write=list),
    Column("revision", "int4"),
    Column("deleted", "bool"),
    Column("changed_at", "timestamptz"),
)
DELIVERIES = Table(
    "deliveries",
    Column("delivery_id", "uuid", key=True),
    Column("seq", "int8", by_sql=True),
    Column("endpoint_id", "text"),
    Column("lane", "text"),
    Column("event_id", "uuid"),
    Column("event_type", "text"),
    Column("body", "bytea"),
    Column("state", "text"),
    Column("created_at", "timestamptz", "at"),
    Column("due_at", "timestamptz", "at"),
    Column("attempt_no", "int4", by_sql=True),
    Column("tries", "int4", by_sql=True),
    Column("lease_until", "timestamptz", null=True, by_sql=True),
    Column("ended_at", "timestamptz", null=True, by_sql=True),
)


def load(conn: Connection, events: Sequence[WebhookEvent], now: datetime) -> Endpoints:
    """The owners' endpoints, and if there are any, their busy lanes. One query while nobody has an endpoint."""
    owned = [event for event in events if isinstance(event, OwnedEvent)]
    wishes = [event for event in events if isinstance(event, OwnerRequest)]
    owners = sorted({event.owner for event in (*owned, *wishes)})
    endpoints = _select_endpoints(conn, owners, sorted({event.endpoint_id for event in wishes}))
    state = Endpoints()
    for endpoint in endpoints:
        state.fold(endpoint)
    sent = _select_sent(conn, [event.delivery_id for event in wishes if isinstance(event, WebhookResendRequested)])
    # An endpoint that is set within this batch gets the batch's later events.
    ids = sorted({endpoint.endpoint_id for endpoint in endpoints} | {event.endpoint_id for event in wishes})
    lanes = {event.key for event in owned} | {each.lane for each in sent}
    state.sent = {each.delivery_id: each for each in sent}
    state.busy = _lock_busy_lanes(conn, ids, sorted(lanes)) if ids and lanes else set()
    return state


_SELECT_ENDPOINTS = (
    f"SELECT {ENDPOINTS.select(Endpoint)} FROM endpoints"
    " WHERE owner = ANY(%s::text[]) OR endpoint_id = ANY(%s::text[]) ORDER BY endpoint_id"
)


def _select_endpoints(conn: Connection, owners: list[str], endpoint_ids: list[str]) -> list[Endpoint]:
    rows = conn.execute(_SELECT_ENDPOINTS, [text_array(owners), text_array(endpoint_ids)])
    return [
        Endpoint(id_, owner, url, tuple(types), tuple(versions), *rest)
        for id_, owner, url, types, versions, *rest in rows
    ]


def _select_sent(conn: Connection, delivery_ids: list[str]) -> list[SentDelivery]:
    """The deliveries to resend, locked."""
    ids = sorted({id_ for id_ in delivery_ids if is_event_id(id_)})  # those that can be a delivery's
    if not ids:
        return []
    rows = conn.execute(
        f"SELECT {DELIVERIES.select(SentDelivery)} FROM deliveries WHERE delivery_id = ANY(%b::uuid[])"
        " ORDER BY endpoint_id, lane, seq FOR UPDATE",
        [uuid_array(ids)],
    )
    return [SentDelivery(*row) for row in rows]


def _lock_busy_lanes(conn: Connection, endpoint_ids: list[str], lanes: list[str]) -> set[Lane]:
    """Locked, so that the sender cannot end a lane's last delivery while another is put behind it."""
    rows = conn.execute(
        "SELECT endpoint_id, lane FROM deliveries WHERE endpoint_id = ANY(%s::text[]) AND lane = ANY(%s)"
        " AND state IN ('due', 'waiting', 'sending') ORDER BY endpoint_id, lane, seq FOR UPDATE",
        [text_array(endpoint_ids), lanes],
    )
    return {(endpoint_id, lane) for endpoint_id, lane in rows}


_UPSERT = ENDPOINTS.upsert()
_INSERT = DELIVERIES.insert(otherwise="ON CONFLICT DO NOTHING")  # seq is the order in which they were decided


def save(conn: Connection, changes: Sequence[Change]) -> None:
    """Resends before new deliveries, which may wait behind them.

    A delivery whose id exists already is not inserted again.
    """
    _UPSERT.run(conn, list({c.endpoint_id: c for c in changes if isinstance(c, Endpoint)}.values()))
    for again in (change for change in changes if isinstance(change, Resend)):
        _save_resend(conn, again)
    _INSERT.run(conn, [change for change in changes if isinstance(change, Delivery)])


def _save_resend(conn: Connection, again: Resend) -> None:
    """Start a delivery anew, unless it is being sent or waits."""
    conn.execute(
        "UPDATE deliveries SET state = %s, due_at = %s, tries = 0, ended_at = NULL"
        " WHERE delivery_id = %s::uuid AND state NOT IN ('sending', 'waiting')",
        [again.state, again.at, again.delivery_id],
    )

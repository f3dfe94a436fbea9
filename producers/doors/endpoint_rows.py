"""Webhook endpoints as doors have them: rows, and the events that say what became of them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from psycopg.rows import dict_row

from producers.problems import Problem
from producers.reading import Row
from producers.source import SOURCE
from schemas.envelope import Envelope, EventId, child_trace, derive_id, event_type, record_headers
from schemas.events import Event, WebhookEndpointSet
from topics.catalog import WEBHOOK_ENDPOINTS
from topics.runtime.outbox import outbox
from topics.runtime.outbox.outbox import OutboxRecord
from topics.runtime.shape.consumer import Connection

ENDPOINTS_MAX = 50  # each hears of every payment of its owner


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as doors have it: the truth, of which the room hears."""

    endpoint_id: str
    owner: str
    url: str
    event_types: tuple[str, ...]
    secret_versions: tuple[int, ...]
    last_version: int
    revision: int
    deleted: bool
    created_at: datetime
    changed_at: datetime

    def shown(self) -> dict[str, object]:
        """As its owner sees it."""
        names = ("endpoint_id", "url", "event_types", "secret_versions", "created_at", "changed_at")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Said:
    """What a transaction comes to, and the events that say so."""

    events: Sequence[tuple[EventId, Event, int]] = ()  # id, event, revision


SELECT = (
    "SELECT endpoint_id, owner, url, event_types, secret_versions, last_version, revision, deleted, created_at,"
    " changed_at FROM webhook_endpoints"
)


def endpoint_of(row: Row) -> Endpoint:
    lists = {"event_types": tuple(row["event_types"]), "secret_versions": tuple(row["secret_versions"])}
    return Endpoint(**(row | lists))


_LEASE = """
UPDATE webhook_endpoints SET leased_until = clock_timestamp() + make_interval(secs => %(s)s::int)
WHERE endpoint_id = %(endpoint_id)s AND (leased_until IS NOT NULL OR %(s)s::int IS NOT NULL)
"""
_RUN_OUT = SELECT + " WHERE leased_until < clock_timestamp() AND NOT deleted LIMIT 100 FOR UPDATE SKIP LOCKED"


def lease(conn: Connection, endpoint_id: str, lease_s: int | None) -> None:
    """Until so many seconds from now; None: one that has a lease loses it."""
    conn.execute(_LEASE, {"s": lease_s, "endpoint_id": endpoint_id})


def delete_run_out(conn: Connection, now: datetime) -> int:
    """Endpoints whose lease nobody has renewed. The sweep of an API process says so. → how many."""
    found = [endpoint_of(row) for row in conn.cursor(row_factory=dict_row).execute(_RUN_OUT).fetchall()]
    said = [change(conn, now, replace(known, deleted=True))[1] for known in found]
    outbox.insert(conn, [unsaid(*event, now) for each in said for event in each.events])()
    return len(found)


def locked(conn: Connection, endpoint_id: str) -> Endpoint | None:
    cursor = conn.cursor(row_factory=dict_row)
    row = cursor.execute(SELECT + " WHERE endpoint_id = %s FOR UPDATE", [endpoint_id]).fetchone()
    return endpoint_of(row) if row else None


def room_for_it(conn: Connection, owner: str, endpoint_id: str) -> None:
    """Errors: Problem `too_many_endpoints`. Two at once may go past it by one, which hurts nobody."""
    others = conn.execute(
        "SELECT count(*) FROM webhook_endpoints WHERE owner = %s AND endpoint_id <> %s AND NOT deleted",
        [owner, endpoint_id],
    ).fetchone()
    if others and others[0] >= ENDPOINTS_MAX:
        raise Problem("too_many_endpoints")


def own(conn: Connection, owner: str | None, endpoint_id: str) -> Endpoint:
    """Locked: its events get their outbox ids in the order of its changes. Errors: Problem `not_found`."""
    known = locked(conn, endpoint_id)
    if known is None or known.deleted or (owner is not None and known.owner != owner):
        raise Problem("not_found")
    return known


def change(conn: Connection, now: datetime, wanted: Endpoint) -> tuple[Endpoint, Said]:
    """The row as it is wanted, its next revision, and the event that says so."""
    changed = replace(wanted, revision=wanted.revision + 1, changed_at=now)
    conn.execute(
        "UPDATE webhook_endpoints SET url = %s, event_types = %s, secret_versions = %s, last_version = %s,"
        " revision = %s, deleted = %s, changed_at = %s WHERE endpoint_id = %s",
        [
            changed.url,
            list(changed.event_types),
            list(changed.secret_versions),
            changed.last_version,
            changed.revision,
            changed.deleted,
            changed.changed_at,
            changed.endpoint_id,
        ],
    )
    return changed, Said([said_of(changed, now)])


def said_of(endpoint: Endpoint, now: datetime) -> tuple[EventId, Event, int]:
    event = WebhookEndpointSet(
        endpoint_id=endpoint.endpoint_id,
        owner=endpoint.owner,
        url=endpoint.url,
        event_types=endpoint.event_types,
        secret_versions=endpoint.secret_versions,
        endpoint_revision=endpoint.revision,
        deleted=endpoint.deleted,
    )
    cause = f"{endpoint.endpoint_id}|{endpoint.revision}"
    return derive_id(cause, SOURCE, 0, _milliseconds(now)), event, endpoint.revision


def new_id(now: datetime) -> EventId:
    """Of a wish that may be repeated: each is one of its own."""
    return derive_id(secrets.token_hex(16), SOURCE, 0, _milliseconds(now))


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def unsaid(event_id: EventId, event: Event, revision: int, now: datetime) -> OutboxRecord:
    trace = child_trace(None, event_id, event_id)
    envelope = Envelope(event_id, SOURCE, event_type(type(event)), now, revision, trace)
    value = event.model_dump_json().encode()
    return OutboxRecord(WEBHOOK_ENDPOINTS.name, event.key.encode(), record_headers(envelope), value)

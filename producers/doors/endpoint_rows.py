"""Webhook endpoints ⇄ their rows in the store of doors, and the events that publish their changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from psycopg.rows import dict_row

from producers.doors.commands import CommandEvents, id_of_revision, publish
from producers.problems import Problem
from producers.reading import Row
from schemas.envelope import EventId
from schemas.events import Event, WebhookEndpointSet
from topics.runtime.shape.consumer import Connection

ENDPOINTS_MAX = 50  # of one owner: each may get every event of all the owner's payments


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A webhook endpoint. Doors own it; the room *webhooks* keeps a copy from events."""

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
        """The endpoint as its owner sees it."""
        names = ("endpoint_id", "url", "event_types", "secret_versions", "created_at", "changed_at")
        return {name: getattr(self, name) for name in names}


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
_EXPIRED = SELECT + " WHERE leased_until < clock_timestamp() AND NOT deleted LIMIT 100 FOR UPDATE SKIP LOCKED"


def lease(conn: Connection, endpoint_id: str, lease_s: int | None) -> None:
    """Set the endpoint's lease to `lease_s` seconds from now; None removes it."""
    conn.execute(_LEASE, {"s": lease_s, "endpoint_id": endpoint_id})


def delete_expired(conn: Connection, now: datetime) -> int:
    """Delete endpoints with an expired lease. The sweep of an API process publishes the events. → how many"""
    found = [endpoint_of(row) for row in conn.cursor(row_factory=dict_row).execute(_EXPIRED).fetchall()]
    said = [change(conn, now, replace(known, deleted=True))[1] for known in found]
    publish(conn, said, now)()
    return len(found)


def locked(conn: Connection, endpoint_id: str) -> Endpoint | None:
    cursor = conn.cursor(row_factory=dict_row)
    row = cursor.execute(SELECT + " WHERE endpoint_id = %s FOR UPDATE", [endpoint_id]).fetchone()
    return endpoint_of(row) if row else None


def check_limit(conn: Connection, owner: str, endpoint_id: str) -> None:
    """Errors: Problem `too_many_endpoints`. Two concurrent requests may exceed the limit by one, which is harmless."""
    others = conn.execute(
        "SELECT count(*) FROM webhook_endpoints WHERE owner = %s AND endpoint_id <> %s AND NOT deleted",
        [owner, endpoint_id],
    ).fetchone()
    if others and others[0] >= ENDPOINTS_MAX:
        raise Problem("too_many_endpoints")


def own_endpoint(conn: Connection, owner: str | None, endpoint_id: str) -> Endpoint:
    """The owner's endpoint, locked, so that its events get their outbox ids in the order of its changes.

    Errors: Problem `not_found`.
    """
    known = locked(conn, endpoint_id)
    if known is None or known.deleted or (owner is not None and known.owner != owner):
        raise Problem("not_found")
    return known


def change(conn: Connection, now: datetime, wanted: Endpoint) -> tuple[Endpoint, CommandEvents]:
    """Store the endpoint under its next revision. → the endpoint and its event"""
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
    return changed, CommandEvents([set_event(changed, now)])


def set_event(endpoint: Endpoint, now: datetime) -> tuple[EventId, Event, int]:
    event = WebhookEndpointSet(
        endpoint_id=endpoint.endpoint_id,
        owner=endpoint.owner,
        url=endpoint.url,
        event_types=endpoint.event_types,
        secret_versions=endpoint.secret_versions,
        endpoint_revision=endpoint.revision,
        deleted=endpoint.deleted,
    )
    return id_of_revision("endpoint", endpoint.endpoint_id, endpoint.revision, now), event, endpoint.revision

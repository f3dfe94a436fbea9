"""Deliveries as rows, for the sender: due → sending (leased, numbered) → delivered, due again later, or given up.

Each function runs in a transaction of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from topics.runtime.calls.leased import LeasedRows
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.table import Column, Table

SWEEP_ROWS = 500
LOST = "the sender ended before it could say what became of this"


@dataclass(frozen=True, slots=True)
class LeasedDelivery:
    """A leased delivery: only this process may send it until the lease ends."""

    delivery_id: str
    endpoint_id: str
    event_id: str
    body: bytes
    attempt_no: int
    tries: int  # this one included
    owner: str
    url: str
    secret_versions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one attempt. `error` is None if the receiver accepted it (2xx)."""

    took_ms: int
    status: int | None
    error: str | None
    reply: str = ""


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """The result of one attempt, and the next state of its delivery."""

    delivery_id: str
    attempt_no: int
    at: datetime
    took_ms: int | None
    status: int | None
    error: str | None
    reply: str | None
    state: str  # delivered | due | given_up
    due_at: datetime


LEASED = LeasedRows(
    "deliveries",
    "delivery_id",
    "uuid",
    "attempt_no",
    order="endpoint_id, lane, seq",
    lease_s=30.0,  # longer than an attempt may take
    unsent=", tries = tries - 1",
)
_LEASE = LEASED.lease(
    """SELECT due.delivery_id, e.owner, e.url, e.secret_versions
    FROM endpoints e LEFT JOIN unnest(%(busy)s::text[], %(free)s::int[]) AS b (endpoint_id, free) USING (endpoint_id),
    LATERAL (SELECT d.delivery_id FROM deliveries d
             WHERE d.endpoint_id = e.endpoint_id AND d.state = 'due' AND d.due_at <= %(now)s
             ORDER BY d.due_at LIMIT coalesce(b.free, %(most)s) FOR UPDATE SKIP LOCKED) AS due
    WHERE NOT e.deleted LIMIT %(all)s""",
    "tries = tries + 1",
    "deliveries.delivery_id::text, endpoint_id, event_id::text, body, attempt_no, tries, owner, url, secret_versions",
)


def lease(conn: Connection, free: Mapping[str, int], most: int, room: int, now: datetime) -> list[LeasedDelivery]:
    """Lease due deliveries: at most `most` of each endpoint, or its number in `free`; at most `room` in all."""
    values = {
        "busy": list(free),
        "free": list(free.values()),
        "most": most,
        "all": room,
        "now": now,
        "lease": timedelta(seconds=LEASED.lease_s),
    }
    return [
        LeasedDelivery(id_, endpoint, event, body, no, tries, owner, url, tuple(versions))
        for id_, endpoint, event, body, no, tries, owner, url, versions in conn.execute(_LEASE, values)
    ]


def has_endpoints(conn: Connection) -> bool:
    """Whether any endpoint is registered."""
    return conn.execute("SELECT 1 FROM endpoints LIMIT 1").fetchone() is not None


def release(conn: Connection, unsent: Sequence[LeasedDelivery]) -> None:
    """Release leased deliveries that were surely not sent: due again unchanged, and without a try."""
    LEASED.release(conn, [(one.delivery_id, one.attempt_no) for one in unsent])


_RECORD = LEASED.record(
    """state = result.state, due_at = result.due_at, lease_until = NULL,
    ended_at = CASE WHEN result.state = 'due' THEN NULL ELSE result.due_at END""",
    {"state": "text", "due_at": "timestamptz"},
    "deliveries.endpoint_id, deliveries.lane, deliveries.state",
)
ATTEMPTS = Table(
    "attempts",
    Column("delivery_id", "uuid", key=True),
    Column("attempt_no", "int4", key=True),
    Column("at", "timestamptz"),
    Column("took_ms", "int4", null=True),
    Column("status", "int4", null=True),
    Column("error", "text", null=True),
    Column("reply", "text", null=True),
)
_LOG = ATTEMPTS.insert(otherwise="ON CONFLICT DO NOTHING")


def record(conn: Connection, attempts: Sequence[DeliveryAttempt], now: datetime) -> bool:
    """Log these attempts; a finished delivery releases the next of its lane. → whether a delivery became due by that.

    An attempt whose lease has expired is logged only: a later attempt decides.
    """
    ids = [attempt.delivery_id for attempt in attempts]
    numbers = [attempt.attempt_no for attempt in attempts]
    _lock(conn, ids)
    moved = conn.execute(
        _RECORD,
        [ids, numbers, [attempt.state for attempt in attempts], [attempt.due_at for attempt in attempts], "sending"],
    ).fetchall()
    _LOG.run(conn, attempts)
    return _release_lanes(conn, [(endpoint_id, lane) for endpoint_id, lane, state in moved if state != "due"], now)


def _lock(conn: Connection, delivery_ids: list[str]) -> None:
    """Lock deliveries in the order in which the room locks its lanes."""
    conn.execute(
        "SELECT FROM deliveries WHERE delivery_id = ANY(%s::uuid[]) ORDER BY endpoint_id, lane, seq FOR UPDATE",
        [delivery_ids],
    )


_RELEASE_LANES = """
UPDATE deliveries SET state = 'due', due_at = %s WHERE delivery_id IN (
    SELECT (SELECT d.delivery_id FROM deliveries d
            WHERE d.endpoint_id = l.endpoint_id AND d.lane = l.lane AND d.state = 'waiting' ORDER BY d.seq LIMIT 1)
    FROM unnest(%s::text[], %s::text[]) AS l (endpoint_id, lane)
    WHERE NOT EXISTS (SELECT 1 FROM deliveries o WHERE o.endpoint_id = l.endpoint_id AND o.lane = l.lane
                      AND o.state IN ('due', 'sending')))
"""


def _release_lanes(conn: Connection, lanes: Sequence[tuple[str, str]], now: datetime) -> bool:
    """Make the next delivery of each lane due. A statement of its own, so that deliveries added meanwhile are seen."""
    if not lanes:
        return False
    return (
        conn.execute(_RELEASE_LANES, [now, [endpoint for endpoint, _ in lanes], [lane for _, lane in lanes]]).rowcount
        > 0
    )


def expire(conn: Connection, now: datetime) -> int:
    """Deliveries with an expired lease are due again, under the same webhook-id; the lost attempts are logged."""
    rows = LEASED.expired(conn, "delivery_id::text, attempt_no")
    lost = [DeliveryAttempt(id_, number, now, None, None, LOST, None, "due", now) for id_, number in rows]
    if lost:
        record(conn, lost, now)
    return len(lost)


def cancel(conn: Connection, now: datetime) -> int:
    """Cancel the unfinished deliveries of deleted endpoints."""
    return conn.execute(
        "UPDATE deliveries SET state = 'cancelled', ended_at = %s WHERE delivery_id IN"
        " (SELECT d.delivery_id FROM endpoints e JOIN deliveries d USING (endpoint_id)"
        "  WHERE e.deleted AND d.state IN ('due', 'waiting') ORDER BY d.endpoint_id, d.lane, d.seq"
        "  LIMIT %s FOR UPDATE OF d SKIP LOCKED)",
        [now, SWEEP_ROWS],
    ).rowcount

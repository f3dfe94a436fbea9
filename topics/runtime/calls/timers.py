"""Timers as rows: inserted with the decision that sets them; once due, a message of the pseudo-topic `timers`; deleted
with its effect.

Timers are never cancelled: the decider does nothing where nothing is left to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import orjson

from schemas.envelope import EventId, derive_id, event_type, time_ms_of
from schemas.events import TimerFired
from topics import catalog
from topics.runtime.shape.consumer import Cause, Connection, Message, Timer
from topics.runtime.shape.store import uuid_array
from topics.runtime.shape.table import Column, Table

DUE_MAX = 500


class _NewTimer(NamedTuple):
    id: EventId
    timer: Timer


TIMERS = Table(
    "timers",
    Column("id", "uuid", key=True),
    Column("kind", "text", "timer.kind"),
    Column("key", "text", "timer.key"),
    Column("due_at", "timestamptz", "timer.due_at"),
)
# The same timer set twice is one row. Set again after it has fired, it has another cause and so another id. The row is locked:
# who fires it waits for all who have set it, and sees what they did.
_INSERT = TIMERS.insert(otherwise="ON CONFLICT (kind, key, due_at) DO UPDATE SET due_at = excluded.due_at")
_DUE = f"SELECT id::text, {TIMERS.select(Timer)} FROM timers WHERE due_at <= %s ORDER BY due_at, id LIMIT %s"
_DELETE = "DELETE FROM timers WHERE id = ANY(%s::uuid[])"


def save(conn: Connection, timers: Sequence[tuple[Timer, EventId]]) -> None:
    """Insert timers with their ids, sorted, so that two processes that insert the same ones cannot deadlock."""
    rows = {(timer.kind, timer.key, timer.due_at): _NewTimer(id_, timer) for timer, id_ in timers}
    _INSERT.run(conn, [rows[each] for each in sorted(rows)])


def timer_id(timer: Timer, cause: Cause) -> EventId:
    """The id of the timer's message, derived from the event that sets the timer."""
    by = f"timer {timer.kind} {timer.key} {timer.due_at.astimezone(UTC).isoformat()}"
    return derive_id(cause.event_id, by, 0, cause.entered_ms)


def due(conn: Connection, now: datetime, limit: int = DUE_MAX) -> list[Message]:
    """Due timers as messages, oldest first. `now` is business time. Every process makes the same message of a row."""
    return [_message(EventId(row[0]), Timer(*row[1:])) for row in conn.execute(_DUE, (now, limit))]


def _message(timer_id: EventId, timer: Timer) -> Message:
    entered_ms = time_ms_of(timer_id)
    headers = (
        ("ce_specversion", b"1.0"),
        ("ce_id", timer_id.encode()),
        ("ce_source", b"timers"),
        ("ce_type", event_type(TimerFired).encode()),
        ("content-type", b"application/json"),
    )
    value = orjson.dumps({"kind": timer.kind, "timer_key": timer.key, "due_at": timer.due_at})
    return Message(catalog.TIMERS.name, -1, -1, timer.key.encode(), value, headers, entered_ms)


def delete(conn: Connection, ids: Sequence[str]) -> None:
    """Delete fired timers in the transaction that claims their messages: each is done, parked or dead from then on."""
    conn.execute(_DELETE, (uuid_array(sorted(ids)),))

"""Notifications that came before their cause → kept → taken up, without Kafka, once their call is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psp.port import Captured, Declined, Pending
from schemas.envelope import derive_id, event_type, time_ms_of
from schemas.errors import Permanent
from schemas.events import NotificationReceived
from schemas.money import Money
from topics import catalog
from topics.runtime.shape.consumer import Connection, Message
from topics.runtime.shape.store import text_array
from topics.runtime.shape.table import Column, Table

UNSAID = "unspecified"


@dataclass(frozen=True, slots=True)
class Early:
    """A notification about a call that is not there (yet)."""

    event: NotificationReceived
    event_id: str
    received_at: datetime


def told(event: NotificationReceived, gross: Money) -> Captured | Declined | Pending:
    """The notification as the reply that it is. Errors: Permanent `notification_mismatch`."""
    if event.amount != gross:
        why = f"it speaks of {event.amount}, and {gross} was asked for"
        raise Permanent("notification_mismatch", why, ours=False)
    match event.status:
        case "succeeded":
            return Captured(event.psp_reference, event.scheme or "other", event.amount)
        case "declined":
            return Declined(event.code or UNSAID, event.psp_reference, event.scheme)
        case "pending":
            return Pending(event.psp_reference, event.code or UNSAID)
        case "authorised" | "reversed":
            raise Permanent("notification_mismatch", f"{event.status} of a charge that takes the money", ours=False)


def _as_json(event: NotificationReceived) -> bytes:
    return event.model_dump_json().encode()


NOTIFICATIONS = Table(
    "notifications",
    Column("event_id", "text", key=True),
    Column("psp", "text", "event.psp"),
    Column("notification_id", "text", "event.notification_id"),
    Column("reference", "text", "event.reference"),
    Column("value", "bytea", "event", write=_as_json),
    Column("received_at", "timestamptz"),
    Column("taken_at", "timestamptz", null=True, by_sql=True),
)
_KEEP = NOTIFICATIONS.insert(otherwise="ON CONFLICT DO NOTHING")


def keep(conn: Connection, early: Sequence[Early]) -> None:
    _KEEP.run(conn, early)


@dataclass(frozen=True, slots=True)
class TakenUp:
    """One whose call has come: to be applied, and then to be called taken."""

    event_id: str
    reference: str
    value: bytes

    def message(self) -> Message:
        """The same id and bytes whoever takes it up, and however often; another id than it came with, which is claimed."""
        entered_ms = time_ms_of(self.event_id)
        headers = (
            ("ce_specversion", b"1.0"),
            ("ce_id", derive_id(self.event_id, "executor early", 0, entered_ms).encode()),
            ("ce_source", b"executor"),
            ("ce_type", event_type(NotificationReceived).encode()),
            ("content-type", b"application/json"),
        )
        return Message(catalog.PSP_NOTIFICATIONS.name, -1, -1, self.reference.encode(), self.value, headers, entered_ms)


_READY = f"""
SELECT {NOTIFICATIONS.select(TakenUp, alias="n")}
FROM notifications n JOIN calls c ON c.id = n.reference AND c.psp = n.psp
WHERE n.taken_at IS NULL ORDER BY n.received_at LIMIT %s
"""
_TAKEN = """
UPDATE notifications SET taken_at = clock_timestamp() WHERE event_id = ANY(%s::text[]) AND taken_at IS NULL
"""


def ready(conn: Connection, limit: int = 500) -> list[TakenUp]:
    """Those whose call is there by now."""
    return [TakenUp(*row) for row in conn.execute(_READY, (limit,))]


def taken(conn: Connection, those: Sequence[TakenUp]) -> None:
    """They were applied, or the runtime holds them as letters: either way they are not ours to bring again."""
    conn.execute(_TAKEN, (text_array(one.event_id for one in those),))

"""Notifications that came before their call → stored → applied, without Kafka, once their call exists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from schemas.envelope import derive_id, event_type, time_ms_of
from schemas.events import NotificationReceived
from schemas.money_back import DisputeNotified
from schemas.payouts import PayoutNotified
from topics import catalog
from topics.runtime.shape.consumer import Connection, Message
from topics.runtime.shape.store import text_array
from topics.runtime.shape.table import Column, Table

NotificationEvent = NotificationReceived | DisputeNotified | PayoutNotified


@dataclass(frozen=True, slots=True)
class EarlyNotification:
    """A notification about a call that does not exist (yet)."""

    event: NotificationEvent
    event_id: str
    received_at: datetime

    @property
    def psp(self) -> str:
        """The PSP, or the provider."""
        return self.event.provider if isinstance(self.event, PayoutNotified) else self.event.psp

    @property
    def type(self) -> str:
        return event_type(type(self.event))


def _as_json(event: NotificationEvent) -> bytes:
    return event.model_dump_json().encode()


NOTIFICATIONS = Table(
    "notifications",
    Column("event_id", "text", key=True),
    Column("psp", "text"),
    Column("notification_id", "text", "event.notification_id"),
    Column("reference", "text", "event.reference"),
    Column("type", "text"),
    Column("value", "bytea", "event", write=_as_json),
    Column("received_at", "timestamptz"),
    Column("taken_at", "timestamptz", null=True, by_sql=True),
)
_KEEP = NOTIFICATIONS.insert(otherwise="ON CONFLICT DO NOTHING")


def keep(conn: Connection, early: Sequence[EarlyNotification]) -> None:
    _KEEP.run(conn, early)


@dataclass(frozen=True, slots=True)
class ReadyNotification:
    """An early notification whose call exists now: it is applied, and then marked as taken."""

    event_id: str
    reference: str
    type: str
    value: bytes

    def message(self) -> Message:
        """The message to apply. Its id and bytes are the same in each process and at each attempt; the id is derived, since
        the inbox has claimed the notification's own.
        """
        entered_ms = time_ms_of(self.event_id)
        headers = (
            ("ce_specversion", b"1.0"),
            ("ce_id", derive_id(self.event_id, "executor early", 0, entered_ms).encode()),
            ("ce_source", b"executor"),
            ("ce_type", self.type.encode()),
            ("content-type", b"application/json"),
        )
        return Message(catalog.PSP_NOTIFICATIONS.name, -1, -1, self.reference.encode(), self.value, headers, entered_ms)


_READY = f"""
SELECT {NOTIFICATIONS.select(ReadyNotification, alias="n")}
FROM notifications n JOIN calls c ON c.id = n.reference AND c.psp = n.psp
WHERE n.taken_at IS NULL ORDER BY n.received_at LIMIT %s
"""
_TAKEN = """
UPDATE notifications SET taken_at = clock_timestamp() WHERE event_id = ANY(%s::text[]) AND taken_at IS NULL
"""


def ready(conn: Connection, limit: int = 500) -> list[ReadyNotification]:
    """The early notifications whose call exists by now."""
    return [ReadyNotification(*row) for row in conn.execute(_READY, (limit,))]


def mark_taken(conn: Connection, those: Sequence[ReadyNotification]) -> None:
    """Mark them as taken: they were applied, or are kept as parked or dead letters."""
    conn.execute(_TAKEN, (text_array(one.event_id for one in those),))

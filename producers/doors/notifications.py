"""A webhook with a valid signature, of a PSP or provider → its raw bytes and its event in one transaction → Kafka."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, assert_never

import structlog
from prometheus_client import Counter

from producers.doors.door import Door
from producers.doors.records import record_of
from producers.problems import Problem
from producers.source import SOURCE
from psp.payout_port import ListedTransfer, PayoutProvider, TransferNotification
from psp.port import ListedCharge, ListedDispute, ListedOperation, Notification, Psp
from psp.registry import make_providers, make_psps
from psp.webhooks import genuine
from psp.wire import decline_code, is_reference
from schemas.envelope import EventId, derive_id, digest
from schemas.events import NotificationReceived
from schemas.money_back import DisputeNotified
from schemas.payouts import PayoutNotified
from topics.runtime.outbox import outbox
from topics.runtime.outbox.outbox import OutboxRecord, Row
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.consumer import Connection
from topics.settings import Settings

log = structlog.get_logger()

RECEIVED = Counter("tally_psp_notifications_total", "Webhooks of PSPs, by what became of them", ["psp", "what"])
NotificationResult = Literal["taken", "repeated", "not_read"]
NotificationEvent = NotificationReceived | DisputeNotified | PayoutNotified


@dataclass(frozen=True, slots=True)
class ReceivedNotification:
    """A webhook with a valid signature. `contents` is the hash of its body: one id with two bodies is two notifications."""

    psp: str
    id: str
    contents: str
    body: bytes
    event: NotificationEvent | None  # None: of a kind without an event

    @property
    def key(self) -> tuple[str, str, str]:
        return self.psp, self.id, self.contents

    def ids(self) -> list[tuple[str, str, str]]:
        return [self.key]

    def event_id(self, now: datetime) -> EventId:
        return derive_id("|".join(self.key), SOURCE, 0, int(now.timestamp() * 1000))


class Notifications:
    """PSPs' and providers' webhooks, which the door stores."""

    def __init__(self, settings: Settings, door: Door[Any, Any]) -> None:
        """`door` takes ReceivedNotifications by `claim`."""
        self._accounts: Mapping[str, Psp | PayoutProvider] = {
            **make_psps(settings.psps),
            **make_providers(settings.http_providers),
        }
        self._clock = Clock(settings.clock_file)
        self._door = door

    def read(self, name: str, headers: Mapping[str, str], body: bytes) -> ReceivedNotification:
        """The notification in a webhook of that PSP or provider. Errors: Problem `not_found` if it is not in the settings,
        `invalid_signature`.
        """
        account = self._accounts.get(name)
        if account is None:
            raise Problem("not_found")
        if not genuine(account.webhook_secrets, account.signature(headers), body, self._clock.now().timestamp()):
            RECEIVED.labels(name, "refused").inc()
            raise Problem("invalid_signature")
        return _given(name, account.read_notification(body), body)

    async def receive(self, given: ReceivedNotification) -> None:
        """Store the notification, if it was not stored before. Errors: Problem if it could not be stored."""
        what: NotificationResult = await self._door.submit(given)
        RECEIVED.labels(given.psp, what).inc()
        if what == "not_read":
            log.warning("notification not read", action="store", psp=given.psp, notification_id=given.id)


def _given(name: str, told: Notification | TransferNotification | None, body: bytes) -> ReceivedNotification:
    contents = digest(body)
    if told is None:
        return ReceivedNotification(name, f"unread:{contents}", contents, body, None)
    event = payout_event_of(name, told) if isinstance(told, TransferNotification) else event_of(name, told)
    return ReceivedNotification(name, told.id, contents, body, event)


def payout_event_of(provider: str, told: TransferNotification) -> PayoutNotified | None:
    """The event of a provider's notification; None if there is none for its kind."""
    listed = told.told
    return None if listed is None else _of_transfer(provider, told.id, listed)


def _of_transfer(provider: str, notification_id: str, listed: ListedTransfer) -> PayoutNotified:
    return PayoutNotified(
        reference=_reference(listed.reference, listed.provider_reference),
        provider=provider,
        notification_id=notification_id,
        source="webhook",
        status=listed.status,
        amount=listed.returned or listed.amount,
        provider_reference=listed.provider_reference,
        code=listed.code,
    )


def event_of(psp: str, told: Notification) -> NotificationEvent | None:
    """The event of a notification; None if there is none for its kind."""
    match told.told:
        case None | ListedCharge(status="voided"):  # without an event: a charge is voided by our own void or expiry
            return None
        case ListedCharge() as charge:
            return _of_money(psp, told, charge)
        case ListedOperation() as operation:
            return _of_money(psp, told, operation)
        case ListedDispute() as dispute:
            return _of_dispute(psp, told.id, dispute)
        case _:
            assert_never(told.told)


def _of_money(psp: str, told: Notification, listed: ListedCharge | ListedOperation) -> NotificationReceived:
    assert listed.status != "voided"
    return NotificationReceived(
        reference=_reference(listed.reference, listed.psp_reference),
        psp=psp,
        notification_id=told.id,
        source="webhook",
        status=listed.status,
        amount=listed.amount,
        psp_reference=listed.psp_reference,
        scheme=listed.scheme or None,
        code=decline_code(told.code) if listed.status in ("declined", "pending") else None,
        about=listed.kind if isinstance(listed, ListedOperation) else None,
        expires_at=listed.expires_at if isinstance(listed, ListedCharge) else None,
    )


def _of_dispute(psp: str, notification_id: str, dispute: ListedDispute) -> DisputeNotified:
    return DisputeNotified(
        reference=_reference(dispute.reference, dispute.charge_reference),
        psp=psp,
        notification_id=notification_id,
        source="webhook",
        dispute_reference=dispute.dispute_reference,
        stage=dispute.stage,
        status=dispute.status,
        amount=dispute.amount,
        fee=dispute.fee,
        reason=dispute.reason,
        due_by=dispute.due_by,
    )


def _reference(ours: str, theirs: str) -> str:
    """Our reference, or the PSP's if ours cannot be one of ours: the executor then keeps the notification under it, and
    `tally stuck` shows it.
    """
    return ours if is_reference(ours) else theirs


def claim(
    conn: Connection, batch: Sequence[ReceivedNotification], now: datetime
) -> tuple[Sequence[NotificationResult | Problem], Callable[[], list[Row]]]:
    """Store new notifications and their events."""
    fresh = _insert(conn, batch, now)
    outcomes: list[NotificationResult | Problem] = [_what(given, fresh) for given in batch]
    read = [given for given in batch if given.key in fresh and given.event is not None]
    return outcomes, outbox.insert(conn, [_record_of(given, now) for given in read])


def _what(given: ReceivedNotification, fresh: set[tuple[str, str, str]]) -> NotificationResult:
    if given.key not in fresh:
        return "repeated"
    return "taken" if given.event is not None else "not_read"


_INSERT = """
INSERT INTO notifications (psp, notification_id, contents, body, event_id, received_at)
SELECT psp, id, contents, body, event_id, %s
FROM unnest(%s::text[], %s::text[], %s::text[], %s::bytea[], %s::text[]) AS n(psp, id, contents, body, event_id)
ORDER BY psp, id, contents
ON CONFLICT DO NOTHING RETURNING psp, notification_id, contents
"""


def _insert(conn: Connection, batch: Sequence[ReceivedNotification], now: datetime) -> set[tuple[str, str, str]]:
    """→ the keys of new notifications"""
    columns: list[object] = [
        [given.psp for given in batch],
        [given.id for given in batch],
        [given.contents for given in batch],
        [given.body for given in batch],
        [given.event_id(now) if given.event is not None else None for given in batch],
    ]
    return set(conn.execute(_INSERT, [now, *columns]).fetchall())


def _record_of(given: ReceivedNotification, now: datetime) -> OutboxRecord:
    """In a trace of its own, until the executor finds the order's."""
    assert given.event is not None
    return record_of(given.event, given.event_id(now), now, exclude_none=False)

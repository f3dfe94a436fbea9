"""A batch of requests for captures, voids and refunds → claims on their ids, stored replies and events, in one transaction.

Ids are the caller's, unique in the installation for each kind. Only 202s are remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from producers.doors.payments import links as payment_links
from producers.doors.records import record_of
from producers.doors.submission import Answer, Submission
from producers.problems import Problem
from producers.source import SOURCE
from schemas.envelope import EventId, derive_id
from schemas.events import CaptureRequested, OperationKind, OperationRequested, RefundRequested, VoidRequested
from schemas.requests import CaptureRequest, FieldError, RefundRequest, VoidRequest
from topics.runtime.outbox import outbox
from topics.runtime.outbox.outbox import OutboxRecord, Row
from topics.runtime.shape.consumer import Connection

OperationRequest = CaptureRequest | VoidRequest | RefundRequest
EVENTS: dict[OperationKind, type[OperationRequested]] = {
    "capture": CaptureRequested,
    "void": VoidRequested,
    "refund": RefundRequested,
}
SHOWN = (
    "payment_order_id",
    "checkout_id",
    "amount",
    "currency",
    "final",
    "reason",
)  # fields that repeat the request
Claimed = tuple[list[Answer | Problem], Callable[[], list[Row]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationSubmission(Submission[Any]):
    """A request for a capture, void or refund."""

    kind: OperationKind
    checkout_id: str

    @property
    def operation_id(self) -> str:
        return str(getattr(self.request, f"{self.kind}_id"))

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.operation_id

    @property
    def location(self) -> str:
        return links(self.kind, self.operation_id, self.checkout_id)["self"]

    def ids(self) -> list[tuple[str, str]]:
        return [self.key]

    def event_id(self, now: datetime) -> EventId:
        return derive_id(f"{self.kind} {self.operation_id}", SOURCE, 0, int(now.timestamp() * 1000))


def claim(conn: Connection, batch: Sequence[OperationSubmission], now: datetime) -> Claimed:
    """Claim the ids of the batch, sorted. A transaction that loses an id waits until the winner has committed, and reads it."""
    asked = {one.key: one for one in sorted(batch, key=lambda one: one.key)}
    replies = {key: reply_to(one, now) for key, one in asked.items()}
    fresh = _insert(conn, list(asked.values()), replies, now)
    known = _known(conn, [key for key in asked if key not in fresh])
    outcomes: dict[tuple[str, str], Answer | Problem] = {key: Answer(replies[key], replayed=False) for key in fresh}
    for key, (owner, reply) in known.items():
        outcomes[key] = _known_reply(asked[key], replies[key], owner, reply)
    said = [_record_of(one, now) for key, one in asked.items() if key in fresh]
    return [outcomes[one.key] for one in batch], outbox.insert(conn, said)


# ── pure ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def links(kind: OperationKind, operation_id: str, checkout_id: str) -> dict[str, str]:
    """A refund can be read by itself; captures and voids stand with their payment."""
    return {"self": f"/v1/refunds/{operation_id}"} if kind == "refund" else payment_links(checkout_id)


def reply_to(asked: OperationSubmission, now: datetime) -> bytes:
    """The operation's state at its acceptance; an immediate GET answers the same."""
    return orjson.dumps(_shown(asked, now), option=orjson.OPT_UTC_Z)


def _shown(asked: OperationSubmission, now: datetime) -> dict[str, object]:
    request = asked.request
    more: dict[str, object] = {}
    if isinstance(request, CaptureRequest):
        more = {"final": request.final}
    elif isinstance(request, RefundRequest):
        more = {"reason": request.reason}
    return {
        f"{asked.kind}_id": asked.operation_id,
        "payment_order_id": request.payment_order_id,
        "checkout_id": asked.checkout_id,
        "amount": getattr(request, "amount", None),
        "currency": getattr(request, "currency", None),
        **more,
        "status": "received",
        "detail": "",
        "code": None,
        "wallet_updated": False,
        "ledger_updated": False,
        "received_at": now,
        "links": links(asked.kind, asked.operation_id, asked.checkout_id),
    }


def _known_reply(asked: OperationSubmission, reply: bytes, owner: str, before: bytes) -> Answer | Problem:
    """The answer to a request with a known id. Another owner's tells nothing of the first."""
    field = f"{asked.kind}_id"
    if owner != asked.owner:
        why = "this id is taken"
        return Problem("id_taken", f"{field}: {why}", [FieldError(field, "id_taken", why)])
    now, then = orjson.loads(reply), orjson.loads(before)
    # If the order is not found any more, the request's checkout is not known.
    names = [name for name in SHOWN if now.get(name) != then.get(name) and (name != "checkout_id" or asked.checkout_id)]
    if not names:
        return Answer(before, replayed=True)
    why = f"not what was accepted under this {field}"
    return Problem(
        "contents_conflict",
        f"This {field} was accepted with other contents: {', '.join(names)}",
        [FieldError(name, "contents_conflict", why) for name in names],
    )


def _record_of(asked: OperationSubmission, now: datetime) -> OutboxRecord:
    """The event for payments, as a record."""
    kind = EVENTS[asked.kind]
    said = asked.request.__dict__ | {"checkout_id": asked.checkout_id, "owner": asked.owner, "received_at": now}
    event = kind.model_construct(set(said), **said)
    return record_of(event, asked.event_id(now), now, traceparent=asked.traceparent)


# ── statements ───────────────────────────────────────────────────────────────────────────────────────────────────────


_INSERT = """
INSERT INTO operation_ids (kind, id, owner, checkout_id, payment_order_id, reply, accepted_at, event_id)
SELECT kind, id, owner, checkout_id, payment_order_id, reply, %b, event_id
  FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::bytea[], %t::uuid[])
    AS a (kind, id, owner, checkout_id, payment_order_id, reply, event_id)
 WHERE checkout_id <> '' ON CONFLICT DO NOTHING RETURNING kind, id
"""


def _insert(
    conn: Connection, asked: Sequence[OperationSubmission], replies: dict[tuple[str, str], bytes], now: datetime
) -> set[tuple[str, str]]:
    """→ the keys of new operations"""
    columns: list[object] = [
        [one.kind for one in asked],
        [one.operation_id for one in asked],
        [one.owner for one in asked],
        [one.checkout_id for one in asked],
        [one.request.payment_order_id for one in asked],
        [replies[one.key] for one in asked],
        [str(one.event_id(now)) for one in asked],
    ]
    return {(kind, id_) for kind, id_ in conn.execute(_INSERT, [now, *columns])}


def _known(conn: Connection, keys: list[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, bytes]]:
    """The owners and replies of known ids. Read in a later statement than the claim, so that the winner's row is visible."""
    if not keys:
        return {}
    rows = conn.execute(
        "SELECT kind, id, owner, reply FROM operation_ids JOIN unnest(%s::text[], %s::text[]) AS a (kind, id) USING (kind, id)",
        [[kind for kind, _ in keys], [id_ for _, id_ in keys]],
    )
    return {(kind, id_): (owner, bytes(reply)) for kind, id_, owner, reply in rows}

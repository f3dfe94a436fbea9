"""A batch of requests under ids of the caller's → claims on the ids, stored replies and events, in one transaction.

Ids are unique in the installation for each kind. Only 202s are remembered.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, LiteralString

import orjson

from producers.doors.records import record_of
from producers.doors.submission import Answer, Body, Submission
from producers.problems import Problem
from producers.source import SOURCE
from schemas.envelope import EventId, derive_id
from schemas.events import AnyEvent
from schemas.requests import FieldError
from topics.runtime.outbox import outbox
from topics.runtime.outbox.outbox import OutboxRecord, Row
from topics.runtime.shape.consumer import Connection

Claimed = tuple[list[Answer | Problem], Callable[[], list[Row]]]
Key = tuple[str, str]  # kind, id
IS_KNOWN: LiteralString = "SELECT 1 AS found FROM operation_ids WHERE kind = %s AND id = %s"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdSubmission(Submission[Body]):
    """A request under an id of the caller's."""

    repeated: ClassVar[tuple[str, ...]]  # fields of the reply that repeat the request
    id_field: ClassVar[str] = ""

    @property
    @abstractmethod
    def key(self) -> Key: ...

    @property
    def order(self) -> tuple[str | None, str | None]:
        """The checkout and the payment order that the request is about; (None, None): about none."""
        return None, None

    @abstractmethod
    def shown(self, now: datetime) -> dict[str, object]:
        """The state at the acceptance; an immediate GET answers the same."""

    @abstractmethod
    def event(self, now: datetime) -> AnyEvent:
        """What the room hears."""

    @property
    def field(self) -> str:
        return self.id_field or f"{self.key[0]}_id"

    def ids(self) -> list[Key]:
        return [self.key]

    def event_id(self, now: datetime) -> EventId:
        return derive_id(" ".join(self.key), SOURCE, 0, int(now.timestamp() * 1000))


def claim(conn: Connection, batch: Sequence[IdSubmission[Any]], now: datetime) -> Claimed:
    """Claim the ids of the batch, sorted. A transaction that loses an id waits until the winner has committed, and reads it."""
    asked = {one.key: one for one in sorted(batch, key=lambda one: one.key)}
    replies = {key: reply_to(one, now) for key, one in asked.items()}
    fresh = _insert(conn, list(asked.values()), replies, now)
    known = _known(conn, [key for key in asked if key not in fresh])
    outcomes: dict[Key, Answer | Problem] = {key: Answer(replies[key], replayed=False) for key in fresh}
    for key, (owner, reply) in known.items():
        outcomes[key] = _known_reply(asked[key], replies[key], owner, reply)
    said = [_record_of(one, now) for key, one in asked.items() if key in fresh]
    return [outcomes[one.key] for one in batch], outbox.insert(conn, said)


def reply_to(asked: IdSubmission[Any], now: datetime) -> bytes:
    return orjson.dumps(asked.shown(now), option=orjson.OPT_UTC_Z)


def _known_reply(asked: IdSubmission[Any], reply: bytes, owner: str, before: bytes) -> Answer | Problem:
    """The answer to a request with a known id. Another owner's tells nothing of the first."""
    if owner != asked.owner:
        why = "this id is taken"
        return Problem("id_taken", f"{asked.field}: {why}", [FieldError(asked.field, "id_taken", why)])
    now, then = orjson.loads(reply), orjson.loads(before)
    # If the order is not found any more, the request's checkout is not known.
    is_lost = asked.order[0] == ""
    names = [
        name for name in asked.repeated if now.get(name) != then.get(name) and not (name == "checkout_id" and is_lost)
    ]
    if not names:
        return Answer(before, replayed=True)
    why = f"not what was accepted under this {asked.field}"
    return Problem(
        "contents_conflict",
        f"This {asked.field} was accepted with other contents: {', '.join(names)}",
        [FieldError(name, "contents_conflict", why) for name in names],
    )


def _record_of(asked: IdSubmission[Any], now: datetime) -> OutboxRecord:
    return record_of(asked.event(now), asked.event_id(now), now, traceparent=asked.traceparent)


# ── statements ───────────────────────────────────────────────────────────────────────────────────────────────────────


_INSERT = """
INSERT INTO operation_ids (kind, id, owner, checkout_id, payment_order_id, reply, accepted_at, event_id)
SELECT kind, id, owner, checkout_id, payment_order_id, reply, %b, event_id
  FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::bytea[], %t::uuid[])
    AS a (kind, id, owner, checkout_id, payment_order_id, reply, event_id)
 WHERE checkout_id IS DISTINCT FROM '' ON CONFLICT DO NOTHING RETURNING kind, id
"""


def _insert(conn: Connection, asked: Sequence[IdSubmission[Any]], replies: dict[Key, bytes], now: datetime) -> set[Key]:
    """→ the keys of new operations"""
    columns: list[object] = [
        [one.key[0] for one in asked],
        [one.key[1] for one in asked],
        [one.owner for one in asked],
        [one.order[0] for one in asked],
        [one.order[1] for one in asked],
        [replies[one.key] for one in asked],
        [str(one.event_id(now)) for one in asked],
    ]
    return {(kind, id_) for kind, id_ in conn.execute(_INSERT, [now, *columns])}


def _known(conn: Connection, keys: list[Key]) -> dict[Key, tuple[str, bytes]]:
    """The owners and replies of known ids. Read in a later statement than the claim, so that the winner's row is visible."""
    if not keys:
        return {}
    rows = conn.execute(
        "SELECT kind, id, owner, reply FROM operation_ids JOIN unnest(%s::text[], %s::text[]) AS a (kind, id) USING (kind, id)",
        [[kind for kind, _ in keys], [id_ for _, id_ in keys]],
    )
    return {(kind, id_): (owner, bytes(reply)) for kind, id_, owner, reply in rows}

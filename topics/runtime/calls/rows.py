"""Calls to the outside as rows: due → sending (leased, numbered) → answered (reply kept) → due again, or ended.

`save` runs inside the room's batch. The executor's sender uses the other functions, each in its own transaction; the
results of `lease` and `record` may be read after the commit, so that each is one round trip.

Two clocks, never compared: `due_at`, `deadline` and `first_sent_at` are business time, passed in; `lease_until`,
`acted_at` and `sent_until` are PostgreSQL's time, which `tally clock advance` does not move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import orjson

from schemas.envelope import EventId, derive_id, time_ms_of
from topics import catalog
from topics.runtime.calls.leased import LeasedRows
from topics.runtime.shape.consumer import PAYOUT_KINDS, Act, Call, CallKind, Connection, Ended, Message, Retry
from topics.runtime.shape.store import bytes_array, int_array, text_array
from topics.runtime.shape.table import Column, Table

LEASE_S = 15.0


@dataclass(frozen=True, slots=True)
class LeasedCall:
    """A leased call: only this process may send it or ask about it until the lease ends."""

    id: str
    subject: str
    kind: CallKind
    psp: str
    request: bytes
    deadline: datetime
    cause_event_id: str
    act: Act
    act_no: int
    ever_unknown: bool
    first_sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class CallReply:
    """The reply to one act (a send or a question) of a call: stored on its row, and applied as CallEnded or PayoutCallEnded."""

    call_id: str
    subject: str
    cause_event_id: str
    act: Act
    act_no: int
    reply: Mapping[str, object]  # redacted: no token, no key, no destination
    unknown: bool  # a send that may or may not have taken effect
    kind: CallKind = "charge"

    def value(self, ended_at: datetime) -> bytes:
        return orjson.dumps(
            {
                "payout_id" if self.kind in PAYOUT_KINDS else "payment_order_id": self.subject,
                "call_id": self.call_id,
                "act": self.act,
                "act_no": self.act_no,
                "reply": self.reply,
                "ended_at": ended_at,
            }
        )


@dataclass(frozen=True, slots=True)
class StoredReply:
    """A reply as stored on its row: every process that applies it applies the same bytes."""

    call_id: str
    subject: str
    cause_event_id: str
    act: Act
    act_no: int
    value: bytes
    kind: CallKind


class _NewCall(NamedTuple):
    call: Call
    cause_event_id: EventId
    traceparent: str | None
    now: datetime

    @property
    def due_at(self) -> datetime:
        return self.call.due_at or self.now


CALLS = Table(
    "calls",
    Column("id", "text", "call.id", key=True),
    Column("subject", "text", "call.subject"),
    Column("kind", "text", "call.kind"),
    Column("psp", "text", "call.psp"),
    Column("request", "bytea", "call.request"),
    Column("deadline", "timestamptz", "call.deadline"),
    Column("cause_event_id", "text"),
    Column("created_at", "timestamptz", "now"),
    Column("state", "text", by_sql=True),
    Column("act", "text", "call.act"),
    Column("act_no", "int4", by_sql=True),
    Column("send_no", "int4", by_sql=True),
    Column("ever_unknown", "bool", by_sql=True),
    Column("first_sent_at", "timestamptz", null=True, by_sql=True),
    Column("sent_until", "timestamptz", null=True, by_sql=True),
    Column("acted_at", "timestamptz", null=True, by_sql=True),
    Column("due_at", "timestamptz"),
    Column("lease_until", "timestamptz", null=True, by_sql=True),
    Column("leased_by", "text", null=True, by_sql=True),
    Column("reply", "bytea", null=True, by_sql=True),
    Column("outcome", "text", null=True, by_sql=True),
    Column("traceparent", "text", null=True),
)


LEASED = LeasedRows("calls", "id", "text", "act_no", order="lease_until", lease_s=LEASE_S, unsent=", leased_by = NULL")


# ── in the room's batch ──────────────────────────────────────────────────────────────────────────────────────────────


CausedCall = tuple[Call | Retry | Ended, EventId, str | None]  # with the id of its cause, and its trace


def save(conn: Connection, calls: Sequence[CausedCall], now: datetime) -> None:
    """Insert new calls; retry or end others, but retry none that is being sent now. The last change of each
    call counts.
    """
    new: list[tuple[Call, EventId, str | None]] = []
    old: dict[str, Retry | Ended] = {}
    for call, cause, trace in calls:
        if isinstance(call, Call):
            new.append((call, cause, trace))
        else:
            old[call.call_id] = call
    if new:
        _insert(conn, new, now)
    if old:
        _move(conn, [old[call_id] for call_id in sorted(old)], now)


_INSERT = CALLS.insert()


def _insert(conn: Connection, new: Iterable[tuple[Call, EventId, str | None]], now: datetime) -> None:
    _INSERT.run(conn, [_NewCall(*each, now) for each in new])


_RETRY = """
UPDATE calls SET state = 'due', act = again.act, due_at = again.due_at, lease_until = NULL, leased_by = NULL
FROM unnest(%s::text[], %s::text[], %s::timestamptz[]) AS again(id, act, due_at)
WHERE calls.id = again.id AND state IN ('answered', 'due')
"""
_END = """
UPDATE calls SET state = 'ended', outcome = now_is.outcome, due_at = %s, lease_until = NULL, leased_by = NULL
FROM unnest(%s::text[], %s::text[]) AS now_is(id, outcome)
WHERE calls.id = now_is.id AND state <> 'ended'
"""


def _move(conn: Connection, old: Sequence[Retry | Ended], now: datetime) -> None:
    again = [call for call in old if isinstance(call, Retry)]
    ended = [call for call in old if isinstance(call, Ended)]
    if again:
        due = text_array((now + timedelta(seconds=call.due_in_s)).isoformat() for call in again)
        conn.execute(_RETRY, (text_array(c.call_id for c in again), text_array(c.act for c in again), due))
    if ended:
        conn.execute(_END, (now, text_array(c.call_id for c in ended), text_array(c.outcome for c in ended)))


# ── the executor's sender ────────────────────────────────────────────────────────────────────────────────────────────

# A send may leave at any moment until its lease ends (sent_until); recording its reply moves that end forward.
_LEASE = LEASED.lease(
    """SELECT due.id FROM unnest(%(psps)s::text[], %(limits)s::int[]) AS psp(name, most),
    LATERAL (SELECT id FROM calls WHERE state = 'due' AND calls.psp = psp.name AND due_at <= %(now)s
             AND NOT (act = 'send' AND deadline <= %(now)s)
             ORDER BY due_at LIMIT psp.most FOR UPDATE SKIP LOCKED) AS due""",
    """acted_at = clock_timestamp(), leased_by = %(by)s,
    send_no = CASE act WHEN 'send' THEN send_no + 1 ELSE send_no END,
    first_sent_at = CASE act WHEN 'send' THEN coalesce(first_sent_at, %(now)s) ELSE first_sent_at END,
    sent_until = CASE act WHEN 'send' THEN clock_timestamp() + %(lease)s ELSE sent_until END""",
    CALLS.select(LeasedCall, alias="calls"),
)


def lease(conn: Connection, limits: Mapping[str, int], now: datetime, by: str) -> Callable[[], list[LeasedCall]]:
    """Lease due calls for LEASE_S, at most `limits` for each PSP, each under its next act number. → reads them, later.

    Sends past their payment's deadline are left to `end_overdue`: once leased, they might have been sent.
    """
    values = {
        "psps": list(limits),
        "limits": list(limits.values()),
        "now": now,
        "by": by,
        "lease": timedelta(seconds=LEASE_S),
    }
    taken = conn.execute(_LEASE, values)
    return lambda: [LeasedCall(*row) for row in taken]


_OVERDUE = """
SELECT id, subject, cause_event_id, act, act_no + 1, kind FROM calls
WHERE state = 'due' AND act = 'send' AND due_at <= %(now)s AND deadline <= %(now)s
ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""
_REFUSE = """
UPDATE calls SET state = 'answered', act_no = answer.act_no, reply = answer.value,
                 acted_at = clock_timestamp(), lease_until = clock_timestamp() + %s, leased_by = %s
FROM unnest(%s::text[], %s::int[], %s::bytea[]) AS answer(id, act_no, value)
WHERE calls.id = answer.id
"""


def end_overdue(
    conn: Connection, reply: Mapping[str, object], now: datetime, ended_at: datetime, by: str, limit: int = 500
) -> list[StoredReply]:
    """Answer the sends past their payment's deadline with `reply`, which says that they were not sent."""
    rows = conn.execute(_OVERDUE, {"now": now, "limit": limit}).fetchall()
    answers = [
        CallReply(id_, subject, cause, act, act_no, reply, unknown=False, kind=kind)
        for id_, subject, cause, act, act_no, kind in rows
    ]
    stored = [_stored_reply(answer, answer.value(ended_at)) for answer in answers]
    if stored:
        columns = (
            text_array(one.call_id for one in stored),
            int_array(one.act_no for one in stored),
            bytes_array([one.value for one in stored]),
        )
        conn.execute(_REFUSE, (timedelta(seconds=LEASE_S), by, *columns))
    return stored


_OPEN_AT = """
SELECT psp, kind FROM calls WHERE state = 'due' UNION SELECT psp, kind FROM calls WHERE state IN ('sending', 'answered')
"""


def open_at(conn: Connection) -> set[tuple[str, CallKind]]:
    """The PSPs and providers with calls that have not ended, and the kinds of these."""
    return {(psp, kind) for psp, kind in conn.execute(_OPEN_AT)}


def release(conn: Connection, unsent: Sequence[LeasedCall]) -> None:
    """Release leased calls that were surely not sent: due again unchanged, their act numbers stay used."""
    LEASED.release(conn, [(call.id, call.act_no) for call in unsent])


_RECORD = LEASED.record(
    """state = 'answered', reply = result.value, ever_unknown = ever_unknown OR result.unknown,
    sent_until = least(sent_until, clock_timestamp())""",
    {"value": "bytea", "unknown": "bool"},
    "calls.id",
)


Recorded = tuple[list[StoredReply], list[CallReply]]


def record(conn: Connection, answers: Sequence[CallReply], ended_at: datetime) -> Callable[[], Recorded]:
    """Store the replies on their rows. → reads, later, the stored ones, and those that came after their lease had expired."""
    answers = sorted(answers, key=lambda answer: answer.call_id)
    values = [answer.value(ended_at) for answer in answers]
    columns = (
        text_array(answer.call_id for answer in answers),
        int_array(answer.act_no for answer in answers),
        bytes_array(values),
        text_array("t" if answer.unknown else "f" for answer in answers),
        "sending",
    )
    kept = conn.execute(_RECORD, columns)

    def recorded() -> Recorded:
        taken = {row[0] for row in kept}
        stored = [_stored_reply(a, value) for a, value in zip(answers, values, strict=True) if a.call_id in taken]
        return stored, [answer for answer in answers if answer.call_id not in taken]

    return recorded


def _stored_reply(answer: CallReply, value: bytes) -> StoredReply:
    return StoredReply(
        answer.call_id, answer.subject, answer.cause_event_id, answer.act, answer.act_no, value, answer.kind
    )


def expire(conn: Connection, reply: Mapping[str, object], ended_at: datetime) -> int:
    """Answer calls whose lease has expired with `reply`, an unknown outcome: they may have been sent. `take_unapplied` gets
    them."""
    rows = LEASED.expired(conn, "id, subject, cause_event_id, act, act_no, kind")
    lost = [
        CallReply(id_, subject, cause, act, no, reply, act == "send", kind)
        for id_, subject, cause, act, no, kind in rows
    ]
    if lost:
        record(conn, lost, ended_at)
    return len(lost)


_UNAPPLIED = """
UPDATE calls SET lease_until = clock_timestamp() + %s, leased_by = %s WHERE id IN (
    SELECT id FROM calls WHERE state = 'answered' AND lease_until < statement_timestamp()
    ORDER BY lease_until LIMIT %s FOR UPDATE SKIP LOCKED)
RETURNING id, subject, cause_event_id, act, act_no, reply, kind
"""


def take_unapplied(conn: Connection, by: str, limit: int = 500) -> list[StoredReply]:
    """Lease stored replies that their recorder has not applied in time, to apply them here."""
    return [StoredReply(*row) for row in conn.execute(_UNAPPLIED, (timedelta(seconds=LEASE_S), by, limit))]


_HANDED_OVER = """
UPDATE calls SET lease_until = NULL FROM unnest(%s::text[], %s::int[]) AS applied(id, act_no)
WHERE calls.id = applied.id AND calls.act_no = applied.act_no AND state = %s
"""


def release_parked(conn: Connection, stored: Sequence[StoredReply]) -> None:
    """Release the leases of replies that were applied but did not move their call: they are parked, and drained by the
    runtime.

    Matched by act number: the call may have a new reply meanwhile, which is still to be applied.
    """
    conn.execute(_HANDED_OVER, ([reply.call_id for reply in stored], [reply.act_no for reply in stored], "answered"))


def message(reply: StoredReply) -> Message:
    """The reply as a message of the pseudo-topic `calls`; its id is derived from call id, act and act number."""
    return _message(reply, reply.act)


def late_message(answer: CallReply, ended_at: datetime) -> Message:
    """A reply that came after its lease had expired. The expired act's message has the usual id, so this one gets another."""
    return _message(_stored_reply(answer, answer.value(ended_at)), f"late {answer.act}")


def _message(reply: StoredReply, act: str) -> Message:
    entered_ms = time_ms_of(reply.cause_event_id)
    headers = (
        ("ce_specversion", b"1.0"),
        ("ce_id", derive_id(reply.call_id, act, reply.act_no, entered_ms).encode()),
        ("ce_source", b"executor"),
        ("ce_type", b"tallystick.PayoutCallEnded.v1" if reply.kind in PAYOUT_KINDS else b"tallystick.CallEnded.v1"),
        ("content-type", b"application/json"),
    )
    return Message(catalog.CALLS.name, -1, -1, reply.subject.encode(), reply.value, headers, entered_ms)

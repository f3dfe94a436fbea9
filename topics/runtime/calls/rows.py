"""Calls to the outside as rows: due → sending (leased, numbered) → answered (reply kept) → due again, or ended.

`save` runs inside the room's batch. Everything else is the caller's, each function in a transaction of its own; what
`lease` and `record` give may be read after its commit, so that both are one round trip.

Two clocks, never compared: `due_at`, `deadline` and `first_sent_at` are business time, given by whoever calls;
`lease_until`, `acted_at` and `sent_until` are PostgreSQL's, which no `tally clock advance` moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import orjson

from schemas.envelope import EventId, derive_id, time_ms_of
from topics import catalog
from topics.runtime.shape.consumer import Act, Call, CallKind, Connection, Ended, Message, Retry
from topics.runtime.shape.store import bytes_array, int_array, text_array
from topics.runtime.shape.table import Column, Table

LEASE_S = 15.0


@dataclass(frozen=True, slots=True)
class Leased:
    """A call that this process alone may now send or ask, until its lease ends."""

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
    """How one act of a call came back: what is stored, and what the decider hears."""

    call_id: str
    subject: str
    cause_event_id: str
    act: Act
    act_no: int
    reply: Mapping[str, object]  # redacted: no token, no key
    unknown: bool  # a send of which we do not know whether it acted

    def value(self, ended_at: datetime) -> bytes:
        return orjson.dumps(
            {
                "payment_order_id": self.subject,
                "call_id": self.call_id,
                "act": self.act,
                "act_no": self.act_no,
                "reply": self.reply,
                "ended_at": ended_at,
            }
        )


@dataclass(frozen=True, slots=True)
class StoredReply:
    """A reply on its row: the same bytes whoever applies it, and however often."""

    call_id: str
    subject: str
    cause_event_id: str
    act: Act
    act_no: int
    value: bytes


class _NewCall(NamedTuple):
    call: Call
    cause_event_id: EventId
    traceparent: str | None
    now: datetime


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
    Column("due_at", "timestamptz", "now"),
    Column("lease_until", "timestamptz", null=True, by_sql=True),
    Column("leased_by", "text", null=True, by_sql=True),
    Column("reply", "bytea", null=True, by_sql=True),
    Column("outcome", "text", null=True, by_sql=True),
    Column("traceparent", "text", null=True),
)


# ── in the room's batch ──────────────────────────────────────────────────────────────────────────────────────────────


CausedCall = tuple[Call | Retry | Ended, EventId, str | None]  # with the event that led to it, and its trace


def save(conn: Connection, calls: Sequence[CausedCall], now: datetime) -> None:
    """New calls become due at once; others become due again, unless they are out just now, or end. Of several about one
    call the last one counts.
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


# ── the caller's ─────────────────────────────────────────────────────────────────────────────────────────────────────

# A send may have left at any moment until its lease ends; an earlier end is known only once its reply is recorded.
_LEASE = """
WITH wanted AS (
    SELECT due.id FROM unnest(%(psps)s::text[], %(limits)s::int[]) AS psp(name, most),
    LATERAL (SELECT id FROM calls WHERE state = 'due' AND calls.psp = psp.name AND due_at <= %(now)s
             AND NOT (act = 'send' AND deadline <= %(now)s)
             ORDER BY due_at LIMIT psp.most FOR UPDATE SKIP LOCKED) AS due
)
UPDATE calls SET
    state = 'sending', act_no = act_no + 1, acted_at = clock_timestamp(),
    lease_until = clock_timestamp() + %(lease)s, leased_by = %(by)s,
    send_no = CASE act WHEN 'send' THEN send_no + 1 ELSE send_no END,
    first_sent_at = CASE act WHEN 'send' THEN coalesce(first_sent_at, %(now)s) ELSE first_sent_at END,
    sent_until = CASE act WHEN 'send' THEN clock_timestamp() + %(lease)s ELSE sent_until END
FROM wanted WHERE calls.id = wanted.id
RETURNING """ + CALLS.select(Leased, alias="calls")


def lease(conn: Connection, limits: Mapping[str, int], now: datetime, by: str) -> Callable[[], list[Leased]]:
    """Take due calls, at most `limits` for each PSP, each with its next number, for LEASE_S; read later which.

    What was to be sent, past its payment's deadline, is `end_overdue`'s: leased, it might have been sent.
    """
    values = {
        "psps": list(limits),
        "limits": list(limits.values()),
        "now": now,
        "by": by,
        "lease": timedelta(seconds=LEASE_S),
    }
    taken = conn.execute(_LEASE, values)
    return lambda: [Leased(*row) for row in taken]


_OVERDUE = """
SELECT id, subject, cause_event_id, act, act_no + 1 FROM calls
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
    """Sends past their payment's deadline, of whatever PSP, answered with `reply`, which says that they never left."""
    rows = conn.execute(_OVERDUE, {"now": now, "limit": limit}).fetchall()
    answers = [
        CallReply(id_, subject, cause, act, act_no, reply, unknown=False) for id_, subject, cause, act, act_no in rows
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


_PSPS = "SELECT psp FROM calls WHERE state = 'due' UNION SELECT psp FROM calls WHERE state IN ('sending', 'answered')"


def psps(conn: Connection) -> set[str]:
    """Whose calls have not ended."""
    return {row[0] for row in conn.execute(_PSPS)}


# Where a call is found by its id, the state that it must be in is a parameter: as a constant it has the planner, who
# believes that few calls are out, read all that are out for each id (58 µs of an order's CPU in place of 16).
_GIVE_BACK = """
UPDATE calls SET state = 'due', lease_until = NULL, leased_by = NULL
FROM unnest(%s::text[], %s::int[]) AS unsent(id, act_no)
WHERE calls.id = unsent.id AND calls.act_no = unsent.act_no AND state = %s
"""


def give_back(conn: Connection, unsent: Sequence[Leased]) -> None:
    """Leased, but surely not sent: due again as it was. Its number stays used."""
    conn.execute(_GIVE_BACK, ([call.id for call in unsent], [call.act_no for call in unsent], "sending"))


_RECORD = """
UPDATE calls SET state = 'answered', reply = answer.value, ever_unknown = ever_unknown OR answer.unknown,
                 sent_until = least(sent_until, clock_timestamp())
FROM unnest(%s::text[], %s::int[], %s::bytea[], %s::bool[]) AS answer(id, act_no, value, unknown)
WHERE calls.id = answer.id AND calls.act_no = answer.act_no AND state = %s
RETURNING calls.id
"""


Recorded = tuple[list[StoredReply], list[CallReply]]


def record(conn: Connection, answers: Sequence[CallReply], ended_at: datetime) -> Callable[[], Recorded]:
    """Keep the replies on their rows; read later what was stored, and what came after its lease was taken."""
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
    return StoredReply(answer.call_id, answer.subject, answer.cause_event_id, answer.act, answer.act_no, value)


_EXPIRED = """
SELECT id, subject, cause_event_id, act, act_no FROM calls
WHERE state = 'sending' AND lease_until < statement_timestamp() ORDER BY lease_until LIMIT %s FOR UPDATE SKIP LOCKED
"""


def expire(conn: Connection, reply: Mapping[str, object], ended_at: datetime, limit: int = 500) -> int:
    """Whoever held these is gone or late: nobody knows what was sent. `reply` says so, and `take_unapplied` finds them."""
    rows = conn.execute(_EXPIRED, (limit,)).fetchall()
    for id_, subject, cause, act, act_no in rows:
        answer = CallReply(id_, subject, cause, act, act_no, reply, act == "send")
        conn.execute(_EXPIRE, (answer.value(ended_at), answer.unknown, id_))
    return len(rows)


_EXPIRE = "UPDATE calls SET state = 'answered', reply = %s, ever_unknown = ever_unknown OR %s WHERE id = %s"

_UNAPPLIED = """
UPDATE calls SET lease_until = clock_timestamp() + %s, leased_by = %s WHERE id IN (
    SELECT id FROM calls WHERE state = 'answered' AND lease_until < statement_timestamp()
    ORDER BY lease_until LIMIT %s FOR UPDATE SKIP LOCKED)
RETURNING id, subject, cause_event_id, act, act_no, reply
"""


def take_unapplied(conn: Connection, by: str, limit: int = 500) -> list[StoredReply]:
    """Replies whose recorder did not come to apply them in time: they are ours to apply now."""
    return [StoredReply(*row) for row in conn.execute(_UNAPPLIED, (timedelta(seconds=LEASE_S), by, limit))]


_HANDED_OVER = """
UPDATE calls SET lease_until = NULL FROM unnest(%s::text[], %s::int[]) AS applied(id, act_no)
WHERE calls.id = applied.id AND calls.act_no = applied.act_no AND state = %s
"""


def release_parked(conn: Connection, stored: Sequence[StoredReply]) -> None:
    """Applied, and yet not moved on: the runtime has parked them and brings them back itself. Leave them to it.

    By number: meanwhile the call may have acted again, and its new reply is nobody's until it is applied.
    """
    conn.execute(_HANDED_OVER, ([reply.call_id for reply in stored], [reply.act_no for reply in stored], "answered"))


def message(reply: StoredReply) -> Message:
    """The reply as a message of the pseudo-topic `calls`, its id from call id, act and number."""
    return _message(reply, reply.act)


def late_message(answer: CallReply, ended_at: datetime) -> Message:
    """A reply that came after its lease was taken for lost: the lost one has the usual id, this one has its own."""
    return _message(_stored_reply(answer, answer.value(ended_at)), f"late {answer.act}")


def _message(reply: StoredReply, act: str) -> Message:
    entered_ms = time_ms_of(reply.cause_event_id)
    headers = (
        ("ce_specversion", b"1.0"),
        ("ce_id", derive_id(reply.call_id, act, reply.act_no, entered_ms).encode()),
        ("ce_source", b"executor"),
        ("ce_type", b"tallystick.CallEnded.v1"),
        ("content-type", b"application/json"),
    )
    return Message(catalog.CALLS.name, -1, -1, reply.subject.encode(), reply.value, headers, entered_ms)

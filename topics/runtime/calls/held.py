"""Calls that leave together in a file: due → sending, under a lease without end → answered together.

Their outcome is the file's. Nobody may take them to be lost, so their lease does not expire; once they are answered, the
sender's sweep applies their replies as it does those of a process that has died.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from topics.runtime.calls.rows import CallReply
from topics.runtime.shape.consumer import CallKind, Connection
from topics.runtime.shape.store import bytes_array, int_array, text_array

# `sent_until` is for questions that follow; nobody is asked about these.
_HOLD = """
UPDATE calls SET state = 'sending', act_no = act_no + 1, send_no = send_no + 1, acted_at = clock_timestamp(),
                 first_sent_at = coalesce(first_sent_at, %s), lease_until = 'infinity', leased_by = %s
WHERE id = ANY(%s::text[]) AND state = 'due'
"""
_HELD = """
SELECT id, subject, cause_event_id, act_no, kind FROM calls
WHERE id = ANY(%s::text[]) AND state = %s AND leased_by = %s ORDER BY id FOR UPDATE
"""
_ANSWER = """
UPDATE calls SET state = 'answered', reply = answer.value, lease_until = clock_timestamp()
FROM unnest(%s::text[], %s::int[], %s::bytea[]) AS answer(id, act_no, value)
WHERE calls.id = answer.id AND calls.act_no = answer.act_no AND calls.state = %s
"""


@dataclass(frozen=True, slots=True)
class HeldCall:
    """A call that waits for what becomes of its file."""

    id: str
    subject: str
    cause_event_id: str
    act_no: int
    kind: CallKind


def hold(conn: Connection, ids: Sequence[str], by: str, now: datetime) -> None:
    """Hold due calls that this transaction has locked. `now` is business time."""
    conn.execute(_HOLD, (now, by, text_array(ids)))


def answer(
    conn: Connection, by: str, replies: Mapping[str, Mapping[str, object]], ended_at: datetime
) -> Sequence[HeldCall]:
    """Answer those of these calls that `by` still holds; others have been ended by what their provider has said of them. →
    those answered. `replies` by call; `ended_at` is machine time.
    """
    held = [HeldCall(*row) for row in conn.execute(_HELD, (text_array(replies), "sending", by))]
    if held:
        values = [_reply(call, replies[call.id]).value(ended_at) for call in held]
        ids, numbers = text_array(call.id for call in held), int_array(call.act_no for call in held)
        conn.execute(_ANSWER, (ids, numbers, bytes_array(values), "sending"))
    return held


def _reply(call: HeldCall, reply: Mapping[str, object]) -> CallReply:
    return CallReply(
        call.id, call.subject, call.cause_event_id, "send", call.act_no, reply, unknown=False, kind=call.kind
    )

"""What a PSP, provider or bank could not say of a call or bank file, said by two persons: one proposes the outcome, another
approves it.

The approval puts the outcome into the outbox in its own transaction. The executor takes it as it takes what a PSP notifies: if
the PSP has said something else meanwhile, or says so later, the executor asks the PSP, whose answer counts.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, LiteralString

import orjson
from psycopg.rows import dict_row

from producers.doors.commands import Command, CommandEvents
from producers.problems import Problem
from producers.reading import Row
from producers.source import SOURCE
from schemas.envelope import derive_id
from schemas.events import NotificationReceived
from schemas.money import Money
from schemas.payouts import RESOLVED_BY_OPERATORS, BankFileNotified, PayoutNotified
from schemas.persons import person_of
from schemas.requests import FieldError
from topics.runtime.shape.consumer import Connection

CallKind = Literal["charge", "capture", "void", "refund", "payout", "bank_file"]
# submitted: the provider of a pay-out has it, and has not paid it yet; (not_)delivered is of a bank file; the last two set
# aside what is settled: a declined charge was captured, a captured one has failed
Outcome = Literal[
    "succeeded", "failed", "submitted", "delivered", "not_delivered", "declare_captured", "declare_failed"
]
Told = NotificationReceived | PayoutNotified | BankFileNotified
Standing = Literal["waiting", "approved", "rejected", "expired"]

LIFE = timedelta(days=7)  # as an approval's: what was true then need not be true any more
_EVENTS: dict[str, type[Told]] = {
    each.__name__: each for each in (NotificationReceived, PayoutNotified, BankFileNotified)
}
_INSTEAD_OF: dict[str, Literal["declined", "captured"]] = {
    "declare_captured": "declined",
    "declare_failed": "captured",
}
_NO = ("failed", "declare_failed")
_FILE_STATUS: dict[Outcome, Literal["taken", "not_delivered"]] = {
    "delivered": "taken",
    "not_delivered": "not_delivered",
}

# A call as the executor has it: the state of what it carries out, and the amount that a PSP would name. A bank file stands
# for its calls: whether the bank has it is one outcome for all.
CALL: LiteralString = """
SELECT c.call_id, c.kind, c.psp, c.payment_order_id AS subject, a.currency, a.scheme,
       CASE WHEN o.call_id IS NOT NULL THEN o.state
            WHEN a.call_id = c.call_id AND EXISTS (SELECT 1 FROM operation_view r WHERE r.seq = 0 AND r.kind = 'capture'
                AND r.payment_order_id = c.payment_order_id AND r.state = 'reversed') THEN 'reversed'
            WHEN a.call_id = c.call_id THEN a.state ELSE 'ended' END AS state,
       CASE WHEN o.call_id IS NULL THEN a.psp_reference ELSE o.psp_reference END AS psp_reference,
       CASE WHEN c.kind <> 'void' THEN coalesce(o.amount_minor, a.gross_minor)
            ELSE a.gross_minor - (SELECT coalesce(sum(amount_minor), 0)::bigint FROM operation_view d
                                  WHERE d.payment_order_id = c.payment_order_id AND d.kind = 'capture' AND d.state = 'done')
       END AS amount
FROM call_view c
JOIN attempt_view a ON a.payment_order_id = c.payment_order_id
LEFT JOIN operation_view o ON o.payment_order_id = c.payment_order_id AND o.call_id = c.call_id AND o.seq > 0
WHERE c.call_id = %(call_id)s AND c.kind IN ('charge', 'capture', 'void', 'refund')
UNION ALL
SELECT c.call_id, c.kind, c.psp, p.payout_id, p.sent_currency, NULL,
       CASE WHEN p.call_id <> c.call_id THEN 'ended'
            WHEN p.checking = 'unanswered' AND p.state IN ('not_sent', 'rejected', 'failed', 'returned') THEN 'doubtful'
            ELSE p.state END, p.provider_reference, p.sent_minor
FROM call_view c JOIN payout_view p ON p.payout_id = c.payout_id
WHERE c.call_id = %(call_id)s AND c.kind = 'payout'
UNION ALL
SELECT file_id, 'bank_file', provider, provider, currency, NULL, state, NULL, total_minor
FROM bank_file_view WHERE file_id = %(call_id)s
"""
MANUAL: LiteralString = "SELECT capture = 'manual' AS manual FROM order_view WHERE payment_order_id = %s"
COLUMNS: LiteralString = (
    "proposal_id, call_id, kind, subject, outcome, event_type, event, evidence, reason, proposed_by, proposed_at,"
    " expires_at, state, decided_by, decided_at, decision_reason, event_id::text"
)
SELECT: LiteralString = "SELECT " + COLUMNS + " FROM proposals"
# What the executor has made of a "failed": it asks the PSP or provider before it believes that. What is still unresolved
# has a check of its own only where two persons have spoken. A bank file may have been found before they spoke.
ANSWERS: LiteralString = """
SELECT call_id, resolution AS answer, resolution_code AS answer_code FROM payout_view
WHERE resolution IS NOT NULL AND call_id = ANY(%(calls)s::text[])
UNION ALL
SELECT call_id, answer, CASE answer WHEN 'refused' THEN state END
FROM (SELECT call_id, state, CASE WHEN state IN ('failed', 'declined') THEN 'believed'
                                  WHEN state = 'unresolved' AND checking <> 'unanswered' THEN 'asked'
                                  ELSE 'refused' END AS answer
      FROM (SELECT a.call_id, a.state, o.checking
            FROM call_view c
            JOIN attempt_view a ON a.payment_order_id = c.payment_order_id AND a.call_id = c.call_id
            LEFT JOIN operation_view o ON o.payment_order_id = a.payment_order_id AND o.kind = 'charge'
            WHERE c.call_id = ANY(%(calls)s::text[])
            UNION ALL
            SELECT o.call_id, o.state, o.checking
            FROM call_view c
            JOIN operation_view o ON o.payment_order_id = c.payment_order_id AND o.call_id = c.call_id AND o.seq > 0
            WHERE c.call_id = ANY(%(calls)s::text[])) AS of_call
      WHERE state <> 'unresolved' OR checking IS NOT NULL) AS answered
UNION ALL
SELECT file_id, CASE state WHEN 'not_delivered' THEN 'believed' ELSE 'refused' END,
       CASE WHEN state <> 'not_delivered' THEN state END
FROM bank_file_view WHERE file_id = ANY(%(calls)s::text[]) AND state <> 'unresolved'
"""


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A call whose outcome nobody knows, as the executor's and payments' views show it. The amount is in minor units.

    Of a bank file, `call_id` is its id, `subject` its bank, and the amount the sum of its lines.
    """

    call_id: str
    kind: CallKind
    psp: str
    subject: str  # a payment order or pay-out
    currency: str
    scheme: str | None
    state: str
    psp_reference: str | None
    amount: int
    manual: bool = False  # a charge that authorises


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a person says has become of a call, and how that person knows."""

    outcome: Outcome
    evidence: str
    reason: str
    psp_reference: str | None = None
    expires_at: datetime | None = None  # of an authorisation


@dataclass(frozen=True, slots=True)
class Proposed:
    """A proposal as it stands, and whether the command changed nothing."""

    row: Mapping[str, Any]
    replayed: bool = False

    def shown(self, now: datetime) -> dict[str, Any]:
        return shown(self.row, now)


def shown(row: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """A proposal for its readers: with the amount that is said, and expired once its time is over."""
    told = {name: value for name, value in row.items() if name not in ("event", "event_type")}
    state = "expired" if row["state"] == "waiting" and row["expires_at"] <= now else row["state"]
    event = row["event"]
    return told | {
        "state": state,
        "psp": event.get("provider") or event.get("psp"),
        **event["amount"],
        "psp_reference": event.get("provider_reference") or event.get("psp_reference") or None,
        "answer": None,
        "answer_code": None,
    }


def asked_about(proposals: Sequence[dict[str, Any]]) -> list[str]:
    """The calls of which ANSWERS tells."""
    told_no = ("failed", "not_delivered")
    return [each["call_id"] for each in proposals if each["state"] == "approved" and each["outcome"] in told_no]


def with_answers(proposals: Sequence[dict[str, Any]], answers: Sequence[Row]) -> list[dict[str, Any]]:
    told, asked = {row["call_id"]: row for row in answers}, asked_about(proposals)
    return [each | told.get(each["call_id"], {}) if each["call_id"] in asked else each for each in proposals]


def check_open(call: OpenCall, outcome: str) -> None:
    """A yes may be said as soon as nobody knows; a no once nothing is sent or asked any more. Errors: Problem `not_waiting`.

    `doubtful`: the provider has said otherwise than before, and answered no question about it.
    """
    if outcome in _INSTEAD_OF:
        _check_settled(call, outcome)
        return
    if call.state in ("unresolved", "doubtful") or (call.state == "unknown" and outcome != "failed"):
        return
    if call.state == "unknown":
        raise Problem("not_waiting", "The PSP is still asked, and may be sent the call again: it has not failed yet.")
    raise Problem("not_waiting", f"The outcome of this call is known, or still to come: it is {call.state}.")


def _check_settled(call: OpenCall, outcome: str) -> None:
    """A declined charge of an order that is captured at once, or a capture that stands. Errors: Problem `not_waiting`."""
    of = (call.kind, call.state)
    if outcome == "declare_captured" and (of != ("charge", "declined") or call.manual):
        raise Problem(
            "not_waiting", f"Only a declined charge can be declared captured: this {call.kind} is {call.state}."
        )
    if outcome == "declare_failed" and (
        of not in (("charge", "captured"), ("capture", "done")) or _is_authorised(call)
    ):
        raise Problem("not_waiting", f"Only a capture can be declared failed: this {call.kind} is {call.state}.")


def _is_authorised(call: OpenCall) -> bool:
    """Whether it is the charge of an order whose captures are calls of their own."""
    return call.kind == "charge" and call.manual


def event_of(call: OpenCall, said: Resolution, proposal_id: str) -> Told:
    """What the PSP, provider or bank would have notified. Errors: Problem that names the field."""
    if (call.kind == "bank_file") != (said.outcome in _FILE_STATUS):
        raise _missing("outcome", "invalid_parameter", "a bank file was delivered or not_delivered, a call was not")
    if call.kind == "bank_file":
        return _of_file(call, said, proposal_id)
    if said.outcome == "submitted" and call.kind != "payout":
        raise _missing("outcome", "invalid_parameter", f"a {call.kind} has succeeded or failed")
    if said.outcome in _INSTEAD_OF and call.kind not in ("charge", "capture"):
        raise _missing("outcome", "invalid_parameter", f"a {call.kind} is never declared")
    if said.outcome not in _NO and _reference(call, said) is None:
        raise _missing("psp_reference", "missing_field", "what has not failed has a reference at the PSP")
    authorises = call.kind == "charge" and call.manual and said.outcome == "succeeded"
    if authorises != (said.expires_at is not None):
        code = "missing_field" if authorises else "unknown_field"
        raise _missing("expires_at", code, "of an authorisation, and only of one")
    if call.kind == "payout":
        return _of_payout(call, said, proposal_id)
    return NotificationReceived(
        reference=call.call_id,
        psp=call.psp,
        notification_id=proposal_id,
        source="operator",
        status="declined" if said.outcome in _NO else "authorised" if authorises else "succeeded",
        amount=Money(call.amount, call.currency),
        psp_reference=_reference(call, said) or "",
        scheme=call.scheme,
        code=RESOLVED_BY_OPERATORS if said.outcome in _NO else None,
        about=None if call.kind == "charge" else call.kind,
        expires_at=said.expires_at,
        instead_of=_INSTEAD_OF.get(said.outcome),
    )


def _of_payout(call: OpenCall, said: Resolution, proposal_id: str) -> PayoutNotified:
    status: dict[Outcome, Literal["paid", "accepted", "rejected"]] = {
        "succeeded": "paid",
        "submitted": "accepted",
        "failed": "rejected",
    }
    return PayoutNotified(
        reference=call.call_id,
        provider=call.psp,
        notification_id=proposal_id,
        source="operator",
        status=status[said.outcome],
        amount=Money(call.amount, call.currency),
        provider_reference=_reference(call, said) or "",
        code=RESOLVED_BY_OPERATORS if said.outcome == "failed" else None,
    )


def _of_file(file: OpenCall, said: Resolution, proposal_id: str) -> BankFileNotified:
    for field, given in (("psp_reference", said.psp_reference), ("expires_at", said.expires_at)):
        if given is not None:
            raise _missing(field, "unknown_field", "a bank file has none")
    return BankFileNotified(
        reference=file.call_id,
        provider=file.psp,
        notification_id=proposal_id,
        source="operator",
        status=_FILE_STATUS[said.outcome],
        amount=Money(file.amount, file.currency),
    )


def _reference(call: OpenCall, said: Resolution) -> str | None:
    return said.psp_reference or call.psp_reference


def _missing(field: str, code: str, why: str) -> Problem:
    return Problem(code, f"{field}: {why}", [FieldError(field, code, why)])


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def propose(call: OpenCall, said: Resolution, by: str) -> Command[Proposed]:
    """One proposal waits for a call at a time; the same of the same person again is that one. Errors: Problem `not_waiting`,
    `contents_conflict`, or one that names a field.
    """

    def work(conn: Connection, now: datetime) -> tuple[Proposed, CommandEvents]:
        waiting = _waiting(conn, call.call_id, now)
        if waiting is not None:
            return _same_again(waiting, call, said, by), CommandEvents()
        check_open(call, said.outcome)
        return Proposed(_insert(conn, call, said, by, now)), CommandEvents()

    return Command(("proposal", call.call_id), work)


def decide(call: OpenCall, proposal_id: str, approves: bool, by: str, reason: str) -> Command[Proposed]:
    """Approve it, which says it to the executor, or reject it. The proposer may only take it back.

    `call` is the proposal's, read just before. Errors: Problem `not_found`, `same_person`, `not_waiting`.
    """

    def work(conn: Connection, now: datetime) -> tuple[Proposed, CommandEvents]:
        found = _locked(conn, "proposal_id = %s", proposal_id)
        if found is None:
            raise Problem("not_found")
        state: Standing = "approved" if approves else "rejected"
        if (found["state"], found["decided_by"], found["decision_reason"]) == (state, by, reason):
            return Proposed(found, replayed=True), CommandEvents()
        _check_waiting(found, now)
        if not approves:
            return Proposed(_decided(conn, found, state, by, reason, now, None)), CommandEvents()
        if person_of(by) == person_of(found["proposed_by"]):
            raise Problem("same_person", "Who has proposed it cannot approve it.")
        check_open(call, found["outcome"])
        event_id = derive_id(f"proposal|{proposal_id}", SOURCE, 0, int(now.timestamp() * 1000))
        event = _EVENTS[found["event_type"]].model_validate_json(orjson.dumps(found["event"]))
        done = _decided(conn, found, state, by, reason, now, event_id)
        return Proposed(done), CommandEvents([(event_id, event, 0)])

    return Command(("proposal", call.call_id), work)


def _check_waiting(row: Row, now: datetime) -> None:
    if row["state"] != "waiting":
        raise Problem("not_waiting", f"{row['state']} by {row['decided_by']}" if row["decided_by"] else row["state"])
    if row["expires_at"] <= now:
        raise Problem("not_waiting", "It has expired: propose it again.")


def _same_again(row: Row, call: OpenCall, said: Resolution, by: str) -> Proposed:
    event = event_of(call, said, row["proposal_id"]).model_dump(mode="json", exclude_none=True)
    told = (said.outcome, said.evidence, said.reason, by, event)
    if told == (row["outcome"], row["evidence"], row["reason"], row["proposed_by"], row["event"]):
        return Proposed(row, replayed=True)
    raise Problem(
        "contents_conflict", f"{row['proposal_id']} of {row['proposed_by']} waits for this call: reject it first."
    )


# ── statements ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _waiting(conn: Connection, call_id: str, now: datetime) -> Row | None:
    """The one that waits. One whose time is over makes room for the next."""
    found = _locked(conn, "call_id = %s AND state = 'waiting'", call_id)
    if found is not None and found["expires_at"] <= now:
        conn.execute("UPDATE proposals SET state = 'expired' WHERE proposal_id = %s", [found["proposal_id"]])
        return None
    return found


def _locked(conn: Connection, where: LiteralString, value: str) -> Row | None:
    cursor = conn.cursor(row_factory=dict_row)
    return cursor.execute(SELECT + " WHERE " + where + " FOR UPDATE", [value]).fetchone()


def _insert(conn: Connection, call: OpenCall, said: Resolution, by: str, now: datetime) -> Row:
    """Errors: Problem `not_waiting`, if another process has put one there at this moment."""
    proposal_id = f"rs-{secrets.token_hex(8)}"
    event = event_of(call, said, proposal_id)
    cursor = conn.cursor(row_factory=dict_row)
    row = cursor.execute(
        "INSERT INTO proposals (proposal_id, call_id, kind, subject, outcome, event_type, event, evidence, reason,"
        " proposed_by, proposed_at, expires_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING RETURNING *",
        [
            proposal_id,
            call.call_id,
            call.kind,
            call.subject,
            said.outcome,
            type(event).__name__,
            event.model_dump_json(exclude_none=True),
            said.evidence,
            said.reason,
            by,
            now,
            now + LIFE,
        ],
    ).fetchone()
    if row is None:
        raise Problem("not_waiting", "Another proposal waits for this call.")
    return row


def _decided(
    conn: Connection, row: Row, state: Standing, by: str, reason: str, now: datetime, event_id: str | None
) -> Row:
    decided = {"state": state, "decided_by": by, "decided_at": now, "decision_reason": reason, "event_id": event_id}
    conn.execute(
        "UPDATE proposals SET state = %s, decided_by = %s, decided_at = %s, decision_reason = %s, event_id = %s"
        " WHERE proposal_id = %s",
        [*decided.values(), row["proposal_id"]],
    )
    return {**row, **decided}

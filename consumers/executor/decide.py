"""(attempts and calls, order or reply) → the charge to make, what the PSP said, or what to do about not knowing.

The table of DESIGN.md section 5. Unknown is never failed, never sent to another PSP, never sent with another key.
Whoever says yes or no first, reply, question or notification, decides; whoever says the same later changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import assert_never

import orjson

from consumers.executor.attempt import NO_PSP, Attempt, CallFacts, call_key, key_expired
from consumers.executor.early import Early, told
from consumers.executor.routing import Routing, scheme_of
from psp.port import Captured, Declined, NothingHappened, NotThere, Pending, Reply, Unknown, reply_from_json
from schemas.envelope import digest
from schemas.errors import Permanent
from schemas.events import (
    CallEnded,
    NotificationReceived,
    OrderPlaced,
    OutcomeUnknown,
    OutcomeUnresolved,
    PaymentCaptured,
    PaymentDeclined,
    PaymentPending,
)
from topics.runtime.shape.consumer import Call, Cause, Decision, Ended, Retry, State
from topics.settings import Failover

SEND_AGAIN_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # the last one for ever: the payment's deadline ends it
ASK_AGAIN_S = (5.0, 30.0, 120.0, 600.0, 3600.0, 21_600.0, 86_400.0)
KEY_MARGIN_S = 300.0  # their clock and ours differ


@dataclass(frozen=True, slots=True)
class Declared:
    """What a PSP declares of itself."""

    settling_s: float
    key_life_s: float


@dataclass(frozen=True, slots=True)
class Policy:
    """All that decides besides state and event."""

    routing: Routing
    psps: Mapping[str, Declared]
    failover: Failover = field(default_factory=Failover)
    send_again_s: tuple[float, ...] = SEND_AGAIN_S
    ask_again_s: tuple[float, ...] = ASK_AGAIN_S
    key_margin_s: float = field(default=KEY_MARGIN_S)


def decide(
    policy: Policy, state: State, event: OrderPlaced | CallEnded | NotificationReceived, cause: Cause
) -> Decision:
    """Errors: Permanent `order_changed`, `no_such_call`, `bad_reply`, `notification_mismatch`, `contradiction`."""
    match event:
        case OrderPlaced():
            return place(policy, state.get(event.payment_order_id), event, cause)
        case CallEnded():
            return hear(policy, state, event, cause)
        case NotificationReceived():
            return be_told(policy, state, event, cause)
        case _:
            assert_never(event)


# ── an order ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def call_id_of(payment_order_id: str, attempt_no: int) -> str:
    """32 hex digits, the idempotency key and reference at the PSP: deciding again can only repeat it."""
    return digest(b"charge", payment_order_id.encode(), b"%d" % attempt_no).replace("-", "")


def place(policy: Policy, attempt: Attempt | None, order: OrderPlaced, cause: Cause) -> Decision:
    """Charge the order once."""
    if attempt is not None and attempt.placed != order:
        raise Permanent("order_changed", f"{order.payment_order_id} was placed with other terms")
    if attempt is not None:
        return Decision()
    if cause.now >= order.deadline:
        return _declined_unsent(order, "deadline_passed", cause)
    psp = policy.routing.choose(order)
    if psp is None:
        return _declined_unsent(order, "no_route", cause)
    begun = _begin(order, psp, cause)
    return Decision(changes=(begun,), calls=(_call(begun),), revision=begun.revision)


def _begin(order: OrderPlaced, psp: str, cause: Cause) -> Attempt:
    call_id = call_id_of(order.payment_order_id, 1)
    scheme = scheme_of(order.token)
    return Attempt(order, 1, call_id, psp, "calling", cause.event_id, cause.now, cause.now, scheme=scheme)


def _call(attempt: Attempt) -> Call:
    order = attempt.placed
    return Call(attempt.call_id, order.payment_order_id, attempt.psp, charge_json(order), order.deadline)


def _declined_unsent(order: OrderPlaced, code: str, cause: Cause) -> Decision:
    return _decline(_begin(order, NO_PSP, cause), code, cause, calls=())


def charge_json(order: OrderPlaced) -> bytes:
    """What the caller needs to make the charge: see `caller.charge_of`."""
    return orjson.dumps({**order.gross.wire(), "token": order.token})


# ── a reply ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def hear(policy: Policy, state: State, event: CallEnded, cause: Cause) -> Decision:
    """A yes or no counts whenever it comes; everything else only as the answer to the last act of an open call."""
    attempt: Attempt | None = state.get(event.payment_order_id)
    call: CallFacts | None = state.get(call_key(event.call_id))
    if attempt is None or call is None or call.payment_order_id != event.payment_order_id:
        raise Permanent("no_such_call", f"{event.call_id} is no call of this order")
    reply = _reply(event)
    if attempt.call_id != event.call_id:
        return _of_an_earlier_call(event.call_id, reply)
    if isinstance(reply, Captured | Declined):
        return _decided(policy, attempt, call, reply, cause)
    if not attempt.open or event.act_no != call.act_no:
        return Decision()
    if isinstance(reply, Pending):
        return _pending(policy, attempt, reply, cause)
    if attempt.state == "pending":  # it was there: whatever went wrong since, it is not sent again
        return _ask_again(policy, attempt, "still_pending", _not_before_s(reply), cause)
    if event.act == "send":
        return _after_send(policy, attempt, call, reply, cause)
    return _after_ask(policy, attempt, call, reply, cause)


def be_told(policy: Policy, state: State, event: NotificationReceived, cause: Cause) -> Decision:
    """What a PSP says unasked is worth what it answers, and is kept where its call is not there yet."""
    call: CallFacts | None = state.get(call_key(event.reference))
    if call is None or call.psp != event.psp:
        return Decision((Early(event, cause.event_id, cause.now),))
    attempt: Attempt = state[call.payment_order_id]
    reply = told(event, attempt.placed.gross)
    if attempt.call_id != event.reference:
        return _of_an_earlier_call(event.reference, reply)
    if isinstance(reply, Captured | Declined):
        return _decided(policy, attempt, call, reply, cause)
    if not attempt.open or attempt.state == "pending":
        return Decision()
    return _pending(policy, attempt, reply, cause)


def _of_an_earlier_call(call_id: str, reply: Reply) -> Decision:
    """The order has gone on to another PSP since this one surely did nothing, or declined. It cannot have charged."""
    if isinstance(reply, Captured):
        raise Permanent("contradiction", f"captured as {reply.psp_reference} by {call_id}, which had come to nothing")
    return Decision()


def _reply(event: CallEnded) -> Reply:
    try:
        return reply_from_json(event.reply)
    except ValueError as error:
        raise Permanent("bad_reply", str(error)) from error


def _decided(policy: Policy, attempt: Attempt, call: CallFacts, reply: Captured | Declined, cause: Cause) -> Decision:
    if isinstance(reply, Captured):
        return _captured(attempt, reply, cause)
    other = _other_psp(policy, attempt, call, cause)
    if other and reply.code in policy.failover.codes:
        return _fail_over(attempt, other, "declined", cause)
    return _declined(attempt, reply, cause)


def _captured(attempt: Attempt, reply: Captured, cause: Cause) -> Decision:
    assert reply.amount == attempt.placed.gross, "an adapter lets no other amount pass"
    if attempt.state == "captured" and attempt.psp_reference == reply.psp_reference:
        return Decision()
    if attempt.state in ("captured", "declined"):
        raise Permanent(
            "contradiction", f"captured as {reply.psp_reference}, but was {attempt.state} before", ours=False
        )
    captured = attempt.evolve(
        cause.now,
        state="captured",
        scheme=reply.scheme,
        psp_reference=reply.psp_reference,
        outcome_event_id=cause.event_id,
    )
    said = PaymentCaptured(
        **attempt.placed.terms(),  # type: ignore[arg-type]
        psp=attempt.psp,
        call_id=attempt.call_id,
        psp_reference=reply.psp_reference,
        scheme=reply.scheme,
    )
    return Decision((captured,), (said,), (Ended(attempt.call_id, "captured"),), captured.revision)


def _declined(attempt: Attempt, reply: Declined, cause: Cause) -> Decision:
    if attempt.state == "declined":
        return Decision()
    if attempt.state == "captured":
        raise Permanent("contradiction", f"declined with {reply.code}, but was captured before", ours=False)
    return _decline(
        attempt,
        reply.code,
        cause,
        calls=(Ended(attempt.call_id, "declined"),),
        scheme=reply.scheme or attempt.scheme,
        psp_reference=reply.psp_reference,
    )


def _decline(attempt: Attempt, code: str, cause: Cause, calls: tuple[Ended, ...], **facts: str | None) -> Decision:
    declined = attempt.evolve(cause.now, state="declined", code=code, outcome_event_id=cause.event_id, **facts)
    said = PaymentDeclined(
        **attempt.placed.terms(),  # type: ignore[arg-type]
        psp=attempt.psp,
        call_id=attempt.call_id,
        code=code,
        scheme=declined.scheme,
    )
    return Decision((declined,), (said,), calls, declined.revision)


def _after_send(policy: Policy, attempt: Attempt, call: CallFacts, reply: Reply, cause: Cause) -> Decision:
    if isinstance(reply, NothingHappened):
        return _nothing_happened(policy, attempt, call, reply, cause)
    reason = reply.reason if isinstance(reply, Unknown) else "not_an_answer"
    return _unknown(policy, attempt, reason, cause)


def _nothing_happened(
    policy: Policy, attempt: Attempt, call: CallFacts, reply: NothingHappened, cause: Cause
) -> Decision:
    """The ladder never ends before the payment's deadline does, but the next PSP may have it before."""
    over = _past_sending(policy, attempt, call, cause.now)
    if over:
        return _expired(attempt, call, over, cause)
    other = _other_psp(policy, attempt, call, cause)
    if other and attempt.refusals + 1 >= policy.failover.after_refusals:
        return _fail_over(attempt, other, "nothing_happened", cause)
    return _send_again(policy, attempt, _not_before_s(reply), cause)


def _send_again(policy: Policy, attempt: Attempt, not_before_s: float, cause: Cause) -> Decision:
    """With the same key, and never later than the deadline, at which the caller sends nothing and it ends."""
    rung = policy.send_again_s[min(attempt.refusals, len(policy.send_again_s) - 1)]
    left_s = (attempt.placed.deadline - cause.now).total_seconds()
    again = attempt.evolve(cause.now, refusals=attempt.refusals + 1, asks=0)
    return _again(again, "send", min(max(rung, not_before_s), left_s))


def _other_psp(policy: Policy, attempt: Attempt, call: CallFacts, cause: Cause) -> str | None:
    """Who may have the order next: nobody where a send ended unknown, or where this PSP still has it."""
    if attempt.state != "calling" or call.ever_unknown or cause.now >= attempt.placed.deadline:
        return None
    untried = policy.routing.alternatives(attempt.placed)[attempt.attempt_no :]
    return next((psp for psp in untried if psp != attempt.psp), None)


def _fail_over(attempt: Attempt, psp: str, outcome: str, cause: Cause) -> Decision:
    """Another call with a key of its own. The last one has ended: from now on it can only repeat itself."""
    number = attempt.attempt_no + 1
    call_id = call_id_of(attempt.key, number)
    begun = attempt.evolve(cause.now, attempt_no=number, call_id=call_id, psp=psp, refusals=0, asks=0)
    return Decision((begun,), (), (Ended(attempt.call_id, outcome), _call(begun)), begun.revision)


def _past_sending(policy: Policy, attempt: Attempt, call: CallFacts, now: datetime) -> str | None:
    """Why nothing more may be sent, if so."""
    if now >= attempt.placed.deadline:
        return "deadline_passed"
    key_life_s = policy.psps[attempt.psp].key_life_s
    if call.ever_unknown and key_expired(call.first_sent_at, now, key_life_s, policy.key_margin_s):
        return "key_expired"
    return None


def _expired(attempt: Attempt, call: CallFacts, why: str, cause: Cause) -> Decision:
    """A clear no where every send surely did nothing; otherwise nobody can say."""
    if call.ever_unknown:
        return _unresolved(attempt, why, cause)
    return _decline(attempt, why, cause, calls=(Ended(attempt.call_id, "declined"),))


def _unknown(policy: Policy, attempt: Attempt, reason: str, cause: Cause) -> Decision:
    """Ask by our reference. Said once, however often it happens to this attempt."""
    unknown = attempt.evolve(cause.now, state="unknown", asks=0)
    asked = _again(unknown, "ask", policy.ask_again_s[0])
    if attempt.state == "unknown":
        return asked
    said = OutcomeUnknown(
        **attempt.placed.terms(),  # type: ignore[arg-type]
        psp=attempt.psp,
        call_id=attempt.call_id,
        reason=reason,
    )
    return Decision(asked.changes, (said,), asked.calls, unknown.revision)


def _pending(policy: Policy, attempt: Attempt, reply: Pending, cause: Cause) -> Decision:
    """The PSP has it: ask until it has decided, or is heard to have. Said once."""
    if attempt.state == "pending":
        return _ask_again(policy, attempt, "still_pending", 0.0, cause)
    pending = attempt.evolve(cause.now, state="pending", asks=0, psp_reference=reply.psp_reference)
    asked = _again(pending, "ask", policy.ask_again_s[0])
    said = PaymentPending(
        **attempt.placed.terms(),  # type: ignore[arg-type]
        psp=attempt.psp,
        call_id=attempt.call_id,
        psp_reference=reply.psp_reference,
        reason=reply.reason,
    )
    return Decision(asked.changes, (said,), asked.calls, pending.revision)


def _after_ask(policy: Policy, attempt: Attempt, call: CallFacts, reply: Reply, cause: Cause) -> Decision:
    if not isinstance(reply, NotThere):
        return _ask_again(policy, attempt, "no_answer", _not_before_s(reply), cause)
    settles_in_s = call.settles_in_s(policy.psps[attempt.psp].settling_s)
    if settles_in_s > 0:
        return _again(attempt.evolve(cause.now), "ask", settles_in_s)
    over = _past_sending(policy, attempt, call, cause.now)
    if over:
        return _expired(attempt, call, over, cause)
    return _send_again(policy, attempt, 0.0, cause)


def _ask_again(policy: Policy, attempt: Attempt, otherwise: str, not_before_s: float, cause: Cause) -> Decision:
    """A PSP that takes no questions just now has used one up all the same: the ladder must end."""
    asks = attempt.asks + 1
    if asks >= len(policy.ask_again_s):
        return _unresolved(attempt, otherwise, cause)
    return _again(attempt.evolve(cause.now, asks=asks), "ask", max(policy.ask_again_s[asks], not_before_s))


def _not_before_s(reply: Reply) -> float:
    """Retry-After, of a reply that has one."""
    return (reply.retry_after_s or 0.0) if isinstance(reply, NothingHappened | Unknown) else 0.0


def _unresolved(attempt: Attempt, reason: str, cause: Cause) -> Decision:
    """A person or a settlement line must say; a late answer of the PSP is still taken."""
    unresolved = attempt.evolve(cause.now, state="unresolved", code=reason, outcome_event_id=cause.event_id)
    said = OutcomeUnresolved(
        **attempt.placed.terms(),  # type: ignore[arg-type]
        psp=attempt.psp,
        call_id=attempt.call_id,
        reason=reason,
    )
    return Decision((unresolved,), (said,), (Ended(attempt.call_id, "unresolved"),), unresolved.revision)


def _again(attempt: Attempt, act: str, due_in_s: float) -> Decision:
    return Decision((attempt,), (), (Retry(attempt.call_id, act, due_in_s),), attempt.revision)

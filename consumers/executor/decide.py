"""(attempts and calls, order or reply) → the charge to make, what the PSP said, or what to do about not knowing.

The table of DESIGN.md section 5. Unknown is never failed, never sent to another PSP, never sent with another key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import orjson

from consumers.executor.attempt import NO_PSP, Attempt, CallFacts, call_key, key_expired
from consumers.executor.routing import Routing, scheme_of
from psp.port import Captured, Declined, NothingHappened, NotThere, Reply, Unknown, reply_from_json
from schemas.envelope import digest
from schemas.errors import Permanent
from schemas.events import (
    CallEnded,
    OrderPlaced,
    OutcomeUnknown,
    OutcomeUnresolved,
    PaymentCaptured,
    PaymentDeclined,
)
from topics.runtime.consumer import Call, Cause, Decision, Ended, Retry, State

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
    send_again_s: tuple[float, ...] = SEND_AGAIN_S
    ask_again_s: tuple[float, ...] = ASK_AGAIN_S
    key_margin_s: float = field(default=KEY_MARGIN_S)


def decide(policy: Policy, state: State, event: OrderPlaced | CallEnded, cause: Cause) -> Decision:
    """Errors: Permanent `order_changed`, `no_such_call`, `bad_reply`, `contradiction`."""
    if isinstance(event, OrderPlaced):
        return place(policy, state.get(event.payment_order_id), event, cause)
    attempt = state.get(event.payment_order_id)
    call = state.get(call_key(event.call_id))
    if attempt is None or call is None or attempt.call_id != event.call_id:
        raise Permanent("no_such_call", f"{event.call_id} is no call of this order")
    return hear(policy, attempt, call, event, cause)


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
    call = Call(begun.call_id, order.payment_order_id, psp, charge_json(order), order.deadline)
    return Decision(changes=(begun,), calls=(call,), revision=begun.revision)


def _begin(order: OrderPlaced, psp: str, cause: Cause) -> Attempt:
    call_id = call_id_of(order.payment_order_id, 1)
    scheme = scheme_of(order.token)
    return Attempt(order, 1, call_id, psp, "calling", cause.event_id, cause.now, cause.now, scheme=scheme)


def _declined_unsent(order: OrderPlaced, code: str, cause: Cause) -> Decision:
    return _decline(_begin(order, NO_PSP, cause), code, cause, calls=())


def charge_json(order: OrderPlaced) -> bytes:
    """What the caller needs to make the charge: see `caller.charge_of`."""
    return orjson.dumps({**order.gross.wire(), "token": order.token})


# ── a reply ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def hear(policy: Policy, attempt: Attempt, call: CallFacts, event: CallEnded, cause: Cause) -> Decision:
    """A yes or no counts whenever it comes; everything else only as the answer to the last act of an open call."""
    reply = _reply(event)
    match reply:
        case Captured():
            return _captured(attempt, reply, cause)
        case Declined():
            return _declined(attempt, reply, cause)
    if not attempt.open or event.act_no != call.act_no:
        return Decision()
    if event.act == "send":
        return _after_send(policy, attempt, call, reply, cause)
    return _after_ask(policy, attempt, call, reply, cause)


def _reply(event: CallEnded) -> Reply:
    try:
        return reply_from_json(event.reply)
    except ValueError as error:
        raise Permanent("bad_reply", str(error)) from error


def _captured(attempt: Attempt, reply: Captured, cause: Cause) -> Decision:
    assert reply.amount == attempt.placed.gross, "an adapter lets no other amount pass"
    if attempt.state == "captured" and attempt.psp_reference == reply.psp_reference:
        return Decision()
    if attempt.state in ("captured", "declined"):
        raise Permanent("contradiction", f"captured as {reply.psp_reference}, but was {attempt.state} before")
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
        raise Permanent("contradiction", f"declined with {reply.code}, but was captured before")
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
    """The ladder never ends before the payment's deadline does."""
    over = _past_sending(policy, attempt, call, cause.now)
    if over:
        return _expired(attempt, call, over, cause)
    return _send_again(policy, attempt, reply.retry_after_s or 0.0, cause)


def _send_again(policy: Policy, attempt: Attempt, not_before_s: float, cause: Cause) -> Decision:
    """With the same key, and never later than the deadline, at which the caller sends nothing and it ends."""
    rung = policy.send_again_s[min(attempt.refusals, len(policy.send_again_s) - 1)]
    left_s = (attempt.placed.deadline - cause.now).total_seconds()
    again = attempt.evolve(cause.now, refusals=attempt.refusals + 1, asks=0)
    return _again(again, "send", min(max(rung, not_before_s), left_s))


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


def _after_ask(policy: Policy, attempt: Attempt, call: CallFacts, reply: Reply, cause: Cause) -> Decision:
    if not isinstance(reply, NotThere):
        return _ask_again(policy, attempt, cause)
    settles_in_s = call.settles_in_s(policy.psps[attempt.psp].settling_s)
    if settles_in_s > 0:
        return _again(attempt.evolve(cause.now), "ask", settles_in_s)
    over = _past_sending(policy, attempt, call, cause.now)
    if over:
        return _expired(attempt, call, over, cause)
    return _send_again(policy, attempt, 0.0, cause)


def _ask_again(policy: Policy, attempt: Attempt, cause: Cause) -> Decision:
    asks = attempt.asks + 1
    if asks >= len(policy.ask_again_s):
        return _unresolved(attempt, "no_answer", cause)
    return _again(attempt.evolve(cause.now, asks=asks), "ask", policy.ask_again_s[asks])


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

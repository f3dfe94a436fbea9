"""(attempts and calls, an order or a reply) → the charge to make, what the PSP said, or what to do about not knowing. Pure.

What a reply means is `ladder`'s; here is what becomes of the order. Whoever says yes or no first, reply, question or
notification, decides; whoever says the same later changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, assert_never

import orjson

from consumers.executor.attempt import NO_PSP, Attempt, CallFacts
from consumers.executor.early import Early, told
from consumers.executor.ladder import (
    Ask,
    Decided,
    Ladder,
    Ladders,
    NeverSent,
    Send,
    Standing,
    Unresolved,
    Verdict,
)
from consumers.executor.routing import Routing, scheme_of
from consumers.executor.settings import Failover
from psp.port import Captured, Declared, Declined, Kind, Pending, Reply, Unknown, reply_from_json
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
    Terms,
)
from topics.runtime.shape.consumer import Act, Call, Cause, Decision, Ended, Retry

Said = TypeVar("Said", bound=Terms)


@dataclass(slots=True)
class Attempts:
    """A batch's attempts by payment order, and the facts of the calls that came back, or are spoken of, by call."""

    attempts: dict[str, Attempt] = field(default_factory=dict)
    calls: dict[str, CallFacts] = field(default_factory=dict)

    def fold(self, change: Attempt | Early) -> None:
        if isinstance(change, Attempt):
            self.attempts[change.key] = change


@dataclass(frozen=True, slots=True)
class Policy:
    """All that decides besides state and event."""

    routing: Routing
    psps: Mapping[str, Mapping[Kind, Declared]]
    failover: Failover = field(default_factory=Failover)
    ladders: Ladders = field(default_factory=Ladders)


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
    return Call(attempt.call_id, attempt.key, "charge", attempt.psp, charge_json(order), order.deadline)


def _declined_unsent(order: OrderPlaced, code: str, cause: Cause) -> Decision:
    return _decline(_begin(order, NO_PSP, cause), code, cause, calls=())


def charge_json(order: OrderPlaced) -> bytes:
    """What the caller needs to make the charge: see `sending.operation_of`."""
    return orjson.dumps({**order.gross.wire(), "token": order.token})


# ── a reply ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def hear(policy: Policy, state: Attempts, event: CallEnded, cause: Cause) -> Decision:
    """A yes or no counts whenever it comes; everything else only as the answer to the last act of an open call."""
    attempt, call = state.attempts.get(event.payment_order_id), state.calls.get(event.call_id)
    if attempt is None or call is None or call.subject != event.payment_order_id:
        raise Permanent("no_such_call", f"{event.call_id} is no call of this order")
    reply = _reply(event)
    if attempt.call_id != event.call_id:
        return _of_an_earlier_call(event.call_id, reply)
    if isinstance(reply, Captured | Declined):
        return _decided(policy, attempt, call, reply, cause)
    if not attempt.open or event.act_no != call.act_no:
        return Decision()
    verdict = _ladder(policy, attempt, call, cause).judge(event.act, reply)
    return _follow(policy, attempt, call, reply, verdict, cause)


def _ladder(policy: Policy, attempt: Attempt, call: CallFacts, cause: Cause) -> Ladder:
    assert attempt.state in ("calling", "unknown", "pending"), "an open attempt"
    standing = Standing(attempt.state, attempt.refusals, attempt.asks)
    return Ladder(
        call, standing, policy.psps[attempt.psp]["charge"], policy.ladders, attempt.placed.deadline, cause.now
    )


def _follow(
    policy: Policy, attempt: Attempt, call: CallFacts, reply: Reply, verdict: Verdict, cause: Cause
) -> Decision:
    match verdict:
        case Decided():
            return _decided(policy, attempt, call, verdict.reply, cause)
        case Send():
            other = _other_psp(policy, attempt, call, cause) if verdict.refused else None
            if other and verdict.refusals >= policy.failover.after_refusals:
                return _fail_over(attempt, other, "nothing_happened", cause)
            again = attempt.evolve(cause.now, refusals=verdict.refusals, asks=0)
            return _again(again, "send", verdict.due_in_s)
        case Ask():
            return _ask(attempt, reply, verdict, cause)
        case NeverSent():
            return _decline(attempt, verdict.why, cause, calls=(Ended(attempt.call_id, "declined"),))
        case Unresolved():
            return _unresolved(attempt, verdict.why, cause)
        case _:
            assert_never(verdict)


def be_told(policy: Policy, state: Attempts, event: NotificationReceived, cause: Cause) -> Decision:
    """What a PSP says unasked is worth what it answers, and is kept where its call is not there yet."""
    call = state.calls.get(event.reference)
    if call is None or call.psp != event.psp:
        return Decision((Early(event, cause.event_id, cause.now),))
    attempt = state.attempts[call.subject]
    reply = told(event, attempt.placed.gross)
    if attempt.call_id != event.reference:
        return _of_an_earlier_call(event.reference, reply)
    if isinstance(reply, Captured | Declined):
        return _decided(policy, attempt, call, reply, cause)
    if not attempt.open or attempt.state == "pending":
        return Decision()
    asked = Ask(policy.ladders.ask_again_s[0], 0, "pending")
    return _ask(attempt, reply, asked, cause)


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
    said = _said(PaymentCaptured, attempt, psp_reference=reply.psp_reference, scheme=reply.scheme)
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
    said = _said(PaymentDeclined, attempt, code=code, scheme=declined.scheme)
    return Decision((declined,), (said,), calls, declined.revision)


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


def _ask(attempt: Attempt, reply: Reply, ask: Ask, cause: Cause) -> Decision:
    """Ask until the PSP says. That it is unknown, or pending, is said once."""
    facts = {"psp_reference": reply.psp_reference} if isinstance(reply, Pending) and attempt.state != "pending" else {}
    asked = attempt.evolve(cause.now, state=ask.state, asks=ask.asks, **facts)
    decision = _again(asked, "ask", ask.due_in_s)
    if attempt.state == ask.state:
        return decision
    if isinstance(reply, Pending):
        said = _said(PaymentPending, attempt, psp_reference=reply.psp_reference, reason=reply.reason)
        return decision._replace(events=(said,))
    reason = reply.reason if isinstance(reply, Unknown) else "not_an_answer"
    return decision._replace(events=(_said(OutcomeUnknown, attempt, reason=reason),))


def _unresolved(attempt: Attempt, reason: str, cause: Cause) -> Decision:
    """A person or a settlement line must say; a late answer of the PSP is still taken."""
    unresolved = attempt.evolve(cause.now, state="unresolved", code=reason, outcome_event_id=cause.event_id)
    said = _said(OutcomeUnresolved, attempt, reason=reason)
    return Decision((unresolved,), (said,), (Ended(attempt.call_id, "unresolved"),), unresolved.revision)


def _said(kind: type[Said], attempt: Attempt, **facts: Any) -> Said:
    """An event about the attempt, with the order's terms."""
    terms: dict[str, Any] = attempt.placed.terms()
    return kind(**terms, psp=attempt.psp, call_id=attempt.call_id, **facts)


def _again(attempt: Attempt, act: Act, due_in_s: float) -> Decision:
    return Decision((attempt,), (), (Retry(attempt.call_id, act, due_in_s),), attempt.revision)

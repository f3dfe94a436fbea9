"""(attempts and calls, an order or a reply) → a charge, its outcome, or the next step while the outcome is unknown. Pure.

`ladder` says what a reply means, this module what follows for the order. The first yes or no decides, be it the reply to a
send, the answer to a question or a notification; the same yes or no again changes nothing.
"""

from __future__ import annotations

from typing import Any, TypeVar, assert_never

import orjson

from consumers.executor.attempt import NO_PSP, Attempt, CallFacts
from consumers.executor.availability import held_back
from consumers.executor.ladder import (
    Ask,
    Clear,
    Decided,
    Ladder,
    NeverSent,
    Send,
    Standing,
    Unresolved,
    Verdict,
)
from consumers.executor.operation import DECLARED
from consumers.executor.routing import scheme_of
from consumers.executor.state import Policy
from psp.port import Authorised, Captured, Declined, Pending, Reply, Reversed, Unknown
from schemas.envelope import charge_call_id
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
from schemas.money_back import PaymentAuthorised
from topics.runtime.shape.consumer import Act, Call, Cause, Decision, Ended, Retry, Timer

AUTHORISATION = "authorisation"  # the timer that fires when an authorisation expires
UNSAID = "unspecified"

Said = TypeVar("Said", bound=Terms)


# ── an order ─────────────────────────────────────────────────────────────────────────────────────────────────────────


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
    call_id = charge_call_id(order.payment_order_id, 1)
    scheme = scheme_of(order.token)
    return Attempt(order, 1, call_id, psp, "calling", cause.event_id, cause.now, cause.now, scheme=scheme)


def _call(attempt: Attempt) -> Call:
    order = attempt.placed
    return Call(attempt.call_id, attempt.key, "charge", attempt.psp, charge_json(order), order.deadline)


def _declined_unsent(order: OrderPlaced, code: str, cause: Cause) -> Decision:
    return _decline(_begin(order, NO_PSP, cause), code, cause, calls=())


def charge_json(order: OrderPlaced) -> bytes:
    """The charge as it is stored with the call; `counterparty.operation_of` reads it."""
    later = {"capture": False} if order.capture == "manual" else {}
    paid_by = {"token": order.token} if order.return_url is None else {"return_url": order.return_url}
    return orjson.dumps({**order.gross.wire(), **paid_by, **later})


# ── a reply ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def apply_reply(
    policy: Policy, attempt: Attempt, call: CallFacts, event: CallEnded, reply: Reply, cause: Cause
) -> Decision:
    """Apply a reply. A yes or no counts at any time; any other reply only as the answer to the last act of an open call."""
    clear = _clear(attempt, reply)
    if clear is not None:
        return _decided(policy, attempt, call, clear, cause)
    if not attempt.open or event.act_no != call.act_no:
        return Decision()
    verdict = _ladder(policy, attempt, call, cause).judge(event.act, _unclear(reply))
    return _follow(policy, attempt, call, reply, verdict, cause)


def contradicts(attempt: Attempt, reply: Reply) -> bool:
    """Whether the reply contradicts a settled charge. A captured charge with a row in `operations` may have been reversed
    since; that row decides then.
    """
    match attempt.state:
        case "captured" if attempt.code == DECLARED and isinstance(reply, Declined):
            return False  # two persons know that it says so
        case "captured" if not attempt.manual:
            return isinstance(reply, Declined | Reversed) or (attempt.operations > 0 and isinstance(reply, Captured))
        case "authorised" | "captured":
            return isinstance(reply, Declined | Reversed)
        case "declined":
            return isinstance(reply, Captured | Authorised)
        case "voided" | "expired":
            return isinstance(reply, Captured)
    return False


def _clear(attempt: Attempt, reply: Reply) -> Captured | Authorised | Declined | None:
    """The yes or no to what was asked. A charge that is reversed by now was captured before."""
    if isinstance(reply, Declined | Authorised if attempt.manual else Declined | Captured):
        return reply
    if isinstance(reply, Reversed) and attempt.undecided and not attempt.manual:
        return Captured(reply.psp_reference, attempt.scheme or "other", reply.amount)
    return None


def settles(attempt: Attempt, reply: Reply) -> bool:
    """Whether the answer to a check is a yes or no to this charge. A check names a reference alone: amounts are compared here."""
    clear = _clear(attempt, reply)
    return clear is not None and (isinstance(clear, Declined) or clear.amount == attempt.placed.gross)


def _unclear(reply: Reply) -> Reply:
    """A reply that answers something else than the charge counts as Unknown."""
    return Unknown("not_an_answer") if isinstance(reply, Clear) else reply


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
            raise AssertionError("what is clear was decided")
        case Send():
            other = _other_psp(policy, attempt, call, cause) if verdict.refused else None
            if other and verdict.refusals >= policy.failover.after_refusals:
                return _fail_over(attempt, other, "nothing_happened", cause)
            again = attempt.evolve(cause.now, refusals=verdict.refusals, asks=0)
            return _again(again, "send", verdict.due_in_s)
        case Ask():
            return _ask(policy, attempt, reply, verdict, cause)
        case NeverSent():
            return _decline(attempt, verdict.why, cause, calls=(Ended(attempt.call_id, "declined"),))
        case Unresolved():
            return _unresolved(attempt, verdict.why, cause)
        case _:
            assert_never(verdict)


def apply_notification(policy: Policy, attempt: Attempt, call: CallFacts, reply: Reply, cause: Cause) -> Decision:
    """Apply a PSP's notification, which `reply_of` has turned into a reply."""
    clear = _clear(attempt, reply)
    if clear is not None:
        return _decided(policy, attempt, call, clear, cause)
    if not attempt.open or attempt.state == "pending" or (attempt.hosted and isinstance(reply, Pending)):
        return Decision()  # the URL of a page is in the reply to the call alone
    asked = Ask(policy.ladders.ask_again_s[0], 0, "pending" if isinstance(reply, Pending) else "unknown")
    return _ask(policy, attempt, reply, asked, cause)


def reply_of(attempt: Attempt, event: NotificationReceived) -> Captured | Authorised | Declined | Pending | Reversed:
    """A notification about the charge → the reply that says the same. Errors: Permanent `notification_mismatch`."""
    gross = attempt.placed.gross
    if event.amount != gross:
        why = f"it speaks of {event.amount}, and {gross} was asked for"
        raise Permanent("notification_mismatch", why, ours=False)
    match event.status:
        case "succeeded":
            return Captured(event.psp_reference, event.scheme or "other", event.amount)
        case "declined":
            return Declined(event.code or UNSAID, event.psp_reference, event.scheme)
        case "pending":
            return Pending(event.psp_reference, event.code or UNSAID)
        case "authorised" if attempt.manual and event.expires_at is not None:
            return Authorised(event.psp_reference, event.scheme or "other", event.amount, event.expires_at)
        case "reversed" if not attempt.manual:
            return Reversed(event.psp_reference, event.amount)
        case "authorised" | "reversed":
            asked = "is captured later" if attempt.manual else "takes the money"
            raise Permanent("notification_mismatch", f"{event.status} of a charge that {asked}", ours=False)


def declare_captured(attempt: Attempt, said: Captured, cause: Cause) -> Decision:
    """A declined charge that two persons know to have been captured. Nothing of a PSP does this."""
    facts: dict[str, Any] = {"psp_reference": said.psp_reference, "scheme": attempt.scheme or said.scheme}
    captured = attempt.evolve(
        cause.now, state="captured", code=DECLARED, outcome_event_id=cause.event_id, expires_at=None, **facts
    )
    held = held_back(attempt.placed, attempt.placed.net, cause.now)
    event = _said(PaymentCaptured, attempt, instead_of="declined", **facts, **held)
    return Decision((captured,), (event,), (), captured.revision)


def of_an_earlier_call(call_id: str, reply: Reply) -> Decision:
    """A reply of a PSP before a failover. That PSP did nothing, or declined, so it cannot have charged the order."""
    if isinstance(reply, Captured | Authorised):
        raise Permanent(
            "contradiction", f"captured as {reply.psp_reference} by {call_id}, which had ended without a charge"
        )
    return Decision()


def _decided(
    policy: Policy, attempt: Attempt, call: CallFacts, reply: Captured | Authorised | Declined, cause: Cause
) -> Decision:
    if not isinstance(reply, Declined):
        assert reply.amount == attempt.placed.gross, "adapters refuse replies with another amount"
        return _captured(attempt, reply, cause) if isinstance(reply, Captured) else _authorised(attempt, reply, cause)
    other = _other_psp(policy, attempt, call, cause)
    if other and reply.code in policy.failover.codes:
        return _fail_over(attempt, other, "declined", cause)
    return _declined(attempt, reply, cause)


def _captured(attempt: Attempt, reply: Captured, cause: Cause) -> Decision:
    if not attempt.undecided:
        return _same_again(attempt, reply)
    captured = attempt.evolve(
        cause.now,
        state="captured",
        scheme=reply.scheme,
        psp_reference=reply.psp_reference,
        outcome_event_id=cause.event_id,
        expires_at=None,
    )
    held = held_back(attempt.placed, attempt.placed.net, cause.now)
    said = _said(PaymentCaptured, attempt, psp_reference=reply.psp_reference, scheme=reply.scheme, **held)
    return Decision((captured,), (said,), (Ended(attempt.call_id, "captured"),), captured.revision)


def _authorised(attempt: Attempt, reply: Authorised, cause: Cause) -> Decision:
    if not attempt.undecided:
        return _same_again(attempt, reply)
    facts: dict[str, Any] = {
        "psp_reference": reply.psp_reference,
        "scheme": reply.scheme,
        "expires_at": reply.expires_at,
    }
    authorised = attempt.evolve(cause.now, state="authorised", outcome_event_id=cause.event_id, code=None, **facts)
    said = _said(PaymentAuthorised, attempt, **facts)
    ends = Timer(AUTHORISATION, attempt.key, reply.expires_at)
    ended = Ended(attempt.call_id, "authorised")
    return Decision((authorised,), (said,), (ended,), authorised.revision, (ends,))


def _same_again(attempt: Attempt, reply: Captured | Authorised) -> Decision:
    """Check that the reply names the charge that is stored: another reference means a second charge."""
    if attempt.psp_reference == reply.psp_reference:
        return Decision()
    raise Permanent("contradiction", f"a charge as {reply.psp_reference}, but was {attempt.psp_reference}", ours=False)


def _declined(attempt: Attempt, reply: Declined, cause: Cause) -> Decision:
    if not attempt.undecided:
        return Decision()
    return _decline(
        attempt,
        reply.code,
        cause,
        calls=(Ended(attempt.call_id, "declined"),),
        scheme=reply.scheme or attempt.scheme,
        psp_reference=reply.psp_reference,
    )


def _decline(attempt: Attempt, code: str, cause: Cause, calls: tuple[Ended, ...], **facts: str | None) -> Decision:
    ended: dict[str, Any] = {"state": "declined", "code": code, "outcome_event_id": cause.event_id, "expires_at": None}
    declined = attempt.evolve(cause.now, **ended, **facts)
    said = _said(PaymentDeclined, attempt, code=code, scheme=declined.scheme)
    return Decision((declined,), (said,), calls, declined.revision)


def _other_psp(policy: Policy, attempt: Attempt, call: CallFacts, cause: Cause) -> str | None:
    """The PSP to try next; None if a send ended unknown, or if this PSP still works on the charge."""
    if attempt.state != "calling" or call.ever_unknown or cause.now >= attempt.placed.deadline:
        return None
    untried = policy.routing.alternatives(attempt.placed)[attempt.attempt_no :]
    return next((psp for psp in untried if psp != attempt.psp), None)


def _fail_over(attempt: Attempt, psp: str, outcome: str, cause: Cause) -> Decision:
    """Begin another call, with a key of its own. The last call has ended: later replies to it can only repeat its end."""
    number = attempt.attempt_no + 1
    call_id = charge_call_id(attempt.key, number)
    begun = attempt.evolve(cause.now, attempt_no=number, call_id=call_id, psp=psp, refusals=0, asks=0)
    return Decision((begun,), (), (Ended(attempt.call_id, outcome), _call(begun)), begun.revision)


def _ask(policy: Policy, attempt: Attempt, reply: Reply, ask: Ask, cause: Cause) -> Decision:
    """Ask until the PSP says yes or no. OutcomeUnknown and PaymentPending are published once each; the latter again where a
    page comes only later.
    """
    facts: dict[str, Any] = {}
    is_new_page = False
    if isinstance(reply, Pending):
        is_new_page = reply.expires_at is not None and attempt.expires_at is None
        facts = {"psp_reference": attempt.psp_reference or reply.psp_reference}
        facts["expires_at"] = attempt.expires_at or reply.expires_at
    asked = attempt.evolve(cause.now, state=ask.state, asks=ask.asks, **facts)
    decision = _again(asked, "ask", _due_in_s(policy, asked, ask.due_in_s, cause))
    if attempt.state == ask.state and not is_new_page:
        return decision
    if isinstance(reply, Pending):
        page = {"redirect_url": reply.redirect_url, "expires_at": reply.expires_at}
        said = _said(PaymentPending, attempt, psp_reference=reply.psp_reference, reason=reply.reason, **page)
        return decision._replace(events=(said,))
    reason = reply.reason if isinstance(reply, Unknown) else "not_an_answer"
    return decision._replace(events=(_said(OutcomeUnknown, attempt, reason=reason),))


def _due_in_s(policy: Policy, attempt: Attempt, rung_s: float, cause: Cause) -> float:
    """Seconds until the next question: a page that has expired is asked about as soon as the PSP must know."""
    if attempt.expires_at is None:
        return rung_s
    settling_s = policy.psps[attempt.psp]["charge"].settling_s
    settled_in_s = (attempt.expires_at - cause.now).total_seconds() + settling_s
    return min(rung_s, settled_in_s) if settled_in_s > 0 else rung_s


def _unresolved(attempt: Attempt, reason: str, cause: Cause) -> Decision:
    """Stop asking. Only a late yes or no of the PSP can end the attempt."""
    ended: dict[str, Any] = {
        "state": "unresolved",
        "code": reason,
        "outcome_event_id": cause.event_id,
        "expires_at": None,
    }
    unresolved = attempt.evolve(cause.now, **ended)
    said = _said(OutcomeUnresolved, attempt, reason=reason)
    return Decision((unresolved,), (said,), (Ended(attempt.call_id, "unresolved"),), unresolved.revision)


def _said(kind: type[Said], attempt: Attempt, **facts: Any) -> Said:
    """An event about the attempt, with the order's terms."""
    terms: dict[str, Any] = attempt.placed.terms()
    return kind(**{**terms, "psp": attempt.psp, "call_id": attempt.call_id, **facts})


def _again(attempt: Attempt, act: Act, due_in_s: float) -> Decision:
    return Decision((attempt,), (), (Retry(attempt.call_id, act, due_in_s),), attempt.revision)

"""(an order, a capture, void or refund, or a PSP's reply to one) → refused, queued, called, done, reversed. Pure.

Each order has one queue, and one call at a time at its PSP. The first yes or no decides; a later contradiction is asked
about (`checking`), and only that answer counts.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import assert_never

from consumers.executor import checking, ladder
from consumers.executor.attempt import CallFacts
from consumers.executor.availability import held_back
from consumers.executor.charging import AUTHORISATION
from consumers.executor.draft import Draft
from consumers.executor.ladder import Ask, Decided, Ladder, NeverSent, Send, Standing, Unresolved, Verdict
from consumers.executor.operation import DECLARED, AnyKind, Operation, call_id_of
from psp.port import (
    Captured,
    Declined,
    Pending,
    Refunded,
    Reply,
    Reversed,
    Unknown,
    Voided,
)
from schemas.errors import Permanent
from schemas.events import (
    NotificationReceived,
    OutcomeUnknown,
    OutcomeUnresolved,
    PaymentCaptured,
    PaymentPending,
    Terms,
)
from schemas.money import Money
from schemas.money_back import (
    AuthorisationExpired,
    CaptureFailed,
    CapturePlaced,
    CaptureReversed,
    PaymentRefunded,
    PaymentVoided,
    RefundFailed,
    RefundPlaced,
    RefundReversed,
    VoidFailed,
    VoidPlaced,
)
from topics.runtime.shape.consumer import Act, Retry, Timer

EXPIRES_AGAIN = timedelta(hours=1)
REFUND_LIFE = timedelta(days=7)  # from its placement: a refund may be sent for so long

Placed = CapturePlaced | VoidPlaced | RefundPlaced
Clear = Captured | Voided | Refunded | Reversed | Declined
_FAILED: dict[str, type[Terms]] = {"capture": CaptureFailed, "void": VoidFailed, "refund": RefundFailed}
_ID = {"capture": "capture_id", "void": "void_id", "refund": "refund_id"}


# ── placed ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def place(draft: Draft, event: Placed) -> None:
    """Put a capture, void or refund into the queue, or refuse it. Errors: Permanent `operation_changed`, `bad_amount`."""
    asked = _asked(draft, event)
    known = draft.operations.get(asked.key)
    if known is not None:
        if (_asked_amount(known), known.final) != (asked.amount_minor, asked.final):
            raise Permanent("operation_changed", f"{asked.kind} {asked.operation_id} was placed with other contents")
        return
    why = _refusal(draft, asked)
    draft.put(asked)
    if why:
        _fail(draft, asked, why)


def _asked(draft: Draft, event: Placed) -> Operation:
    match event:
        case CapturePlaced():
            return _waiting(draft, "capture", event.capture_id, _minor(draft, event.amount), bool(event.final))
        case VoidPlaced():
            return _waiting(draft, "void", event.void_id, 0, final=True)
        case RefundPlaced():
            return _waiting(draft, "refund", event.refund_id, _minor(draft, event.amount), final=False)
        case _:
            assert_never(event)


def _waiting(draft: Draft, kind: AnyKind, operation_id: str, minor: int, final: bool) -> Operation:
    order, cause = draft.attempt.key, draft.cause
    seq = 1 + max((each.seq for each in draft.operations.values()), default=0)
    call_id = call_id_of(kind, order, operation_id)
    return Operation(
        kind,
        operation_id,
        order,
        seq,
        minor,
        final,
        "waiting",
        call_id,
        draft.attempt.psp,
        cause_event_id=cause.event_id,
        placed_at=cause.now,
        changed_at=cause.now,
    )


def _minor(draft: Draft, amount: Money) -> int:
    if amount.currency != draft.attempt.placed.gross.currency or amount.minor <= 0:
        raise Permanent("bad_amount", f"{amount} of an order of {draft.attempt.placed.gross}")
    return amount.minor


def _asked_amount(known: Operation) -> int:
    return (
        0 if known.kind == "void" else known.amount_minor
    )  # the amount of a void is what it released: no amount was asked for


def _refusal(draft: Draft, asked: Operation) -> str | None:
    many = draft.attempt.undecided or not draft.attempt.manual or draft.declared("capture").many
    return draft.refusal(asked, many, draft.cause.now)


# ── the queue ────────────────────────────────────────────────────────────────────────────────────────────────────────


def begin_queue(draft: Draft) -> None:
    """Fail queued operations that are refused by now, and call the first that fits, unless another call is open."""
    while not any(_at_the_psp(each) for each in draft.operations.values()):
        for asked in [each for each in draft.operations.values() if each.state == "waiting"]:
            if why := _refusal(draft, asked):
                _fail(draft, asked, why)
                break
            if draft.fits(asked):
                _begin(draft, asked)
                break
        else:
            return


def _at_the_psp(each: Operation) -> bool:
    """Whether the operation keeps the queue waiting. A pending refund does not: its amount is reserved. An unresolved
    operation does not: it may never end.
    """
    return each.state in ("calling", "unknown") or (each.state == "pending" and each.kind != "refund")


def _begin(draft: Draft, asked: Operation) -> None:
    begun = asked.evolve(draft.cause.now, state="calling", psp=draft.attempt.psp)
    draft.put(begun)
    request: dict[str, object] = {"psp_reference": draft.attempt.psp_reference}
    if begun.kind != "void":
        request |= draft.money(begun.amount_minor).wire()
    if begun.kind == "capture":
        request["final"] = begun.final
    draft.call(begun.call_id, begun.kind, request, deadline=_deadline(draft, begun))


def _deadline(draft: Draft, asked: Operation) -> datetime:
    if asked.kind == "refund":
        return asked.placed_at + REFUND_LIFE
    assert draft.attempt.expires_at is not None, "an authorised charge"
    return draft.attempt.expires_at


def _fail(draft: Draft, asked: Operation, code: str) -> None:
    facts: dict[str, object] = {_ID[asked.kind]: asked.operation_id, "code": code}
    if asked.kind != "void":
        facts |= {"amount": draft.money(asked.amount_minor), "psp": asked.psp, "call_id": asked.call_id}
    place = draft.publish(_FAILED[asked.kind], **facts)
    _put_outcome(draft, asked, place, state="failed", code=code)


def expire(draft: Draft) -> None:
    """Expire the authorisation; later, if a capture or void is open or unresolved."""
    attempt, now = draft.attempt, draft.cause.now
    if attempt.state != "authorised" or attempt.expires_at is None or now < attempt.expires_at:
        return
    behind = [each for each in draft.operations.values() if each.kind in ("capture", "void")]
    for asked in behind:
        if asked.state == "waiting":
            _fail(draft, asked, "authorisation_expired")
    if any(each.open for each in behind):
        draft.set_timer(Timer(AUTHORISATION, attempt.key, now + EXPIRES_AGAIN))
        return
    released = draft.money(draft.released)
    draft.publish(AuthorisationExpired, released=released, psp=attempt.psp, call_id=attempt.call_id)
    draft.move("captured" if draft.ever_captured else "expired")


def _put_outcome(draft: Draft, operation: Operation, place: int, **changes: object) -> Operation:
    outcome = {"outcome_event_id": draft.cause.event_id, "outcome_place": place}
    changed = operation.evolve(draft.cause.now, **outcome, **changes)
    draft.put(changed)
    return changed


# ── a reply, a notification ──────────────────────────────────────────────────────────────────────────────────────────


def apply_reply(draft: Draft, operation: Operation, call: CallFacts, act: Act, act_no: int, reply: Reply) -> None:
    """Apply a reply. A yes or no counts at any time; any other reply only as the answer to the last act of an open call."""
    said = clear(draft, operation, reply)
    if said is not None:
        settle(draft, operation, said)
        return
    if operation.state not in ("calling", "unknown", "pending") or act_no != call.act_no:
        return
    unclear = Unknown("not_an_answer") if isinstance(reply, ladder.Clear) else reply
    standing = Standing(operation.state, operation.refusals, operation.asks)
    rungs = Ladder(
        call,
        standing,
        draft.declared(operation.kind),
        draft.policy.ladders,
        _deadline(draft, operation),
        draft.cause.now,
    )
    _follow(draft, operation, unclear, rungs.judge(act, unclear))


def apply_notification(draft: Draft, operation: Operation, event: NotificationReceived) -> None:
    """Apply a PSP's notification, or what two persons say in its place. Errors: Permanent `notification_mismatch`."""
    reply = _told(draft, operation, event)
    if event.source == "operator":
        _resolve(draft, operation, reply)
    elif not isinstance(reply, Pending):
        settle(draft, operation, reply)
    elif operation.state in ("calling", "unknown"):
        _follow(draft, operation, reply, Ask(draft.policy.ladders.ask_again_s[0], 0, "pending"))


def _resolve(draft: Draft, operation: Operation, word: Clear | Pending) -> None:
    """Apply what two persons say. They may have looked before the PSP spoke, so their word changes nothing that the PSP has
    said; and before "failed" is believed the PSP is asked, who may have done it.
    """
    if isinstance(word, Pending) or operation.state == "waiting":
        return
    if not operation.open:
        if _contradicts(operation, word):
            checking.begin(draft, operation)
    elif not isinstance(word, Declined):
        settle(draft, operation, word)
        draft.put(draft.operations[operation.key].evolve(draft.cause.now, named_by_persons=True))
    elif operation.state == "unresolved":
        checking.begin(draft, operation)


def _told(draft: Draft, operation: Operation, event: NotificationReceived) -> Clear | Pending:
    asked = draft.money(operation.amount_minor)
    if operation.kind != "void" and event.amount != asked:
        why = f"it speaks of {event.amount}, and {asked} was asked for"
        raise Permanent("notification_mismatch", why, ours=False)
    match event.status:
        case "succeeded":
            return _yes(operation, event)
        case "declined":
            return Declined(event.code or "unspecified", event.psp_reference, event.scheme)
        case "pending":
            return Pending(event.psp_reference, event.code or "unspecified")
        case "reversed" if operation.kind != "void":
            return Reversed(event.psp_reference, event.amount)
        case "authorised" | "reversed":
            raise Permanent("notification_mismatch", f"{event.status} of a {operation.kind}", ours=False)
        case _:
            assert_never(event.status)


def _yes(operation: Operation, event: NotificationReceived) -> Captured | Voided | Refunded:
    match operation.kind:
        case "capture" | "charge":
            return Captured(event.psp_reference, event.scheme or "other", event.amount)
        case "void":
            return Voided(event.psp_reference, event.amount)
        case "refund":
            return Refunded(event.psp_reference, event.amount)
        case _:
            assert_never(operation.kind)


def clear(draft: Draft, operation: Operation, reply: Reply) -> Clear | None:
    """The reply if it is a yes or no about this operation and its amount, else None."""
    match reply:
        case Declined():
            return reply
        case Voided() if operation.kind == "void":
            return reply
        case Captured() if operation.kind == "capture":
            return _of_amount(draft, operation, reply)
        case Refunded() if operation.kind == "refund":
            return _of_amount(draft, operation, reply)
        case Reversed() if operation.kind in ("capture", "refund"):
            return _of_amount(draft, operation, reply)
    return None


def _of_amount(
    draft: Draft, operation: Operation, reply: Captured | Refunded | Reversed
) -> Captured | Refunded | Reversed | None:
    """Unknown in place of a reply about another amount. A question names a reference alone, so its answer is compared here."""
    return reply if reply.amount == draft.money(operation.amount_minor) else None


def _follow(draft: Draft, operation: Operation, reply: Reply, verdict: Verdict) -> None:
    now = draft.cause.now
    match verdict:
        case Send():
            draft.put(operation.evolve(now, refusals=verdict.refusals, asks=0))
            draft.retry(Retry(operation.call_id, "send", verdict.due_in_s))
        case Ask():
            _ask(draft, operation, reply, verdict)
        case NeverSent():
            draft.end(operation.call_id, "failed")
            _fail(draft, operation, verdict.why)
        case Unresolved():
            draft.end(operation.call_id, "unresolved")
            place = draft.publish(OutcomeUnresolved, reason=verdict.why, **_about(operation))
            _put_outcome(draft, operation, place, state="unresolved", code=verdict.why)
        case Decided():
            raise AssertionError("what is clear was settled")
        case _:
            assert_never(verdict)


def _ask(draft: Draft, operation: Operation, reply: Reply, ask: Ask) -> None:
    draft.retry(Retry(operation.call_id, "ask", ask.due_in_s))
    draft.put(operation.evolve(draft.cause.now, state=ask.state, asks=ask.asks))
    if operation.state == ask.state:
        return
    about = _about(operation)
    if isinstance(reply, Pending):
        draft.publish(PaymentPending, psp_reference=reply.psp_reference, reason=reply.reason, **about)
    else:
        draft.publish(OutcomeUnknown, reason=reply.reason if isinstance(reply, Unknown) else "not_an_answer", **about)


def _about(operation: Operation) -> dict[str, object]:
    return {
        "psp": operation.psp,
        "call_id": operation.call_id,
        "operation": operation.kind,
        "operation_id": operation.operation_id,
    }


# ── what becomes of it ───────────────────────────────────────────────────────────────────────────────────────────────


def settle(draft: Draft, operation: Operation, said: Clear, *, asked: bool = False) -> None:
    """Apply a yes or no. `asked`: it answers a check, and may change a settled outcome; nothing else may. Any other word that
    comes while a check is open makes the check ask once more: the answer to the open question may be older.
    """
    operation = checking.take_reference(draft, operation, said)
    contradicts = _contradicts(operation, said)
    if operation.open:
        draft.end(operation.call_id, "failed" if isinstance(said, Declined) else "done")
        _move(draft, checking.end_of_unresolved(draft, operation), said)
    elif asked and contradicts:
        _move(draft, operation, said)
    elif not asked and operation.state != "waiting" and (contradicts or operation.check.open):
        checking.begin(draft, operation)


def _contradicts(operation: Operation, said: Clear) -> bool:
    match said:
        case Declined() if operation.code == DECLARED:
            return False  # two persons know that it says so
        case Captured() if operation.code == DECLARED and operation.state == "reversed":
            return False
        case Declined() | Reversed():
            return operation.state == "done" or (operation.state == "failed" and isinstance(said, Reversed))
        case Captured() | Voided() | Refunded():
            return operation.state != "done"
        case _:
            assert_never(said)


def _move(draft: Draft, operation: Operation, said: Clear) -> None:
    """Move the operation to the state that the PSP reports. Facts from outside are always posted, also below zero."""
    if operation.state == "done":
        if operation.kind == "void":
            checking.contradicted(draft, operation)
        else:
            take_back(draft, operation, said)
    elif isinstance(said, Declined):
        _fail(draft, operation, said.code)
    else:
        done = _do(draft, operation, said)
        if isinstance(said, Reversed):
            take_back(draft, done, said)


def _do(draft: Draft, operation: Operation, said: Captured | Voided | Refunded | Reversed) -> Operation:
    turn = operation.turn + 1 if operation.state == "reversed" else operation.turn
    facts: dict[str, object] = {"psp_reference": said.psp_reference, "turn": turn, "code": None, "state": "done"}
    match operation.kind:
        case "capture":
            return _captured(draft, operation, said, facts)
        case "refund":
            fee = draft.refund_fee(operation.amount_minor)
            share = draft.share(operation.amount_minor, fee)
            place = draft.publish(PaymentRefunded, share=share, **_fact(operation, turn, said.psp_reference))
            return _put_outcome(draft, operation, place, fee_minor=fee, **facts)
        case "void":
            assert isinstance(said, Voided), "a void's yes"
            return _voided(draft, operation, said, facts)
        case "charge":
            raise AssertionError("a charge is `charging`'s")
        case _:
            assert_never(operation.kind)


def _captured(
    draft: Draft, operation: Operation, said: Captured | Voided | Refunded | Reversed, facts: dict[str, object]
) -> Operation:
    fee = draft.capture_fee(operation.amount_minor)
    share = draft.share(operation.amount_minor, fee)
    all_taken = draft.captured + operation.amount_minor >= draft.gross
    closes = all_taken or operation.final or not draft.declared("capture").many
    place = draft.publish(
        PaymentCaptured,
        gross=share.gross,
        fee=share.fee,
        net=share.net,
        scheme=(said.scheme if isinstance(said, Captured) else draft.attempt.scheme) or "other",
        final=closes or None,
        order_gross=None if operation.amount_minor == draft.gross else draft.money(draft.gross),
        **_fact(operation, operation.turn + (operation.state == "reversed"), said.psp_reference),
        **held_back(draft.attempt.placed, share.net, draft.cause.now),
    )
    captured = _put_outcome(draft, operation, place, fee_minor=fee, **facts)
    if closes or draft.attempt.state in ("voided", "expired"):
        draft.move("captured")
    return captured


def _voided(draft: Draft, operation: Operation, said: Voided, facts: dict[str, object]) -> Operation:
    released = {"released": said.amount, "void_id": operation.operation_id}
    place = draft.publish(
        PaymentVoided,
        psp=operation.psp,
        call_id=operation.call_id,
        charge_call_id=draft.attempt.call_id,
        psp_reference=said.psp_reference,
        **released,
    )
    if draft.attempt.state == "authorised":
        draft.move("captured" if draft.ever_captured else "voided")
    return _put_outcome(draft, operation, place, amount_minor=said.amount.minor, **facts)


def take_back(draft: Draft, operation: Operation, said: Clear) -> None:
    """Reverse the operation with the share that was booked: no share is computed anew."""
    reference = said.psp_reference or operation.psp_reference or ""
    share = draft.share(operation.amount_minor, operation.fee_minor)
    fact = _fact(operation, operation.turn, reference)
    place = draft.publish(CaptureReversed if operation.kind == "capture" else RefundReversed, share=share, **fact)
    _put_outcome(draft, operation, place, state="reversed")


def declare_failed(draft: Draft, operation: Operation) -> None:
    """Take a capture back that two persons know to have never been: its PSP has settled nothing. Nothing of a PSP does this."""
    if operation.kind != "capture" or operation.state != "done":
        return
    take_back(draft, checking.end_of_unresolved(draft, operation), checking.FAILED_BY_PERSONS)
    draft.put(draft.operations[operation.key].evolve(draft.cause.now, code=DECLARED))


def _fact(operation: Operation, turn: int, psp_reference: str) -> dict[str, object]:
    """The fields that all events about a done or reversed operation have. An automatic capture has no id of its own."""
    return {
        _ID[operation.kind]: None if operation.is_charge else operation.operation_id,
        "turn": None if turn == 1 else turn,
        "psp": operation.psp,
        "call_id": operation.call_id,
        "psp_reference": psp_reference,
    }

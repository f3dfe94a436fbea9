"""(orders and pay-outs, an event) → a decision. Pure: finds the order or pay-out of the event, and passes both on.

`charging` decides about charges, `operating` about captures, voids and refunds, `disputing` about disputes, `paying_out`
about pay-outs, `checking` about contradictions of settled outcomes. Operations and disputes are read only for attempts
that have any.
"""

from __future__ import annotations

from typing import assert_never

from consumers.executor import bank_file, charging, checking, disputing, operating, paying_out, repeating
from consumers.executor.attempt import Attempt, CallFacts
from consumers.executor.checking import FAILED_BY_PERSONS
from consumers.executor.draft import Draft
from consumers.executor.early import EarlyNotification
from consumers.executor.operation import Checked, Operation
from consumers.executor.payout import call_id_of
from consumers.executor.state import Attempts, Policy
from psp.payout_port import transfer_reply_from_json
from psp.port import Authorised, Captured, Declined, Reply, Reversed, reply_from_json
from schemas.breaks import Break, BreakChanged, BreakOpened, BreakResolved
from schemas.errors import Permanent
from schemas.events import (
    CallEnded,
    NotificationReceived,
    OrderPlaced,
    TimerFired,
)
from schemas.money_back import (
    CapturePlaced,
    DisputeNotified,
    RefundPlaced,
    VoidPlaced,
)
from schemas.payouts import (
    BankFileNotified,
    PayoutCallEnded,
    PayoutNotified,
    PayoutPlaced,
    PayoutReady,
    PayoutRefused,
    PayoutReleased,
    PayoutStatusChanged,
    PayoutWithdrawn,
)
from topics.runtime.shape.consumer import Cause, Decision, Retry

BehindCharge = CapturePlaced | VoidPlaced | RefundPlaced | DisputeNotified | TimerFired
OfPayout = PayoutReady | PayoutWithdrawn | PayoutNotified | BankFileNotified | PayoutCallEnded
ForOthers = PayoutPlaced | PayoutReleased | PayoutStatusChanged | PayoutRefused  # on payouts.v1, for other rooms
Heard = OrderPlaced | CallEnded | NotificationReceived | BehindCharge | OfPayout | ForOthers | Break


def decide(policy: Policy, state: Attempts, event: Heard, cause: Cause) -> Decision:
    """Errors: Permanent `order_changed`, `operation_changed`, `no_such_order`, `no_such_call`, `bad_amount`, `bad_reply`,
    `notification_mismatch`, `contradiction`, `payout_changed`, `release_out_of_order`, `no_such_payout`,
    `no_such_file`; Transient `check_open`.
    """
    match event:
        case OrderPlaced():
            return charging.place(policy, state.attempts.get(event.payment_order_id), event, cause)
        case CallEnded():
            return _in_trace(_apply_reply(policy, state, event, cause), state, event.call_id)
        case NotificationReceived():
            return _in_trace(_apply_notification(policy, state, event, cause), state, event.reference)
        case CapturePlaced() | VoidPlaced() | RefundPlaced():
            return _place(policy, state, event, cause)
        case DisputeNotified():
            return _in_trace(_apply_dispute(policy, state, event, cause), state, event.reference)
        case TimerFired():
            return _fire(policy, state, event, cause)
        case PayoutReady() | PayoutWithdrawn() | PayoutNotified() | BankFileNotified() | PayoutCallEnded():
            return _pay_out(policy, state, event, cause)
        case PayoutPlaced() | PayoutReleased() | PayoutStatusChanged() | PayoutRefused():
            return Decision()
        case BreakOpened() | BreakChanged() | BreakResolved():
            return Decision(repeating.decide(event, cause.now))
        case _:
            assert_never(event)


def _in_trace(decision: Decision, state: Attempts, call_id: str) -> Decision:
    """The decision with the trace of the call's order or pay-out, whichever message brought the reply."""
    call = state.calls.get(call_id) or state.payout_calls.get(call_id)
    return decision if call is None else decision._replace(traceparent=call.traceparent)


# ── what a PSP says ──────────────────────────────────────────────────────────────────────────────────────────────────


def _apply_reply(policy: Policy, state: Attempts, event: CallEnded, cause: Cause) -> Decision:
    attempt, call = state.attempts.get(event.payment_order_id), state.calls.get(event.call_id)
    if attempt is None or call is None or call.subject != event.payment_order_id:
        raise Permanent("no_such_call", f"{event.call_id} is no call of this order")
    reply = _reply(event)
    if attempt.call_id == event.call_id:
        if _is_checked(state, attempt, reply):
            return _check_charge(Draft(policy, state, attempt, cause), reply)
        decision = charging.apply_reply(policy, attempt, call, event, reply, cause)
        return _begin_waiting(policy, state, attempt, decision, reply, cause)
    draft = Draft(policy, state, attempt, cause)
    about = _of_call(draft, event.call_id)
    if about is None:
        return charging.of_an_earlier_call(event.call_id, reply)
    if not isinstance(about, Operation):
        disputing.apply_reply(draft, about, reply)
    elif about.call_id == event.call_id:
        operating.apply_reply(draft, about, call, event.act, event.act_no, reply)
    else:
        is_awaited = about.check.open and about.check_id == event.call_id
        if about.kind == "charge" and attempt.undecided:
            return _answer_persons(policy, state, attempt, call, about, reply, cause, is_awaited)
        _answer(draft, about, reply, is_awaited)
    return _finish(draft)


def _apply_notification(policy: Policy, state: Attempts, event: NotificationReceived, cause: Cause) -> Decision:
    """Treat a notification as the reply that it stands for; keep it if its call does not exist yet."""
    call = state.calls.get(event.reference)
    if call is None or call.psp != event.psp:
        return Decision((EarlyNotification(event, cause.event_id, cause.now),))
    attempt = state.attempts[call.subject]
    if event.source == "operator" and event.instead_of:
        return _declare(policy, state, attempt, event, cause)
    if event.source == "settlement_line":
        return _look_up(policy, state, attempt, event, cause)
    if attempt.call_id == event.reference:
        reply = charging.reply_of(attempt, event)
        if event.source == "operator":
            return _resolve(policy, state, attempt, call, reply, cause)
        if _is_checked(state, attempt, reply):
            return _check_charge(Draft(policy, state, attempt, cause), reply)
        decision = charging.apply_notification(policy, attempt, call, reply, cause)
        return _begin_waiting(policy, state, attempt, decision, reply, cause)
    draft = Draft(policy, state, attempt, cause)
    about = _of_call(draft, event.reference)
    if not isinstance(about, Operation) or about.call_id != event.reference:
        return charging.of_an_earlier_call(event.reference, charging.reply_of(attempt, event))
    operating.apply_notification(draft, about, event)
    return _finish(draft)


def _look_up(policy: Policy, state: Attempts, attempt: Attempt, event: NotificationReceived, cause: Cause) -> Decision:
    """Ask the PSP about what its files say, or lack. A line is never believed: its amount is what was settled, and its
    reference need not be the one by which the PSP is asked. Only the answer counts; without one nothing changes.
    """
    draft = Draft(policy, state, attempt, cause)
    if attempt.call_id == event.reference and attempt.undecided:
        if attempt.state in ("unknown", "pending"):
            draft.retry(Retry(attempt.call_id, "ask", 0))
        elif attempt.state == "unresolved":
            checking.look_up(draft, checking.row_of_charge(draft))
        return _finish(draft)
    about = checking.row_of_charge(draft) if attempt.call_id == event.reference else _of_call(draft, event.reference)
    if isinstance(about, Operation) and about.call_id == event.reference:
        if about.state in ("unknown", "pending"):
            draft.retry(Retry(about.call_id, "ask", 0))
        elif about.state not in ("waiting", "calling"):
            checking.look_up(draft, about)
    return _finish(draft)


def _apply_dispute(policy: Policy, state: Attempts, event: DisputeNotified, cause: Cause) -> Decision:
    call = state.calls.get(event.reference)
    if call is None or call.psp != event.psp:
        return Decision((EarlyNotification(event, cause.event_id, cause.now),))
    draft = Draft(policy, state, state.attempts[call.subject], cause)
    disputing.apply_notification(draft, event)
    return _finish(draft)


def _reply(event: CallEnded) -> Reply:
    try:
        return reply_from_json(event.reply)
    except ValueError as error:
        raise Permanent("bad_reply", str(error)) from error


def _of_call(draft: Draft, call_id: str) -> Checked | None:
    """The operation or dispute that the call carries out or asks about."""
    behind: list[Checked] = [*draft.operations.values(), *draft.disputes.values()]
    return next((each for each in behind if call_id in _calls(each)), None)


def _calls(about: Checked) -> tuple[str, ...]:
    return (about.call_id, *about.check_ids) if isinstance(about, Operation) else (about.check_id,)


def _is_checked(state: Attempts, attempt: Attempt, reply: Reply) -> bool:
    """Whether a reply about the charge contradicts it, or may name what two persons have named."""
    rows = state.operations.get(attempt.key, {}) if attempt.operations else {}
    return charging.contradicts(attempt, reply) or any(row.is_charge and row.named_by_persons for row in rows.values())


def _check_charge(draft: Draft, reply: Reply) -> Decision:
    _check(draft, checking.row_of_charge(draft), reply)
    return _finish(draft)


def _check(draft: Draft, about: Operation, reply: Reply) -> None:
    """Check a charge or operation that the reply contradicts, instead of believing the reply."""
    if about.kind == "charge":
        about = checking.take_reference(draft, about, reply)
        if charging.contradicts(draft.attempt, reply):
            checking.begin(draft, about)
    elif said := operating.clear(draft, about, reply):
        operating.settle(draft, about, said)


def _answer(draft: Draft, about: Operation, reply: Reply, is_awaited: bool) -> None:
    """Apply the answer to a check; not awaited: another word of the PSP has come before it."""
    if not is_awaited:
        _check(draft, checking.row_of_charge(draft) if about.is_charge else about, reply)
    elif about.kind == "charge":
        _answer_of_charge(draft, about, reply)
    elif said := operating.clear(draft, about, reply):
        checking.answered(draft, about)
        operating.settle(draft, draft.operations[about.key], said, asked=True)
    elif about.state != "unresolved" or about.check.state == "confirming":
        checking.unanswered(draft, about, reply)
    elif checking.believes_persons(draft, about, reply):
        operating.settle(draft, draft.operations[about.key], FAILED_BY_PERSONS)


def _answer_of_charge(draft: Draft, about: Operation, reply: Reply) -> None:
    """Apply the answer to a check of a charge. Money that was taken for an order that has ended without it needs a person."""
    if isinstance(reply, Captured | Authorised | Declined | Reversed):
        about = checking.take_reference(draft, about, reply)
        checking.answered(draft, about)
        if charging.contradicts(draft.attempt, reply):
            checking.contradicted(draft, draft.operations[about.key])
    else:
        checking.unanswered(draft, about, reply)


# ── what two persons say of a charge ──────────────────────────────────────────────────────────────────────────────────


def _resolve(policy: Policy, state: Attempts, attempt: Attempt, call: CallFacts, word: Reply, cause: Cause) -> Decision:
    """Apply a yes at once, and ask the PSP whether it says the same, and under which reference: captures and refunds name it.
    Ask before "failed" is believed. Nothing changes what the PSP has said.
    """
    draft, is_yes = Draft(policy, state, attempt, cause), isinstance(word, Captured | Authorised)
    if not attempt.undecided:
        agrees = is_yes == (attempt.state in ("authorised", "captured"))
        return Decision() if agrees or not charging.contradicts(attempt, word) else _check_charge(draft, word)
    if is_yes:
        draft = Draft.after(policy, state, charging.apply_notification(policy, attempt, call, word, cause), cause)
        checking.end_of_charge(draft)
        charge = checking.row_of_charge(draft)
        checking.begin(draft, charge.evolve(cause.now, named_by_persons=True), "confirming")
    elif isinstance(word, Declined) and attempt.state == "unresolved":
        checking.begin(draft, checking.row_of_charge(draft))
    return _finish(draft)


def _declare(policy: Policy, state: Attempts, attempt: Attempt, event: NotificationReceived, cause: Cause) -> Decision:
    """Apply what two persons say of a settled charge or capture, against the word of its PSP: declined → captured, captured →
    failed. What is settled otherwise by now stays as it is. Errors: Permanent `notification_mismatch`.
    """
    draft, is_charge = Draft(policy, state, attempt, cause), attempt.call_id == event.reference
    if event.instead_of == "captured":
        about = checking.row_of_charge(draft) if is_charge else _of_call(draft, event.reference)
        if isinstance(about, Operation) and about.call_id == event.reference:
            operating.declare_failed(draft, about)
        return _finish(draft)
    if not is_charge or attempt.manual or attempt.state != "declined":
        return Decision()
    said = charging.reply_of(attempt, event)
    if not isinstance(said, Captured):
        return Decision()
    draft = Draft.after(policy, state, charging.declare_captured(attempt, said, cause), cause)
    checking.end_of_charge(draft)
    draft.put(checking.row_of_charge(draft).evolve(cause.now, named_by_persons=True))
    return _finish(draft)


def _answer_persons(
    policy: Policy,
    state: Attempts,
    attempt: Attempt,
    call: CallFacts,
    about: Operation,
    reply: Reply,
    cause: Cause,
    is_awaited: bool,
) -> Decision:
    """Apply the answer about an unresolved charge, of which two persons say that it has failed."""
    draft, word = Draft(policy, state, attempt, cause), reply
    if not charging.settles(attempt, reply):
        if is_awaited and about.check.state == "confirming":
            checking.unanswered(draft, about, reply)
            return _finish(draft)
        if not (is_awaited and checking.believes_persons(draft, about, reply)):
            return _finish(draft)
        word = FAILED_BY_PERSONS
    decision = charging.apply_notification(policy, attempt, call, word, cause)
    return _begin_waiting(policy, state, attempt, decision, word, cause)


# ── operations placed, timers due ────────────────────────────────────────────────────────────────────────────────────


def _place(policy: Policy, state: Attempts, event: operating.Placed, cause: Cause) -> Decision:
    draft = Draft(policy, state, _attempt(state, event.payment_order_id), cause)
    operating.place(draft, event)
    return _finish(draft)


def _fire(policy: Policy, state: Attempts, event: TimerFired, cause: Cause) -> Decision:
    draft = Draft(policy, state, _attempt(state, event.timer_key), cause)
    match event.kind:
        case charging.AUTHORISATION:
            operating.expire(draft)
        case disputing.DISPUTE:
            disputing.fail_orphaned(draft)
        case checking.CONTRADICTION:
            checking.fail_contradicted(draft)
        case other:
            raise Permanent("unknown_timer", other)
    return _finish(draft)


def _attempt(state: Attempts, payment_order_id: str) -> Attempt:
    attempt = state.attempts.get(payment_order_id)
    if attempt is None:
        raise Permanent("no_such_order", f"{payment_order_id} was never placed here")
    return attempt


# ── pay-outs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _pay_out(policy: Policy, state: Attempts, event: OfPayout, cause: Cause) -> Decision:
    match event:
        case PayoutReady():
            return paying_out.release(state.payouts.get(event.payout_id), event, cause)
        case PayoutWithdrawn():
            call = state.payout_calls.get(call_id_of(event.payout_id, event.release_no))
            return paying_out.withdraw(policy, state.payouts.get(event.payout_id), call, event, cause)
        case PayoutNotified():
            return _in_trace(_apply_payout_notification(policy, state, event, cause), state, event.reference)
        case BankFileNotified():
            heard = bank_file.hear(state.files.get(event.reference), event, cause.now)
            return Decision() if heard is None else Decision((heard,))
        case PayoutCallEnded():
            return _in_trace(_apply_payout_reply(policy, state, event, cause), state, event.call_id)
        case _:
            assert_never(event)


def _apply_payout_notification(policy: Policy, state: Attempts, event: PayoutNotified, cause: Cause) -> Decision:
    call = state.payout_calls.get(event.reference)
    if call is None or call.psp != event.provider:
        return Decision((EarlyNotification(event, cause.event_id, cause.now),))
    return paying_out.apply_notification(policy, state.payouts[call.subject], call, event, cause)


def _apply_payout_reply(policy: Policy, state: Attempts, event: PayoutCallEnded, cause: Cause) -> Decision:
    payout, call = state.payouts.get(event.payout_id), state.payout_calls.get(event.call_id)
    if payout is None or call is None or call.subject != event.payout_id:
        raise Permanent("no_such_call", f"{event.call_id} is no call of this pay-out")
    try:
        reply = transfer_reply_from_json(event.reply)
    except ValueError as error:
        raise Permanent("bad_reply", str(error)) from error
    sent = state.payout_calls.get(payout.call_id)
    return paying_out.apply_reply(policy, payout, call, sent, event, reply, cause)


# ── after each event ─────────────────────────────────────────────────────────────────────────────────────────────────


def _begin_waiting(
    policy: Policy, state: Attempts, attempt: Attempt, decision: Decision, reply: Reply, cause: Cause
) -> Decision:
    """Begin or fail the operations that wait for the charge, in the decision that settles the charge."""
    taken_back = isinstance(reply, Reversed)
    if not decision.changes or not (attempt.operations or taken_back):
        return decision
    draft = Draft.after(policy, state, decision, cause)
    checking.end_of_charge(draft)
    if taken_back and draft.attempt.state == "captured":
        assert isinstance(reply, Reversed)
        operating.take_back(draft, checking.row_of_charge(draft), reply)
    return _finish(draft)


def _finish(draft: Draft) -> Decision:
    disputing.apply_waiting(draft)
    operating.begin_queue(draft)
    return draft.decision()

"""(pay-outs and sellers, an event about them) → a fact on the row, then the next step. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from consumers.payouts import asking, holding, scheduling
from consumers.payouts.approving import approve
from consumers.payouts.asking import NOTHING
from consumers.payouts.gates import APPROVAL, CUT_OFF, PROVIDER, RESERVATION, advance, screen
from consumers.payouts.payout import Outcome, Payout, Payouts, ReleaseOutcome, Risk, Screening, SellerHeard
from consumers.payouts.policy import Policy
from schemas.breaks import Break, BreakChanged, BreakOpened, BreakResolved
from schemas.errors import Permanent
from schemas.events import TimerFired
from schemas.payouts import (
    FundsReserved,
    FundsReturned,
    PayoutApproved,
    PayoutCancelRequested,
    PayoutExecution,
    PayoutFailed,
    PayoutMovement,
    PayoutNotSent,
    PayoutPaid,
    PayoutRequested,
    PayoutReturned,
    PayoutRiskCleared,
    PayoutRiskDecision,
    PayoutRiskHeld,
    PayoutRiskRefused,
    PayoutSubmitted,
    PayoutUnknown,
    PayoutUnresolved,
    ReservationRefused,
    ReservationReleased,
    ReservationSettled,
)
from schemas.sellers import SellerSet
from topics.runtime.shape.consumer import Broken, Cause, Decision, Timer

Heard = (
    PayoutRequested
    | PayoutCancelRequested
    | Broken
    | SellerSet
    | PayoutRiskDecision
    | PayoutApproved
    | PayoutMovement
    | PayoutExecution
    | Break
    | TimerFired
)


def decide(state: Payouts, event: Heard, cause: Cause, policy: Policy) -> Decision:
    """Errors: Permanent if an event is about a pay-out that nobody has asked for, or contradicts what is settled."""
    match event:
        case PayoutRequested():
            return asking.request(state, event, cause, policy)
        case PayoutCancelRequested():
            return asking.cancel(state, event, cause, policy)
        case Broken():
            return asking.refuse_broken(event, cause)
        case SellerSet():
            return _set_seller(state, event, cause, policy)
        case PayoutRiskCleared() | PayoutRiskRefused() | PayoutRiskHeld():
            return _screened(state, event, cause, policy)
        case FundsReserved():
            return _reserved(state, event, cause, policy)
        case ReservationRefused():
            payout = _payout(state, event.payout_id)
            if payout.reserve != "asked":
                return NOTHING
            return advance(state, replace(payout, reserve="refused", refusal=event.code), cause, policy)
        case ReservationReleased() | ReservationSettled() | FundsReturned():
            return NOTHING  # the executor's word is what a pay-out follows
        case PayoutApproved():
            facts, kept = approve(_payout(state, event.payout_id, ours=False), event, cause)
            return advance(state, facts, cause, policy, [kept])
        case (
            PayoutSubmitted()
            | PayoutPaid()
            | PayoutFailed()
            | PayoutReturned()
            | PayoutUnknown()
            | PayoutUnresolved()
            | PayoutNotSent()
        ):
            return _executed(state, event, cause, policy)
        case BreakOpened() | BreakChanged() | BreakResolved():
            return holding.hear(state, event, cause, policy)
        case TimerFired():
            return _on_time(state, event, cause, policy)
        case _:
            assert_never(event)


def _payout(state: Payouts, payout_id: str, ours: bool = True) -> Payout:
    payout = state.payouts.get(payout_id)
    if payout is None:
        raise Permanent("unknown_payout", payout_id, ours=ours)
    return payout


def _set_seller(state: Payouts, event: SellerSet, cause: Cause, policy: Policy) -> Decision:
    """A freeze withdraws all that is released; its end lets go on all that waits. An older revision says nothing."""
    known = state.sellers.get(event.seller_account)
    if known is not None and known.seller_revision >= event.seller_revision:
        return NOTHING
    heard = SellerHeard(event, cause.event_id, cause.now)
    steps = [advance(state, payout, cause, policy, seller=event) for payout in state.unended(event.seller_account)]
    return Decision(
        [heard, *(change for step in steps for change in step.changes)],
        [said for step in steps for said in step.events],
        revision=event.seller_revision,
        timers=[*scheduling.timers(event, cause.now), *(timer for step in steps for timer in step.timers)],
    )


def _screened(state: Payouts, event: PayoutRiskDecision, cause: Cause, policy: Policy) -> Decision:
    """The answer to the open question counts, and replaces an earlier one to it: lists change, persons decide."""
    payout, outcome = _payout(state, event.payout_id), _outcome(event)
    counts = event.screen_no == payout.screen_no and payout.ended is None
    kept = Screening(
        event_id=cause.event_id,
        payout_id=event.payout_id,
        screen_no=event.screen_no,
        outcome=outcome,
        rule=event.rule,
        list_version=event.list_version,
        score=event.score,
        actor=event.actor,
        decided_at=event.decided_at,
        counts=counts,
    )
    if not counts:
        return Decision([kept])
    if isinstance(event, PayoutRiskHeld) and event.ask_again:
        asked = screen(payout)
        decided = advance(state, asked.payout, cause, policy, [kept])
        return decided._replace(events=[*asked.events, *decided.events])
    cleared_at = event.decided_at if outcome == "cleared" else None
    facts = replace(payout, risk=outcome, cleared_at=cleared_at, refusal=event.rule if outcome == "refused" else None)
    return advance(state, facts, cause, policy, [kept])


def _outcome(event: PayoutRiskDecision) -> Risk:
    match event:
        case PayoutRiskCleared():
            return "cleared"
        case PayoutRiskRefused():
            return "refused"
        case PayoutRiskHeld():
            return "held"
        case _:
            assert_never(event)


def _reserved(state: Payouts, event: FundsReserved, cause: Cause, policy: Policy) -> Decision:
    """Fixes the amount, and with it what is approved and by how many."""
    payout = _payout(state, event.payout_id)
    if payout.reserve != "asked":
        return NOTHING
    if payout.money not in (None, event.amount):
        raise Permanent("reservation_differs", f"{payout.payout_id}: {event.amount} in place of {payout.money}")
    facts = replace(
        payout,
        reserve="reserved",
        amount=event.amount.minor,
        reserved_at=cause.now,
        approvals_needed=policy.persons(event.amount) + (payout.destination_changed_by is not None),
    )
    decided = advance(state, facts, cause, policy)
    return decided._replace(timers=[*decided.timers, *_lives(facts, policy)])


def _lives(payout: Payout, policy: Policy) -> list[Timer]:
    """When approval and reservation end, if the pay-out still waits then."""
    if payout.reserved_at is None or payout.ended is not None:
        return []
    reserved = Timer(RESERVATION, payout.payout_id, payout.reserved_at + policy.reservation_life)
    approved = Timer(APPROVAL, payout.payout_id, payout.reserved_at + policy.approval_life)
    return [reserved, approved] if payout.approvals_missing else [reserved]


def _on_time(state: Payouts, event: TimerFired, cause: Cause, policy: Policy) -> Decision:
    """Look at every gate again. Where a life has been made longer in the settings since, its timer is set again."""
    if event.kind == scheduling.SCHEDULE:
        return scheduling.fire(state, event, cause, policy)
    if event.kind not in (APPROVAL, RESERVATION, PROVIDER, CUT_OFF):
        raise Permanent("unknown_timer", event.kind)
    payout, now = _payout(state, event.timer_key), max(cause.now, event.due_at)
    decided = advance(state, payout, cause, policy, now=now)
    later = [timer for timer in _lives(payout, policy) if timer.due_at > now and timer.kind == event.kind]
    return decided._replace(timers=[*decided.timers, *later])


def _executed(state: Payouts, event: PayoutExecution, cause: Cause, policy: Policy) -> Decision:
    """What the executor says of a release. What the provider did counts, whatever has been decided here meanwhile."""
    payout = _payout(state, event.payout_id)
    return advance(state, _with_execution(payout, event), cause, policy, [_outcome_of(event, cause)])


def _with_execution(payout: Payout, event: PayoutExecution) -> Payout:
    if isinstance(event, PayoutSubmitted | PayoutPaid | PayoutFailed | PayoutReturned):
        payout = payout.converted(event.conversion)  # of the release that went out, which may be an earlier one
    match event:
        case PayoutSubmitted():
            too_late = "too_late" if payout.stop == "cancelled" else None
            return replace(payout, ended="submitted", why=too_late, provider_reference=event.provider_reference)
        case PayoutPaid():
            return replace(payout, ended="paid", why=None, provider_reference=event.provider_reference)
        case PayoutFailed():
            reference = event.provider_reference or payout.provider_reference
            return replace(payout, ended="failed", why=event.code, provider_reference=reference)
        case PayoutReturned():
            return replace(payout, ended="returned", why=event.code, provider_reference=event.provider_reference)
        case PayoutUnknown():
            return replace(payout, doubt="unknown")
        case PayoutUnresolved():
            return replace(payout, doubt="unresolved")
        case PayoutNotSent():
            current = payout.released and event.release_no == payout.release_no
            return replace(payout.converted(None), released=False, doubt=None) if current else payout
        case _:
            assert_never(event)


_OUTCOMES: dict[type[PayoutExecution], Outcome] = {
    PayoutSubmitted: "submitted",
    PayoutPaid: "paid",
    PayoutFailed: "failed",
    PayoutReturned: "returned",
    PayoutUnknown: "unknown",
    PayoutUnresolved: "unresolved",
    PayoutNotSent: "not_sent",
}


def _outcome_of(event: PayoutExecution, cause: Cause) -> ReleaseOutcome:
    code = event.code if isinstance(event, PayoutFailed | PayoutReturned | PayoutNotSent) else None
    if isinstance(event, PayoutUnresolved):
        code = event.reason
    return ReleaseOutcome(event.payout_id, event.release_no, _OUTCOMES[type(event)], code, cause.now)

"""A break about sellers → their pay-outs wait, or go on. Pure."""

from __future__ import annotations

from dataclasses import replace

from consumers.payouts.gates import advance
from consumers.payouts.payout import Hold, Payouts
from consumers.payouts.policy import Policy
from schemas.breaks import Break, BreakResolved
from topics.runtime.shape.consumer import Cause, Decision

NOTHING = Decision()


def hear(state: Payouts, event: Break, cause: Cause, policy: Policy) -> Decision:
    """Withdraw what is released while a break is open; let go on what waits once none is. An older revision says nothing."""
    if not event.holds_payouts:
        return NOTHING
    holds = [hold for seller in event.sellers if (hold := _hold(state, event, seller, cause)) is not None]
    steps = []
    for hold in holds:
        seller = hold.seller_account
        after = replace(state, holds=state.holds | {(seller, hold.break_id): hold})
        if seller in state.sellers:
            held = after.is_held(seller)
            steps += [advance(state, each, cause, policy, is_held=held) for each in state.unended(seller)]
    return Decision(
        [*holds, *(change for step in steps for change in step.changes)],
        [said for step in steps for said in step.events],
        revision=event.revision,
        timers=[timer for step in steps for timer in step.timers],
    )


def _hold(state: Payouts, event: Break, seller: str, cause: Cause) -> Hold | None:
    known = state.holds.get((seller, event.break_id))
    if known is not None and known.revision >= event.revision:
        return None
    is_open = not isinstance(event, BreakResolved)
    return Hold(event.break_id, seller, event.code, event.revision, is_open, event.opened_at, cause.now)

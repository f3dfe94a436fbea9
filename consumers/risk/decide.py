"""(what is stored about parties and names, a screening request) → refused, held or cleared, by the first rule that applies;
(a held screening, a person's review) → that person's decision. Pure.
"""

from __future__ import annotations

from typing import assert_never

from consumers.risk import payment_screening, payout_screening
from consumers.risk.reviewing import key_of, review
from consumers.risk.settings import RiskLimits
from consumers.risk.state import Screenings
from schemas.break_work import BreakWorked
from schemas.events import RiskReviewed, ScreeningRequested, TimerFired
from schemas.payouts import PayoutScreeningRequested
from topics.runtime.shape.consumer import Cause, Decision

Heard = ScreeningRequested | PayoutScreeningRequested | RiskReviewed | BreakWorked | TimerFired


def decide(state: Screenings, event: Heard, cause: Cause, limits: RiskLimits) -> Decision:
    """A screening that was decided before gets the same answer again, even if lists or limits have changed.

    Errors: Permanent where a review is about a screening that is not held.
    """
    match event:
        case ScreeningRequested():
            return payment_screening.screen(state, event, cause, limits)
        case PayoutScreeningRequested():
            return payout_screening.screen(state, event, cause, limits)
        case TimerFired():
            return payout_screening.screen_again(state, event, cause)
        case RiskReviewed():
            return _review(state, event, cause)
        case BreakWorked():
            return Decision()  # of reconciliation
        case _:
            assert_never(event)


def _review(state: Screenings, event: RiskReviewed, cause: Cause) -> Decision:
    """A pay-out is screened again after its review: a list may have come between what the person saw and the review."""
    key = key_of(event)
    decided = review(state.holds.get(key), state.reviews.get(key), event, cause)
    if key.about == "payout" and event.decision == "clear" and decided.events:
        return decided._replace(timers=[payout_screening.again(key, cause.now)])
    return decided

"""(what is stored about a seller and the holder's name, a pay-out's screening) → refused, held or cleared, by the first rule
that applies; (a screening that was cleared by the rules or by a person, a list that has come since) → held. Pure.
"""

from __future__ import annotations

from datetime import datetime

from consumers.risk.reviewing import Hold, HoldKey, payout_answer, revision
from consumers.risk.settings import RiskLimits
from consumers.risk.state import Change, Outcome, PayoutScreening, Rule, Rules, Screenings, first_rule
from schemas.events import TimerFired
from schemas.payouts import (
    PayoutRiskCleared,
    PayoutRiskHeld,
    PayoutRiskRefused,
    PayoutScreeningRequested,
)
from topics.runtime.shape.consumer import Cause, Decision, Timer

AGAIN = "screen_payout_again"  # kind of the timer


def key_of(event: PayoutScreeningRequested) -> HoldKey:
    return HoldKey("payout", event.payout_id, event.screen_no)


def screen(state: Screenings, event: PayoutScreeningRequested, cause: Cause, limits: RiskLimits) -> Decision:
    known = state.payouts.get(key_of(event))
    return _screen(state, event, cause, limits) if known is None else _again(state, known)


def _screen(state: Screenings, event: PayoutScreeningRequested, cause: Cause, limits: RiskLimits) -> Decision:
    key = key_of(event)
    outcome, rule = first_rule(RULES, state, event, limits)
    party = state.parties.get(key)
    screening = PayoutScreening(
        payout_id=event.payout_id,
        screen_no=event.screen_no,
        seller_account=event.seller_account,
        party=None if party is None else party.party,
        decided_at=cause.now,
        outcome=outcome,
        rule=rule,
        list_version=state.list_version(key, rule),
        score=state.score(key, outcome, rule),
        event_id=cause.event_id,
    )
    changes: list[Change] = [screening]
    if outcome == "held":
        changes.append(_hold(screening, rule, screening.score, screening.list_version, cause.now))
    changes += state.of_party(key, outcome, rule)
    return Decision(changes, [_answer(screening)], revision=revision(key, 1))


def _again(state: Screenings, known: PayoutScreening) -> Decision:
    """What was said last: by the rules, by a list that came later, or by the person who has decided since."""
    hold, reviewed = state.holds.get(known.key), state.reviews.get(known.key)
    said = _answer(known) if hold is None else payout_answer(hold, reviewed)
    step = 1 if hold is None else 2 if reviewed is None else 3
    return Decision(events=[said], revision=revision(known.key, step))


def screen_again(state: Screenings, event: TimerFired, cause: Cause) -> Decision:
    """A screening that was cleared is held where a list that has come since is near. Payouts ignores what has left.

    A person has cleared the entries that were there. The screening is not reviewed a second time: payouts asks for another.
    """
    key = again_key(event.timer_key)
    known, review = state.payouts.get(key), state.reviews.get(key)
    if known is None or not (state.is_near(key) or state.was_refused(key)):
        return Decision()
    hold = _hold(known, "near_hit", state.score(key, "held", "near_hit"), state.lists, cause.now)
    if review is not None and review.decision == "clear":
        undone = payout_answer(hold, None).model_copy(update={"ask_again": True})
        return Decision(events=[undone], revision=revision(key, 4))
    if known.outcome != "cleared" or key in state.holds:
        return Decision()
    changes: list[Change] = [hold, *state.of_party(key, "held", "near_hit")]
    return Decision(changes, [payout_answer(hold, None)], revision=revision(key, 2))


def again(key: HoldKey, now: datetime) -> Timer:
    return Timer(AGAIN, f"{key.subject} {key.screen_no}", now)


def again_key(timer_key: str) -> HoldKey:
    payout_id, _, screen_no = timer_key.partition(" ")
    return HoldKey("payout", payout_id, int(screen_no))


def _hold(screening: PayoutScreening, rule: Rule, score: int, list_version: str, held_at: datetime) -> Hold:
    return Hold(
        *screening.key,
        rule=rule,
        score=score,
        list_version=list_version,
        buyer_account=None,
        seller_account=screening.seller_account,
        held_at=held_at,
    )


def _is_listed(state: Screenings, event: PayoutScreeningRequested, limits: RiskLimits) -> bool:
    return state.listed_in(key_of(event)) is not None


def _was_refused(state: Screenings, event: PayoutScreeningRequested, limits: RiskLimits) -> bool:
    return state.was_refused(key_of(event))


def _is_blocked(state: Screenings, event: PayoutScreeningRequested, limits: RiskLimits) -> bool:
    return event.destination.country in limits.blocked_countries


def _is_near(state: Screenings, event: PayoutScreeningRequested, limits: RiskLimits) -> bool:
    return state.is_near(key_of(event))


def _lacks_a_list(state: Screenings, event: PayoutScreeningRequested, limits: RiskLimits) -> bool:
    return not limits.lists_required <= state.current


def _lacks_a_name(state: Screenings, event: PayoutScreeningRequested, limits: RiskLimits) -> bool:
    return limits.screening_required and key_of(event) not in state.named


# What refuses comes first: nobody is asked about a pay-out that may not be made anyway.
RULES: Rules[PayoutScreeningRequested] = (
    ("refused", "listed_name", _is_listed),
    ("refused", "near_hit", _was_refused),
    ("refused", "blocked_country", _is_blocked),
    ("held", "near_hit", _is_near),
    ("held", "no_list", _lacks_a_list),
    ("held", "no_name", _lacks_a_name),
)

_EVENTS: dict[Outcome, type[PayoutRiskCleared | PayoutRiskRefused | PayoutRiskHeld]] = {
    "cleared": PayoutRiskCleared,
    "refused": PayoutRiskRefused,
    "held": PayoutRiskHeld,
}


def _answer(screening: PayoutScreening) -> PayoutRiskCleared | PayoutRiskRefused | PayoutRiskHeld:
    return _EVENTS[screening.outcome](
        payout_id=screening.payout_id,
        screen_no=screening.screen_no,
        rule=screening.rule,
        list_version=screening.list_version,
        score=screening.score,
        decided_at=screening.decided_at,
    )

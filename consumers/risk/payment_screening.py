"""(what is stored about a buyer, a payment's screening) → refused, held or cleared, by the first rule that applies. Pure."""

from __future__ import annotations

from consumers.risk.reviewing import answer
from consumers.risk.settings import RiskLimits
from consumers.risk.state import Change, Outcome, Rules, Screening, Screenings, first_rule, payment_key
from schemas.events import RiskCleared, RiskDecided, RiskHeld, RiskRefused, ScreeningRequested
from schemas.money import exponent
from topics.runtime.shape.consumer import Cause, Decision


def screen(state: Screenings, event: ScreeningRequested, cause: Cause, limits: RiskLimits) -> Decision:
    known = state.decided.get(event.checkout_id)
    return _screen(state, event, cause, limits) if known is None else _again(state, known)


def _screen(state: Screenings, event: ScreeningRequested, cause: Cause, limits: RiskLimits) -> Decision:
    outcome, rule = first_rule(RULES, state, event, limits)
    key = payment_key(event.checkout_id)
    screening = Screening(
        checkout_id=event.checkout_id,
        buyer_account=event.buyer_account,
        decided_at=cause.now,
        outcome=outcome,
        rule=rule,
        list_version=state.list_version(key, rule),
        score=state.score(key, outcome, rule),
        event_id=cause.event_id,
    )
    changes: list[Change] = [screening]
    if outcome == "held":
        changes.append(screening.hold())
    return Decision([*changes, *state.of_party(key, outcome, rule)], [_answer(screening)], revision=1)


def _again(state: Screenings, known: Screening) -> Decision:
    """What was said last: by the rules, or by the person who has decided since."""
    reviewed = state.reviews.get(known.key) if known.outcome == "held" else None
    return Decision(events=[_answer(known) if reviewed is None else answer(known.hold(), reviewed)], revision=1)


def _is_listed(state: Screenings, event: ScreeningRequested, limits: RiskLimits) -> bool:
    return state.listed_in(payment_key(event.checkout_id)) is not None


def _was_refused(state: Screenings, event: ScreeningRequested, limits: RiskLimits) -> bool:
    return state.was_refused(payment_key(event.checkout_id))


def _is_near(state: Screenings, event: ScreeningRequested, limits: RiskLimits) -> bool:
    return state.is_near(payment_key(event.checkout_id))


def _is_blocked(state: Screenings, event: ScreeningRequested, limits: RiskLimits) -> bool:
    return event.country is not None and event.country in limits.blocked_countries


def _exceeds_amount_limit(state: Screenings, event: ScreeningRequested, limits: RiskLimits) -> bool:
    """Per currency, in its major units; amounts are not converted."""
    most = limits.checkout_amount_max
    return any(total.minor > most[total.currency] * 10 ** exponent(total.currency) for total in event.totals)


def _exceeds_velocity_limit(state: Screenings, event: ScreeningRequested, limits: RiskLimits) -> bool:
    return state.recent.get(event.buyer_account, 0) >= limits.buyer_checkouts_per_hour_max


def _lacks_a_list(state: Screenings, event: ScreeningRequested, limits: RiskLimits) -> bool:
    return not limits.lists_required <= state.current


def _is_for_review(state: Screenings, event: ScreeningRequested, limits: RiskLimits) -> bool:
    """Per currency, in its major units; a currency that is not named is never reviewed for its amount."""
    above = limits.checkout_amount_review
    return any(
        total.currency in above and total.minor > above[total.currency] * 10 ** exponent(total.currency)
        for total in event.totals
    )


# What refuses comes first: nobody is asked about a payment that may not be made anyway.
RULES: Rules[ScreeningRequested] = (
    ("refused", "listed_name", _is_listed),
    ("refused", "near_hit", _was_refused),
    ("refused", "blocked_country", _is_blocked),
    ("refused", "amount_limit", _exceeds_amount_limit),
    ("refused", "velocity_limit", _exceeds_velocity_limit),
    ("held", "near_hit", _is_near),
    ("held", "no_list", _lacks_a_list),
    ("held", "amount_review", _is_for_review),
)


_EVENTS: dict[Outcome, type[RiskCleared | RiskRefused | RiskHeld]] = {
    "cleared": RiskCleared,
    "refused": RiskRefused,
    "held": RiskHeld,
}


def _answer(screening: Screening) -> RiskDecided:
    return _EVENTS[screening.outcome](
        checkout_id=screening.checkout_id,
        rule=screening.rule,
        list_version=screening.list_version,
        score=screening.score,
    )

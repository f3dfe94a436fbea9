"""(what is stored about buyer and name, a screening request) → refused, held or cleared, by the first rule that applies;
(a held screening, a person's review) → that person's decision. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, assert_never

from consumers.risk.matching import Hit
from consumers.risk.reviewing import About, Hold, HoldKey, Review, answer, key_of, review
from consumers.risk.settings import RiskLimits
from schemas.envelope import EventId
from schemas.events import RiskCleared, RiskDecided, RiskHeld, RiskRefused, RiskReviewed, ScreeningRequested
from schemas.money import exponent
from topics.runtime.shape.consumer import Cause, Decision

Outcome = Literal["cleared", "refused", "held"]
Rule = Literal[
    "listed_name",
    "near_hit",
    "blocked_country",
    "amount_limit",
    "velocity_limit",
    "no_list",
    "amount_review",
    "none",
]
Heard = ScreeningRequested | RiskReviewed
PAYMENT_SCREENING = 1  # a payment is screened once


@dataclass(frozen=True, slots=True)
class Screening:
    """One checkout's decision, kept without names."""

    checkout_id: str
    buyer_account: str
    decided_at: datetime
    outcome: Outcome
    rule: Rule
    list_version: str
    score: int
    event_id: EventId

    def hold(self) -> Hold:
        return Hold(
            about="payment",
            subject=self.checkout_id,
            screen_no=PAYMENT_SCREENING,
            rule=self.rule,
            score=self.score,
            list_version=self.list_version,
            buyer_account=self.buyer_account,
            held_at=self.decided_at,
        )


@dataclass(frozen=True, slots=True)
class Found:
    """An entry that the screening of a party was held for."""

    about: About
    subject: str
    screen_no: int
    party: str
    hit: Hit


@dataclass(frozen=True, slots=True)
class KnownParty:
    """An account under one name, for lists that are yet to come. Only the store sees the name, which it seals."""

    party: str
    about: Literal["buyer", "seller"]
    account: str
    name: str = field(repr=False)
    screened: str = ""  # the sanctions lists that the name was screened against


@dataclass(frozen=True, slots=True)
class Party:
    """What sanctions lists say of the buyer of one checkout."""

    party: str
    open: tuple[Hit, ...] = ()  # the nearest first; without those that a person has cleared this party of
    refused: Hit | None = None  # an entry for which a person has refused this party
    is_new: bool = False  # not among the stored parties


Change = Screening | Hold | Review | Found | KnownParty


@dataclass(slots=True)
class Screenings:
    """What is stored about the checkouts of a batch, their buyers and their names; and about screenings under review."""

    decided: dict[str, Screening] = field(default_factory=dict)  # by checkout
    recent: dict[str, int] = field(default_factory=dict)  # by buyer: checkouts within the last hour, this batch's too
    listed: dict[str, str] = field(default_factory=dict)  # name as it was written → the list that holds it
    lists: str = "none"  # the current lists, with their versions
    current: frozenset[str] = frozenset()  # names of the current lists
    sanctions: str = ""  # the current sanctions lists, with their versions
    parties: dict[str, Party] = field(default_factory=dict)  # by checkout, where there are sanctions lists
    holds: dict[HoldKey, Hold] = field(default_factory=dict)
    reviews: dict[HoldKey, Review] = field(default_factory=dict)  # those that count

    def fold(self, change: Change) -> None:
        if isinstance(change, Screening):
            self.decided[change.checkout_id] = change
            self.recent[change.buyer_account] = self.recent.get(change.buyer_account, 0) + 1
        elif isinstance(change, Hold):
            self.holds[change.key] = change
        elif isinstance(change, Review) and change.counts:
            self.reviews[change.key] = change


def decide(state: Screenings, event: Heard, cause: Cause, limits: RiskLimits) -> Decision:
    """A checkout that was screened before gets the same answer again, even if lists or limits have changed.

    Errors: Permanent where a review is about a screening that is not held.
    """
    match event:
        case ScreeningRequested():
            known = state.decided.get(event.checkout_id)
            return _screen(state, event, cause, limits) if known is None else _again(state, known)
        case RiskReviewed():
            key = key_of(event)
            return review(state.holds.get(key), state.reviews.get(key), event, cause)
        case _:
            assert_never(event)


def _screen(state: Screenings, event: ScreeningRequested, cause: Cause, limits: RiskLimits) -> Decision:
    outcome, rule = _first_rule(state, event, limits)
    party = state.parties.get(event.checkout_id)
    screening = Screening(
        checkout_id=event.checkout_id,
        buyer_account=event.buyer_account,
        decided_at=cause.now,
        outcome=outcome,
        rule=rule,
        list_version=_list_version(state, event, rule),
        score=_score(party, outcome, rule),
        event_id=cause.event_id,
    )
    changes: list[Change] = [screening]
    if outcome == "held":
        changes.append(screening.hold())
    if party is not None:
        changes += _of_party(state, event, party, rule if outcome == "held" else "none")
    return Decision(changes, [_answer(screening)], revision=1)


def _score(party: Party | None, outcome: Outcome, rule: Rule) -> int:
    if rule == "near_hit" and party is not None:
        return max(hit.score for hit in (party.refused, *party.open[:1]) if hit is not None)
    return 100 if outcome == "refused" else 0


def _of_party(state: Screenings, event: ScreeningRequested, party: Party, held_by: Rule) -> list[Change]:
    """The entries that a person is asked about, and a buyer of whom later lists shall be asked."""
    changes: list[Change] = []
    if held_by == "near_hit":
        changes += [Found("payment", event.checkout_id, PAYMENT_SCREENING, party.party, hit) for hit in party.open]
    if party.is_new and event.name is not None:
        changes.append(KnownParty(party.party, "buyer", event.buyer_account, event.name, state.sanctions))
    return changes


def _again(state: Screenings, known: Screening) -> Decision:
    """What was said last: by the rules, or by the person who has decided since."""
    hold = known.hold()
    reviewed = state.reviews.get(hold.key) if known.outcome == "held" else None
    return Decision(events=[_answer(known) if reviewed is None else answer(hold, reviewed)], revision=1)


def _first_rule(state: Screenings, event: ScreeningRequested, limits: RiskLimits) -> tuple[Outcome, Rule]:
    for outcome, rule, applies in RULES:
        if applies(state, event, limits):
            return outcome, rule
    return "cleared", "none"


def _is_listed(state: Screenings, event: ScreeningRequested, limits: RiskLimits) -> bool:
    return event.name is not None and event.name in state.listed


def _was_refused(state: Screenings, event: ScreeningRequested, limits: RiskLimits) -> bool:
    party = state.parties.get(event.checkout_id)
    return party is not None and party.refused is not None


def _is_near(state: Screenings, event: ScreeningRequested, limits: RiskLimits) -> bool:
    party = state.parties.get(event.checkout_id)
    return party is not None and bool(party.open)


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
RULES: tuple[tuple[Outcome, Rule, Callable[[Screenings, ScreeningRequested, RiskLimits], bool]], ...] = (
    ("refused", "listed_name", _is_listed),
    ("refused", "near_hit", _was_refused),
    ("refused", "blocked_country", _is_blocked),
    ("refused", "amount_limit", _exceeds_amount_limit),
    ("refused", "velocity_limit", _exceeds_velocity_limit),
    ("held", "near_hit", _is_near),
    ("held", "no_list", _lacks_a_list),
    ("held", "amount_review", _is_for_review),
)


def _list_version(state: Screenings, event: ScreeningRequested, rule: Rule) -> str:
    """The list that holds the name; else all current lists."""
    if rule == "listed_name" and event.name is not None:
        return state.listed[event.name]
    return state.lists


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

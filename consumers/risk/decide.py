"""(what is stored about buyer and name, a screening request) → cleared or refused, by the first rule that applies. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from consumers.risk.settings import RiskLimits
from schemas.envelope import EventId
from schemas.events import RiskCleared, RiskRefused, ScreeningRequested
from schemas.money import exponent
from topics.runtime.shape.consumer import Cause, Decision

Rule = Literal["listed_name", "blocked_country", "amount_limit", "velocity_limit", "none"]


@dataclass(frozen=True, slots=True)
class Screening:
    """One checkout's decision, kept without names."""

    checkout_id: str
    buyer_account: str
    decided_at: datetime
    outcome: Literal["cleared", "refused"]
    rule: Rule
    list_version: str
    score: int
    event_id: EventId


@dataclass(slots=True)
class Screenings:
    """What is stored about the checkouts of a batch, their buyers and their names."""

    decided: dict[str, Screening] = field(default_factory=dict)  # by checkout
    recent: dict[str, int] = field(default_factory=dict)  # by buyer: checkouts within the last hour, this batch's too
    listed: dict[str, str] = field(default_factory=dict)  # name as it was written → the list that holds it
    lists: str = "none"  # the current lists, with their versions

    def fold(self, screening: Screening) -> None:
        self.decided[screening.checkout_id] = screening
        self.recent[screening.buyer_account] = self.recent.get(screening.buyer_account, 0) + 1


def decide(state: Screenings, event: ScreeningRequested, cause: Cause, limits: RiskLimits) -> Decision:
    """A checkout that was screened before gets the same answer again, even if lists or limits have changed."""
    known = state.decided.get(event.checkout_id)
    if known is not None:
        return Decision(events=[_answer(known)], revision=1)
    rule = _first_rule(state, event, limits)
    screening = Screening(
        checkout_id=event.checkout_id,
        buyer_account=event.buyer_account,
        decided_at=cause.now,
        outcome="cleared" if rule == "none" else "refused",
        rule=rule,
        list_version=_list_version(state, event, rule),
        score=0 if rule == "none" else 100,
        event_id=cause.event_id,
    )
    return Decision([screening], [_answer(screening)], revision=1)


def _first_rule(state: Screenings, event: ScreeningRequested, limits: RiskLimits) -> Rule:
    for rule, applies in RULES:
        if applies(state, event, limits):
            return rule
    return "none"


def _is_listed(state: Screenings, event: ScreeningRequested, limits: RiskLimits) -> bool:
    return event.name is not None and event.name in state.listed


def _is_blocked(state: Screenings, event: ScreeningRequested, limits: RiskLimits) -> bool:
    return event.country is not None and event.country in limits.blocked_countries


def _exceeds_amount_limit(state: Screenings, event: ScreeningRequested, limits: RiskLimits) -> bool:
    """Per currency, in its major units; amounts are not converted."""
    most = limits.checkout_amount_max
    return any(total.minor > most[total.currency] * 10 ** exponent(total.currency) for total in event.totals)


def _exceeds_velocity_limit(state: Screenings, event: ScreeningRequested, limits: RiskLimits) -> bool:
    return state.recent.get(event.buyer_account, 0) >= limits.buyer_checkouts_per_hour_max


RULES: tuple[tuple[Rule, Callable[[Screenings, ScreeningRequested, RiskLimits], bool]], ...] = (
    ("listed_name", _is_listed),
    ("blocked_country", _is_blocked),
    ("amount_limit", _exceeds_amount_limit),
    ("velocity_limit", _exceeds_velocity_limit),
)


def _list_version(state: Screenings, event: ScreeningRequested, rule: Rule) -> str:
    """The list that holds the name; else all current lists."""
    if rule == "listed_name" and event.name is not None:
        return state.listed[event.name]
    return state.lists


def _answer(screening: Screening) -> RiskCleared | RiskRefused:
    kind = RiskCleared if screening.outcome == "cleared" else RiskRefused
    return kind(
        checkout_id=screening.checkout_id,
        rule=screening.rule,
        list_version=screening.list_version,
        score=screening.score,
    )

"""(what is known of buyer and name, a screening) → cleared or refused, by the first rule that speaks. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from consumers.risk.settings import RiskLimits
from schemas.envelope import EventId
from schemas.events import RiskCleared, RiskRefused, ScreeningRequested
from schemas.money import exponent
from topics.runtime.shape.consumer import Cause, Decision, State

Rule = Literal["listed_name", "blocked_country", "amount_limit", "velocity_limit", "none"]

LISTS = "lists"  # in the state: the versions that were asked


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

    @property
    def key(self) -> Hashable:
        return self.checkout_id


@dataclass(frozen=True, slots=True)
class BuyerHour:
    """How many checkouts of a buyer were screened within the last hour; counted, never stored."""

    buyer_account: str
    checkouts: int

    @property
    def key(self) -> Hashable:
        return hour_key(self.buyer_account)


@dataclass(frozen=True, slots=True)
class NameHit:
    """A list holds this name."""

    list_version: str


def hour_key(buyer_account: str) -> Hashable:
    return ("hour", buyer_account)


def name_key(name: str) -> Hashable:
    """As the name was written: normalised once, when the batch is loaded."""
    return ("name", name)


def decide(state: State, event: ScreeningRequested, cause: Cause, limits: RiskLimits) -> Decision:
    """A checkout that was screened before gets the same answer again, whatever lists and limits say by now."""
    known: Screening | None = state.get(event.checkout_id)
    if known is not None:
        return Decision(events=[_said(known)], revision=1)
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
    counted = BuyerHour(event.buyer_account, _checkouts(state, event) + 1)
    return Decision([screening, counted], [_said(screening)], revision=1)


def _first_rule(state: State, event: ScreeningRequested, limits: RiskLimits) -> Rule:
    for rule, speaks in RULES:
        if speaks(state, event, limits):
            return rule
    return "none"


def _is_listed(state: State, event: ScreeningRequested, limits: RiskLimits) -> bool:
    return event.name is not None and name_key(event.name) in state


def _is_blocked(state: State, event: ScreeningRequested, limits: RiskLimits) -> bool:
    return event.country is not None and event.country in limits.blocked_countries


def _is_too_much(state: State, event: ScreeningRequested, limits: RiskLimits) -> bool:
    """Per currency, in its own major units: there is no rate between them here."""
    most = limits.checkout_amount_max
    return any(total.minor > most[total.currency] * 10 ** exponent(total.currency) for total in event.totals)


def _is_too_often(state: State, event: ScreeningRequested, limits: RiskLimits) -> bool:
    return _checkouts(state, event) >= limits.buyer_checkouts_per_hour_max


RULES: tuple[tuple[Rule, Callable[[State, ScreeningRequested, RiskLimits], bool]], ...] = (
    ("listed_name", _is_listed),
    ("blocked_country", _is_blocked),
    ("amount_limit", _is_too_much),
    ("velocity_limit", _is_too_often),
)


def _list_version(state: State, event: ScreeningRequested, rule: Rule) -> str:
    """The list that holds the name; else all that were asked, since none did."""
    if rule == "listed_name" and event.name is not None:
        hit: NameHit = state[name_key(event.name)]
        return hit.list_version
    asked: str = state[LISTS]
    return asked


def _checkouts(state: State, event: ScreeningRequested) -> int:
    hour: BuyerHour | None = state.get(hour_key(event.buyer_account))
    return 0 if hour is None else hour.checkouts


def _said(screening: Screening) -> RiskCleared | RiskRefused:
    kind = RiskCleared if screening.outcome == "cleared" else RiskRefused
    return kind(
        checkout_id=screening.checkout_id,
        rule=screening.rule,
        list_version=screening.list_version,
        score=screening.score,
    )

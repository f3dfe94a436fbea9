"""What is stored about the screenings of a batch: decisions, the names' parties, holds and their reviews."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeVar

from consumers.risk.parties import Found, KnownParty, Named, Party
from consumers.risk.reviewing import Hold, HoldKey, Review
from consumers.risk.settings import RiskLimits
from schemas.envelope import EventId

Outcome = Literal["cleared", "refused", "held"]
Rule = Literal[
    "listed_name",
    "near_hit",
    "blocked_country",
    "amount_limit",
    "velocity_limit",
    "no_list",
    "no_name",
    "amount_review",
    "none",
]
PAYMENT_SCREENING = 1  # a payment is screened once


def payment_key(checkout_id: str) -> HoldKey:
    return HoldKey("payment", checkout_id, PAYMENT_SCREENING)


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

    @property
    def key(self) -> HoldKey:
        return payment_key(self.checkout_id)

    def hold(self) -> Hold:
        return Hold(
            *self.key,
            rule=self.rule,
            score=self.score,
            list_version=self.list_version,
            buyer_account=self.buyer_account,
            seller_account=None,
            held_at=self.decided_at,
        )


@dataclass(frozen=True, slots=True)
class PayoutScreening:
    """Risk's first decision on one screening of a pay-out, kept without the name."""

    payout_id: str
    screen_no: int
    seller_account: str
    party: str | None  # None: no name, or no sanctions list
    decided_at: datetime
    outcome: Outcome
    rule: Rule
    list_version: str
    score: int
    event_id: EventId

    @property
    def key(self) -> HoldKey:
        return HoldKey("payout", self.payout_id, self.screen_no)


Change = Screening | PayoutScreening | Hold | Review | Found | KnownParty


@dataclass(slots=True)
class Screenings:
    """What is stored about the payments and pay-outs of a batch and their names; and about screenings under review."""

    decided: dict[str, Screening] = field(default_factory=dict)  # by checkout
    payouts: dict[HoldKey, PayoutScreening] = field(default_factory=dict)
    recent: dict[str, int] = field(default_factory=dict)  # by buyer: checkouts within the last hour, this batch's too
    listed: dict[str, str] = field(default_factory=dict)  # name as it was written → the list that holds it
    lists: str = "none"  # the current lists, with their versions
    current: frozenset[str] = frozenset()  # names of the current lists
    sanctions: str = ""  # the current sanctions lists, with their versions
    named: dict[HoldKey, Named] = field(default_factory=dict)  # screenings whose party has a name
    parties: dict[HoldKey, Party] = field(default_factory=dict)  # of those, where there are sanctions lists
    holds: dict[HoldKey, Hold] = field(default_factory=dict)
    reviews: dict[HoldKey, Review] = field(default_factory=dict)  # those that count

    def fold(self, change: Change) -> None:
        if isinstance(change, Screening):
            self.decided[change.checkout_id] = change
            self.recent[change.buyer_account] = self.recent.get(change.buyer_account, 0) + 1
        elif isinstance(change, PayoutScreening):
            self.payouts[change.key] = change
        elif isinstance(change, Hold):
            self.holds[change.key] = change
        elif isinstance(change, Review) and change.counts:
            self.reviews[change.key] = change

    def listed_in(self, key: HoldKey) -> str | None:
        """The list of names that holds this party's name."""
        named = self.named.get(key)
        return None if named is None else self.listed.get(named.name)

    def is_near(self, key: HoldKey) -> bool:
        """Whether there is an entry near this party's name that no person has decided about."""
        party = self.parties.get(key)
        return party is not None and bool(party.open)

    def was_refused(self, key: HoldKey) -> bool:
        """Whether a person has refused this party for an entry that still says the same."""
        party = self.parties.get(key)
        return party is not None and party.refused is not None

    def list_version(self, key: HoldKey, rule: Rule) -> str:
        """The list that holds the name; else all current lists."""
        return (self.listed_in(key) if rule == "listed_name" else None) or self.lists

    def score(self, key: HoldKey, outcome: Outcome, rule: Rule) -> int:
        if rule == "near_hit":
            return self.parties[key].score
        return 100 if outcome == "refused" else 0

    def of_party(self, key: HoldKey, outcome: Outcome, rule: Rule) -> list[Found | KnownParty]:
        """The entries that a person is asked about, and a party of which later lists shall be asked."""
        party = self.parties.get(key)
        if party is None:
            return []
        asked = party.open if (outcome, rule) == ("held", "near_hit") else ()
        found = [Found(key, party.party, hit) for hit in asked]
        return [*found, KnownParty(party.party, *self.named[key], self.sanctions)] if party.is_new else [*found]


E = TypeVar("E")
Rules = Sequence[tuple[Outcome, Rule, Callable[[Screenings, E, RiskLimits], bool]]]  # in order of precedence


def first_rule(rules: Rules[E], state: Screenings, event: E, limits: RiskLimits) -> tuple[Outcome, Rule]:
    applying = ((outcome, rule) for outcome, rule, applies in rules if applies(state, event, limits))
    return next(applying, ("cleared", "none"))

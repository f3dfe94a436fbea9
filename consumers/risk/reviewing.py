"""(screenings that are held, a person's review of one) → what that screening comes to. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from schemas.envelope import EventId
from schemas.errors import Permanent
from schemas.events import RiskCleared, RiskDecided, RiskRefused, RiskReviewed
from schemas.payouts import PayoutRiskCleared, PayoutRiskDecided, PayoutRiskHeld, PayoutRiskRefused
from topics.runtime.shape.consumer import Cause, Decision

About = Literal["payment", "buyer", "payout", "seller"]
REVISIONS = 4  # decisions of one screening of a pay-out at most: its first, a hold by a new list, a review, and what undoes that


class HoldKey(NamedTuple):
    """One screening of a payment, buyer, pay-out or seller; `screen_no` counts them from 1."""

    about: About
    subject: str
    screen_no: int


@dataclass(frozen=True, slots=True)
class Hold:
    """A screening that a person must decide. Kept for ever, without the name that was screened."""

    about: About
    subject: str
    screen_no: int
    rule: str
    score: int
    list_version: str
    buyer_account: str | None  # of a payment or buyer
    seller_account: str | None  # of a pay-out or seller
    held_at: datetime

    @property
    def key(self) -> HoldKey:
        return HoldKey(self.about, self.subject, self.screen_no)


@dataclass(frozen=True, slots=True)
class Review:
    """What a person decided about a screening. The first one of a screening counts; later ones are kept."""

    event_id: EventId
    about: About
    subject: str
    screen_no: int
    decision: Literal["clear", "refuse"]
    actor: str
    reason: str
    reviewed_at: datetime
    counts: bool

    @property
    def key(self) -> HoldKey:
        return HoldKey(self.about, self.subject, self.screen_no)


def key_of(event: RiskReviewed) -> HoldKey:
    return HoldKey(event.about, event.subject, event.screen_no)


def review(hold: Hold | None, counted: Review | None, event: RiskReviewed, cause: Cause) -> Decision:
    """Errors: Permanent where no such screening is held: the door asks before it takes a review."""
    if hold is None:
        raise Permanent("unknown_screening", f"no screening {event.screen_no} of {event.about} {event.subject} is held")
    made = Review(
        event_id=cause.event_id,
        about=event.about,
        subject=event.subject,
        screen_no=event.screen_no,
        decision=event.decision,
        actor=event.actor,
        reason=event.reason,
        reviewed_at=cause.now,
        counts=counted is None,
    )
    if not made.counts or hold.about in ("buyer", "seller"):
        return Decision([made])
    if hold.about == "payout":
        return Decision([made], [payout_answer(hold, made)], revision=revision(hold.key, 3))
    return Decision([made], [answer(hold, made)], revision=REVIEWED)


def revision(key: HoldKey, step: int) -> int:
    return REVISIONS * (key.screen_no - 1) + step


REVIEWED = 2  # revision of a checkout's second decision: the first one held it


def answer(hold: Hold, made: Review) -> RiskDecided:
    """The decision about a payment that was held, in the reviewer's name."""
    kind = RiskCleared if made.decision == "clear" else RiskRefused
    return kind(
        checkout_id=hold.subject,
        rule=hold.rule,
        list_version=hold.list_version,
        score=hold.score,
        actor=made.actor,
    )


def payout_answer(hold: Hold, made: Review | None) -> PayoutRiskDecided:
    """The decision about a pay-out's screening that was held: a person's once it is there.

    Who clears a near name clears it of the entries shown. So that answer is as old as the screening: where it is too old for a
    release, the lists of then are asked, and what the person has cleared is not asked again.
    """
    kind: type[PayoutRiskDecided] = PayoutRiskHeld
    if made is not None:
        kind = PayoutRiskCleared if made.decision == "clear" else PayoutRiskRefused
    return kind(
        payout_id=hold.subject,
        screen_no=hold.screen_no,
        rule=hold.rule,
        list_version=hold.list_version,
        score=hold.score,
        actor="risk" if made is None else made.actor,
        decided_at=hold.held_at if made is None or hold.rule == "near_hit" else made.reviewed_at,
    )

"""(screenings that are held, a person's review of one) → what that screening comes to. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from schemas.envelope import EventId
from schemas.errors import Permanent
from schemas.events import RiskCleared, RiskDecided, RiskRefused, RiskReviewed
from topics.runtime.shape.consumer import Cause, Decision

About = Literal["payment", "buyer"]


class HoldKey(NamedTuple):
    """One screening of a payment or buyer; `screen_no` counts them from 1."""

    about: About
    subject: str
    screen_no: int


@dataclass(frozen=True, slots=True)
class Hold:
    """A screening that a person must decide. Kept for ever, without the buyer's name."""

    about: About
    subject: str
    screen_no: int
    rule: str
    score: int
    list_version: str
    buyer_account: str
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
    if not made.counts or hold.about != "payment":
        return Decision([made])
    return Decision([made], [answer(hold, made)], revision=REVIEWED)


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

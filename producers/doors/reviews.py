"""A person's review of a held screening → an event for risk, in one transaction with nothing else; then on Kafka.

The event's id follows from what it says, so the same review sent again is the same event, and risk drops it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, LiteralString

from producers.doors.records import record_of
from producers.source import SOURCE
from schemas.envelope import EventId, derive_id
from schemas.events import RiskReviewed
from topics.runtime.outbox import outbox
from topics.runtime.outbox.outbox import Row
from topics.runtime.shape.consumer import Connection

About = Literal["payment", "buyer", "payout", "seller"]

# What a reviewer is shown of a screening, from risk's views.
HELD: LiteralString = (
    "SELECT about, subject, screen_no, rule, score, list_version, buyer_account, seller_account, held_at, decision, actor,"
    " reason, reviewed_at, hits FROM hold_view"
)
ONE_HELD: LiteralString = HELD + " WHERE about = %s AND subject = %s AND screen_no = %s"


@dataclass(frozen=True, slots=True)
class ReviewSubmission:
    """A review, and when its screening was held: every process derives the same event from it."""

    about: About
    subject: str
    screen_no: int
    decision: Literal["clear", "refuse"]
    actor: str
    reason: str
    held_at: datetime

    def ids(self) -> list[EventId]:
        return [self.event_id]

    @property
    def event_id(self) -> EventId:
        cause = "|".join(("review", self.about, self.subject, str(self.screen_no), self.decision, self.actor))
        return derive_id(f"{cause}|{self.reason}", SOURCE, 0, int(self.held_at.timestamp() * 1000))

    def event(self) -> RiskReviewed:
        return RiskReviewed(
            about=self.about,
            subject=self.subject,
            screen_no=self.screen_no,
            decision=self.decision,
            actor=self.actor,
            reason=self.reason,
        )


def claim(
    conn: Connection, batch: Sequence[ReviewSubmission], now: datetime
) -> tuple[Sequence[None], Callable[[], list[Row]]]:
    return [None] * len(batch), outbox.insert(conn, [record_of(asked.event(), asked.event_id, now) for asked in batch])

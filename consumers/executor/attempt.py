"""One order's charge at one PSP as it stands, and what its call's row says of the last act."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from schemas.events import OrderPlaced

AttemptState = Literal[
    "calling", "unknown", "pending", "unresolved", "authorised", "captured", "declined", "voided", "expired"
]
UNDECIDED: tuple[AttemptState, ...] = ("calling", "unknown", "pending", "unresolved")

NO_PSP = "none"  # the order was declined before a PSP was called


@dataclass(frozen=True, slots=True)
class Attempt:
    """`unknown` lasts until the PSP has said yes or no, through every ask and every send that follows; `pending`, in
    which nothing is sent any more, likewise. After a failover it is the attempt at the next PSP. `authorised`, `voided`
    and `expired` are of orders that are captured later.
    """

    placed: OrderPlaced
    attempt_no: int
    call_id: str
    psp: str
    state: AttemptState
    cause_event_id: str
    created_at: datetime
    changed_at: datetime
    revision: int = 1
    refusals: int = 0  # sends that proved to have done nothing: the rung of the send ladder
    asks: int = 0  # questions without an answer since the last send: the rung of the ask ladder
    scheme: str | None = None
    psp_reference: str | None = None
    code: str | None = None
    outcome_event_id: str | None = None
    expires_at: datetime | None = None  # of an authorisation: until then it can be captured
    operations: int = 0  # rows of `operations` and `disputes` behind it: where there are none, none are read

    @property
    def key(self) -> str:
        return self.placed.payment_order_id

    @property
    def open(self) -> bool:
        return self.state in ("calling", "unknown", "pending")

    @property
    def undecided(self) -> bool:
        return self.state in UNDECIDED

    @property
    def manual(self) -> bool:
        return self.placed.capture == "manual"

    def evolve(self, now: datetime, **changes: object) -> Attempt:
        return replace(self, revision=self.revision + 1, changed_at=now, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class CallFacts:
    """The call's row. `first_sent_at` is business time; `acted_at` and `sent_until` are the database's."""

    act_no: int
    ever_unknown: bool  # a send ended without our knowing whether it acted
    first_sent_at: datetime | None
    acted_at: datetime | None  # when the act that came back was begun
    sent_until: datetime | None  # after this none of its sends can have left us
    subject: str
    psp: str
    traceparent: str | None = None  # of the order

    def settles_in_s(self, settling_s: float) -> float:
        """How long before "not there" is proof, seen from the beginning of the act; not positive where it is."""
        assert self.acted_at is not None, "what came back was begun"
        assert self.sent_until is not None, "we ask only after a send"
        return (self.sent_until + timedelta(seconds=settling_s) - self.acted_at).total_seconds()


def key_expired(first_sent_at: datetime | None, now: datetime, key_life_s: float, margin_s: float) -> bool:
    """Whether the PSP may have forgotten the key: sending it again could be a second charge."""
    return first_sent_at is not None and (now - first_sent_at).total_seconds() >= key_life_s - margin_s

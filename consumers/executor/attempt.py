"""The state of one order's charge at one PSP, and the facts of its call that decisions need."""

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
    """The state of an order's charge. After a failover the same attempt is continued at the next PSP.

    `unknown` and `pending` last until the PSP has said yes or no: through each question and, for `unknown`, each send
    that follows. Orders with manual capture alone become `authorised`, `voided` or `expired`.
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
    expires_at: datetime | None = (
        None  # of an authorisation, which can be captured until then; of the page of a pending charge
    )
    operations: int = 0  # number of its rows in `operations` and `disputes`: with 0 these tables are not read

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
    def hosted(self) -> bool:
        """Whether the buyer pays on a page of the PSP's."""
        return self.placed.return_url is not None

    @property
    def manual(self) -> bool:
        return self.placed.capture == "manual"

    def evolve(self, now: datetime, **changes: object) -> Attempt:
        return replace(self, revision=self.revision + 1, changed_at=now, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What a decision needs of the call's row. `first_sent_at` is business time; `acted_at` and `sent_until` are the
    database's.
    """

    act_no: int
    ever_unknown: bool  # a send ended without a reply that says whether it took effect
    first_sent_at: datetime | None
    acted_at: datetime | None  # when the act that is answered was begun
    sent_until: datetime | None  # after this time no send of the call can leave this installation
    subject: str
    psp: str
    traceparent: str | None = None  # of the order

    def settles_in_s(self, settling_s: float) -> float:
        """Seconds from the beginning of the act until the reply "no such charge" is proof; zero or less: it is proof."""
        assert self.acted_at is not None, "an act that is answered was begun"
        assert self.sent_until is not None, "we ask only after a send"
        return (self.sent_until + timedelta(seconds=settling_s) - self.acted_at).total_seconds()


def key_expired(first_sent_at: datetime | None, now: datetime, key_life_s: float, margin_s: float) -> bool:
    """Whether the PSP may have forgotten the key: sending it again could be a second charge."""
    return first_sent_at is not None and (now - first_sent_at).total_seconds() >= key_life_s - margin_s

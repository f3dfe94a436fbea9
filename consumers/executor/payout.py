"""The state of one pay-out at its provider, and the facts of its calls that decisions need."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from consumers.executor.attempt import CallFacts
from consumers.executor.operation import NO_CHECK, Check, check_id
from schemas.envelope import digest
from schemas.money import Money
from schemas.payouts import PayoutReady
from topics.runtime.shape.consumer import Act, CallKind

PayoutState = Literal[
    "calling", "unknown", "unresolved", "not_sent", "submitted", "paid", "rejected", "failed", "returned"
]
UNDECIDED: tuple[PayoutState, ...] = ("calling", "unknown", "unresolved")
Resolution = Literal["asked", "believed", "refused"]


@dataclass(frozen=True, slots=True)
class Payout:
    """A pay-out in its present release. Releases before it have surely sent nothing.

    `turn` is 2 or more if the provider has paid, or will pay, what it had rejected, failed or returned before.
    """

    ready: PayoutReady
    call_id: str
    state: PayoutState
    cause_event_id: str
    created_at: datetime
    changed_at: datetime
    turn: int = 1
    withdrawn: bool = False  # the release is not sent once more, whatever its send proves to have done
    refusals: int = 0  # sends that proved to have done nothing: the rung of the send ladder
    asks: int = 0  # questions since the last send without an answer, or since it was submitted: the rung of the ladder
    code: str | None = None
    provider_reference: str | None = None
    named_by_persons: bool = False  # that reference: the provider has not named one yet
    resolution: Resolution | None = None  # of two persons' "failed": the provider is asked first
    resolution_code: str | None = None  # why it was refused: the state that the provider's own word stands for
    returned_minor: int | None = None
    outcome_event_id: str | None = None
    outcome_place: int | None = None
    revision: int = 1
    check: Check = NO_CHECK

    @property
    def key(self) -> str:
        return self.ready.payout_id

    @property
    def amount(self) -> Money:
        """In the wallet's currency."""
        return self.ready.amount

    @property
    def sent(self) -> Money:
        """What the provider is told to send."""
        return self.ready.sent

    @property
    def undecided(self) -> bool:
        return self.state in UNDECIDED

    @property
    def check_id(self) -> str:
        return check_id(self.call_id, self.check.number)

    def evolve(self, now: datetime, **changes: object) -> Payout:
        return replace(self, revision=self.revision + 1, changed_at=now, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class PayoutCallFacts(CallFacts):
    """What decisions need of a pay-out's call besides: its row is locked, so nobody leases it meanwhile."""

    state: str = "due"
    act: Act = "send"
    kind: CallKind = "payout"

    @property
    def is_to_be_sent(self) -> bool:
        return self.state == "due" and self.act == "send"

    @property
    def surely_unsent(self) -> bool:
        return self.is_to_be_sent and not self.ever_unknown

    @property
    def lives(self) -> bool:
        return self.state != "ended"


def call_id_of(payout_id: str, release_no: int) -> str:
    """32 hex digits: the idempotency key and our reference at the provider."""
    return digest(b"payout", payout_id.encode(), b"%d" % release_no).replace("-", "")

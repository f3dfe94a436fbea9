"""What payments keeps of captures, voids, refunds and disputes: who asked, where each stands, what is booked of it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple

from schemas.envelope import EventId
from schemas.events import OperationKind
from schemas.money import Money
from schemas.money_back import DisputeStatus

OperationDetail = Literal["", "unknown", "pending", "unresolved"]


def step_of(turn: int | None, *, taken_back: bool = False) -> int:
    """Facts about an operation, counted: done is 1, taken back 2, done again 3, and so on."""
    return 2 * (turn or 1) - (0 if taken_back else 1)


class Operation(NamedTuple):
    """A capture, void or refund behind a charge. An automatic capture has a row only once it is taken back.

    `step` is the last fact that the executor said (`step_of`; 0: none), `wallet_step` and `ledger_step` the last that each
    has booked. Either may be ahead: their topics keep no order between each other.
    """

    kind: OperationKind
    operation_id: str
    checkout_id: str
    payment_order_id: str
    owner: str
    currency: str
    amount: int | None  # minor units; of a void: None before it is done
    requested_at: datetime
    changed_at: datetime
    event_id: EventId  # of the request; of an automatic capture, of the first event about it
    contents: str | None = None  # keyed hash of what was asked; None: nobody asked
    final: bool | None = None
    reason: str | None = None
    status: Literal["processing", "succeeded", "failed", "reversed"] = "processing"
    detail: OperationDetail = ""
    code: str | None = None  # why it failed
    fee: int | None = None  # its share, of the turn that was done last
    net: int | None = None
    done_at: datetime | None = None  # when it was done last
    step: int = 0
    wallet_step: int = 0
    ledger_step: int = 0
    version: int = 1

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.operation_id

    @property
    def money(self) -> Money | None:
        return None if self.amount is None else Money(self.amount, self.currency)

    @property
    def taken(self) -> int:
        """How much of the order it takes, done or not."""
        return 0 if self.amount is None or self.status in ("failed", "reversed") else self.amount

    @property
    def done(self) -> int:
        return 0 if self.amount is None or self.status != "succeeded" else self.amount

    @property
    def is_booked(self) -> bool:
        return self.wallet_step >= self.step and self.ledger_step >= self.step


class Dispute(NamedTuple):
    """One stage of a dispute. Status None: only wallet or ledger have spoken of it yet. Steps as those of an operation:
    opened is 1, won 2."""

    dispute_id: str
    stage: int
    checkout_id: str
    payment_order_id: str
    owner: str
    currency: str
    amount: int
    opened_at: datetime
    changed_at: datetime
    status: DisputeStatus | None = None
    fee: int | None = None  # what the PSP asks for it
    reason: str = ""
    due_by: datetime | None = None
    step: int = 0
    wallet_step: int = 0
    ledger_step: int = 0
    version: int = 1

    @property
    def key(self) -> tuple[str, int]:
        return self.dispute_id, self.stage

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)

    @property
    def takes(self) -> int:
        """What it takes from the order: opened or lost."""
        return self.amount if self.status in ("opened", "lost") else 0


class Authorisation(NamedTuple):
    """The PSP keeps the money of a manual order for us. Written once."""

    payment_order_id: str
    checkout_id: str
    psp: str
    scheme: str
    psp_reference: str
    authorised_at: datetime
    expires_at: datetime


class OperationStep(NamedTuple):
    """A line of an order's history of money back: an operation or a dispute went from one status to another."""

    checkout_id: str
    payment_order_id: str
    what: Literal["capture", "void", "refund", "dispute"]
    subject_id: str  # of the operation or the dispute
    from_status: str | None
    to_status: str
    detail: str
    at: datetime
    event_id: EventId


class OperationRefusal(NamedTuple):
    """A request for a capture, void or refund that was not taken: kept, so that no request is without a trace."""

    kind: OperationKind
    operation_id: str
    checkout_id: str
    payment_order_id: str
    owner: str
    code: str
    detail: str
    at: datetime
    event_id: EventId

"""The state that payments keeps of captures, voids, refunds and disputes: request, status, bookings."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple

from schemas.envelope import EventId
from schemas.events import OperationKind
from schemas.money import Money
from schemas.money_back import DisputeStatus

OperationDetail = Literal["", "unknown", "pending", "unresolved"]


def step_of(turn: int | None, *, taken_back: bool = False) -> int:
    """The number of a fact about an operation: done is 1, reversed 2, done again 3, and so on."""
    return 2 * (turn or 1) - (0 if taken_back else 1)


class Operation(NamedTuple):
    """A capture, void or refund. An automatic capture has a row only once it was reversed.

    `step` is the number of the executor's last fact (`step_of`; 0: none), `wallet_step` and `ledger_step` that of the last
    fact that each has booked. Any of them may be ahead, since there is no order between topics.
    """

    kind: OperationKind
    operation_id: str
    checkout_id: str
    payment_order_id: str
    owner: str
    currency: str
    amount: int | None  # minor units; None for a void that is not done
    requested_at: datetime
    changed_at: datetime
    event_id: EventId  # of the request; for an automatic capture, of the first event about it
    contents: str | None = None  # keyed hash of the request; None if there was none
    final: bool | None = None
    reason: str | None = None
    status: Literal["processing", "succeeded", "failed", "reversed"] = "processing"
    detail: OperationDetail = ""
    code: str | None = None  # why the operation failed
    fee: int | None = None  # its share of the order's fee, of the turn that was done last
    net: int | None = None
    done_at: datetime | None = None  # the last time
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
        """The amount that the operation takes of the order, done or not."""
        return 0 if self.amount is None or self.status in ("failed", "reversed") else self.amount

    @property
    def done(self) -> int:
        return 0 if self.amount is None or self.status != "succeeded" else self.amount

    @property
    def is_booked(self) -> bool:
        return self.wallet_step >= self.step and self.ledger_step >= self.step


class Dispute(NamedTuple):
    """One stage of a dispute. Status None: only a booking of wallet or ledger was consumed yet. Steps as an operation's:
    opened is 1, won 2.
    """

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
    fee: int | None = None  # the PSP's fee for the dispute
    fee_currency: str | None = None  # not always the order\'s
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
        """The amount that the dispute takes from the order: that of an opened or lost one."""
        return self.amount if self.status in ("opened", "lost") else 0


class Authorisation(NamedTuple):
    """An authorised charge of an order with manual capture. Written once."""

    payment_order_id: str
    checkout_id: str
    psp: str
    scheme: str
    psp_reference: str
    authorised_at: datetime
    expires_at: datetime


class OperationStep(NamedTuple):
    """A line of an order's history: a change of status of an operation or dispute."""

    checkout_id: str
    payment_order_id: str
    what: Literal["capture", "void", "refund", "dispute"]
    subject_id: str  # the id of the operation or dispute
    from_status: str | None
    to_status: str
    detail: str
    at: datetime
    event_id: EventId


class OperationRefusal(NamedTuple):
    """A refused request for a capture, void or refund, kept so that every request leaves a trace."""

    kind: OperationKind
    operation_id: str
    checkout_id: str
    payment_order_id: str
    owner: str
    code: str
    detail: str
    at: datetime
    event_id: EventId

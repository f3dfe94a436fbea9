"""What lies behind a charge as it stands: captures, voids and refunds in the order of their queue, and disputes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from schemas.envelope import digest

AnyKind = Literal["charge", "capture", "void", "refund"]
OperationState = Literal["waiting", "calling", "unknown", "pending", "unresolved", "done", "failed", "reversed"]
DisputeState = Literal["waiting", "orphaned", "inquiry", "opened", "won", "lost"]
Checking = Literal["open", "again", "unanswered"]
OperationKey = tuple[AnyKind, str]
DisputeKey = tuple[str, int]

OPEN: tuple[OperationState, ...] = ("calling", "unknown", "pending", "unresolved")
CHARGE_SEQ = 0  # the charge's own row, where it has one; operations are numbered from 1


@dataclass(frozen=True, slots=True)
class Check:
    """Questions about something that was settled and of which the PSP says otherwise.

    `again`: the PSP told more of it while a question was out, whose answer may be the older word.
    """

    number: int = 0
    state: Checking | None = None
    asks: int = 0  # questions of this check without an answer: the rung of its ladder

    @property
    def open(self) -> bool:
        return self.state in ("open", "again")


NO_CHECK = Check()


@dataclass(frozen=True, slots=True)
class Operation:
    """A capture, void or refund. An automatic capture, or a charge that is asked about after its end, has `seq` 0.

    `amount_minor` is in the order's currency; of a void it is what was released, 0 before. `fee_minor` is the share of its
    present turn.
    """

    kind: AnyKind
    operation_id: str
    payment_order_id: str
    seq: int
    amount_minor: int
    final: bool
    state: OperationState
    call_id: str
    psp: str
    cause_event_id: str
    placed_at: datetime
    changed_at: datetime
    fee_minor: int = 0
    turn: int = 1
    refusals: int = 0
    asks: int = 0
    code: str | None = None
    psp_reference: str | None = None
    outcome_event_id: str | None = None
    outcome_place: int | None = None
    revision: int = 1
    check: Check = NO_CHECK

    @property
    def key(self) -> OperationKey:
        return self.kind, self.operation_id

    @property
    def open(self) -> bool:
        """It was called, and the PSP has not said yes or no."""
        return self.state in OPEN

    @property
    def is_charge(self) -> bool:
        return self.seq == CHARGE_SEQ

    @property
    def check_id(self) -> str:
        return check_id(self.call_id, self.check.number)

    def evolve(self, now: datetime, **changes: object) -> Operation:
        return replace(self, revision=self.revision + 1, changed_at=now, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Dispute:
    """One stage of a dispute about a charge. `fee_minor` is the share of the order's fee that went back with it.

    `waiting` for a capture, or `orphaned` where the charge has ended without one.
    """

    psp: str
    dispute_reference: str
    stage: int
    payment_order_id: str
    state: DisputeState
    amount_minor: int
    reason: str
    cause_event_id: str
    placed_at: datetime
    changed_at: datetime
    told: tuple[str, ...] = ()  # while it waits for a capture: the notifications so far, as JSON
    fee_minor: int = 0
    dispute_fee_minor: int | None = None  # what the PSP asks for it
    dispute_fee_currency: str | None = None
    due_by: datetime | None = None
    outcome_event_id: str | None = None
    outcome_place: int | None = None
    revision: int = 1
    check: Check = NO_CHECK

    @property
    def key(self) -> DisputeKey:
        return self.dispute_reference, self.stage

    @property
    def dispute_id(self) -> str:
        return dispute_id(self.psp, self.dispute_reference)

    @property
    def check_id(self) -> str:
        return check_id(f"{self.dispute_id}.{self.stage}", self.check.number)

    def evolve(self, now: datetime, **changes: object) -> Dispute:
        return replace(self, revision=self.revision + 1, changed_at=now, **changes)  # type: ignore[arg-type]


Checked = Operation | Dispute


def call_id_of(kind: AnyKind, payment_order_id: str, operation_id: str) -> str:
    """32 hex digits: idempotency key and reference at the PSP."""
    return _hex(kind.encode(), payment_order_id.encode(), operation_id.encode())


def check_id(about: str, number: int) -> str:
    """The call that asks about something settled, for the `number`th time."""
    return _hex(b"check", about.encode(), b"%d" % number)


def dispute_id(psp: str, dispute_reference: str) -> str:
    """Ours: the same through all stages."""
    return "dp_" + _hex(psp.encode(), dispute_reference.encode())[:24]


def automatic_id(payment_order_id: str) -> str:
    """The operation id of a charge that took the money itself, or of the charge alone."""
    return f"auto~{payment_order_id}"


def _hex(*parts: bytes) -> str:
    return digest(*parts).replace("-", "")

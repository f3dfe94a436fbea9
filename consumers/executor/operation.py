"""The state of a charge's captures, voids and refunds, in the order of their queue, and of its disputes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from schemas.envelope import digest

AnyKind = Literal["charge", "capture", "void", "refund"]
OperationState = Literal["waiting", "calling", "unknown", "pending", "unresolved", "done", "failed", "reversed"]
DisputeState = Literal["waiting", "orphaned", "inquiry", "opened", "won", "lost"]
Checking = Literal["open", "again", "confirming", "unanswered", "contradicted"]
OperationKey = tuple[AnyKind, str]
DisputeKey = tuple[str, int]

OPEN: tuple[OperationState, ...] = ("calling", "unknown", "pending", "unresolved")
DECLARED = (
    "declared_by_operators"  # the code of what two persons have set aside: its PSP says otherwise, and is not asked
)
CHARGE_SEQ = 0  # of the charge's own row, if it has one, and of an automatic capture; operations are numbered from 1


@dataclass(frozen=True, slots=True)
class Check:
    """Questions to the PSP about a settled outcome that it contradicts. Of something unresolved: about the "failed" of two
    persons, which is believed only after them.

    `again`: the PSP told more while a question was open, so the answer to that question may be older.
    `confirming`: two persons have said yes, or a settlement file says otherwise; without an answer all stays as it is.
    `contradicted`: the answer cannot be applied; a person has a dead letter of it.
    """

    number: int = 0
    state: Checking | None = None
    asks: int = 0  # questions without an answer: the rung of the check's ladder

    @property
    def open(self) -> bool:
        return self.state in ("open", "again", "confirming")


NO_CHECK = Check()


@dataclass(frozen=True, slots=True)
class Operation:
    """A capture, void or refund. The charge's own row has `seq` 0: an automatic capture, or a charge that a check asks about.

    `amount_minor` is in the order's currency; a void's is the released amount, 0 until the void is done. `fee_minor` is the
    share of the fee in the present turn.
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
    named_by_persons: bool = (
        False  # that reference; of the charge's own row the attempt's, too: the PSP has named none yet
    )
    outcome_event_id: str | None = None
    outcome_place: int | None = None
    revision: int = 1
    check: Check = NO_CHECK

    @property
    def key(self) -> OperationKey:
        return self.kind, self.operation_id

    @property
    def open(self) -> bool:
        """Whether its call was made and the PSP has not said yes or no."""
        return self.state in OPEN

    @property
    def is_charge(self) -> bool:
        return self.seq == CHARGE_SEQ

    @property
    def check_id(self) -> str:
        return check_id(self.call_id, self.check.number)

    @property
    def check_ids(self) -> tuple[str, ...]:
        """All that were ever made: the PSP's word may end a check whose answer is under way."""
        return tuple(check_id(self.call_id, number) for number in range(1, self.check.number + 1))

    def evolve(self, now: datetime, **changes: object) -> Operation:
        return replace(self, revision=self.revision + 1, changed_at=now, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Dispute:
    """One stage of a dispute about a charge. `fee_minor` is the share of the order's fee that was returned with it.

    `waiting`: for the capture. `orphaned`: the charge has ended without a capture.
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
    told: tuple[str, ...] = ()  # notifications as JSON, while the dispute waits for its capture
    fee_minor: int = 0
    dispute_fee_minor: int | None = None  # the PSP's fee for the dispute
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
    """32 hex digits: the idempotency key and our reference at the PSP."""
    return _hex(kind.encode(), payment_order_id.encode(), operation_id.encode())


def check_id(about: str, number: int) -> str:
    """The id of the call of check `number` about an operation or dispute."""
    return _hex(b"check", about.encode(), b"%d" % number)


def dispute_id(psp: str, dispute_reference: str) -> str:
    """Our id of a dispute, the same through all its stages."""
    return "dp_" + _hex(psp.encode(), dispute_reference.encode())[:24]


def automatic_id(payment_order_id: str) -> str:
    """The operation id of the charge's own row."""
    return f"auto~{payment_order_id}"


def _hex(*parts: bytes) -> str:
    return digest(*parts).replace("-", "")

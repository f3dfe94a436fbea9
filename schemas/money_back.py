"""The events of money back: captures and voids of a charge, refunds, disputes, and their reversals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from pydantic import ConfigDict, Field

from schemas.events import ChargeOutcome, Event, OperationKind, Terms, WalletMoved, part_of
from schemas.ids import CheckoutId, OperationId, Owner, PaymentOrderId, SellerAccount
from schemas.money import Money
from schemas.parts import PART

OperationStatus = Literal["received", "processing", "succeeded", "failed", "reversed", "refused"]
DisputeStatus = Literal["inquiry", "opened", "won", "lost"]


# ── payments: what is to be done, and what has become of it ──────────────────────────────────────────────────────────


class OperationPlaced(Event):
    """What is to be done behind a charge, in the order's queue."""

    keyed_by: ClassVar[str] = "payment_order_id"
    payment_order_id: PaymentOrderId
    checkout_id: CheckoutId


class CapturePlaced(OperationPlaced):
    """Take this much of what is authorised. `final`: what is left is given up."""

    capture_id: OperationId
    amount: Money
    final: bool | None = None

    def money(self) -> tuple[Money, ...]:
        return (self.amount,)


class VoidPlaced(OperationPlaced):
    """Give up what is authorised and not captured."""

    void_id: OperationId


class RefundPlaced(OperationPlaced):
    """Give this much back to the buyer."""

    refund_id: OperationId
    amount: Money

    def money(self) -> tuple[Money, ...]:
        return (self.amount,)


class OperationStatusChanged(Event):
    """Where a capture, void or refund stands. A void has no amount before it is done."""

    keyed_by: ClassVar[str] = "checkout_id"
    kind: ClassVar[OperationKind]
    checkout_id: CheckoutId
    owner: Owner
    payment_order_id: PaymentOrderId
    operation_id: OperationId
    status: OperationStatus
    amount: Money | None = None
    code: str | None = None  # why it failed or was refused
    detail: str | None = None  # of a refusal: which field, and what is wrong with it

    def money(self) -> tuple[Money, ...]:
        return () if self.amount is None else (self.amount,)


class CaptureStatusChanged(OperationStatusChanged):
    """A capture's."""

    kind: ClassVar[OperationKind] = "capture"
    webhook_type: ClassVar[str | None] = "capture.status_changed"


class VoidStatusChanged(OperationStatusChanged):
    """A void's; its amount is what was released."""

    kind: ClassVar[OperationKind] = "void"
    webhook_type: ClassVar[str | None] = "void.status_changed"


class RefundStatusChanged(OperationStatusChanged):
    """A refund's."""

    kind: ClassVar[OperationKind] = "refund"
    webhook_type: ClassVar[str | None] = "refund.status_changed"


class DisputeStatusChanged(Event):
    """Where a dispute stands, one stage of it."""

    keyed_by: ClassVar[str] = "checkout_id"
    webhook_type: ClassVar[str | None] = "dispute.status_changed"
    checkout_id: CheckoutId
    owner: Owner
    payment_order_id: PaymentOrderId
    dispute_id: str
    stage: int
    status: DisputeStatus
    amount: Money
    reason: str
    due_by: datetime | None = None

    def money(self) -> tuple[Money, ...]:
        return (self.amount,)


# ── notifications: what a PSP tells us unasked ───────────────────────────────────────────────────────────────────────


class DisputeNotified(Event):
    """What a PSP says of a dispute about a charge of ours. Repeated and unordered by nature."""

    keyed_by: ClassVar[str] = "reference"
    reference: str  # the charge's call id, as the PSP gives it back
    psp: str
    notification_id: str
    source: Literal["webhook", "settlement_line", "operator"]
    dispute_reference: str  # the PSP's own: the same through all stages
    stage: int = Field(ge=1)  # 1, and 2 for a second chargeback or pre-arbitration
    status: DisputeStatus
    amount: Money
    fee: Money | None = None  # what the PSP asks for it, or gives back where it is won
    reason: str
    due_by: datetime | None = None

    def money(self) -> tuple[Money, ...]:
        return (self.amount,)


# ── executions: what the PSP said ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Share:
    """One part of an order's money: gross = net + fee. Computed once, by the executor; fee and net may be below zero."""

    __pydantic_config__: ClassVar[ConfigDict] = PART
    gross: Money
    fee: Money
    net: Money


class PaymentAuthorised(Terms):
    """The money is kept for us at the PSP until `expires_at`."""

    psp: str
    call_id: str
    psp_reference: str
    scheme: str
    expires_at: datetime


class CaptureFailed(Terms):
    """Nothing was captured by it: a clear no, or a refusal of our own."""

    capture_id: OperationId
    amount: Money
    code: str
    psp: str | None = None  # older events lack it, and the call
    call_id: str | None = None


class VoidFailed(Terms):
    """Nothing was released by it."""

    void_id: OperationId
    code: str


class RefundFailed(Terms):
    """Nothing was given back by it."""

    refund_id: OperationId
    amount: Money
    code: str
    psp: str | None = None  # older events lack it, and the call
    call_id: str | None = None


class PaymentVoided(Terms):
    """What was authorised and not captured is released."""

    void_id: OperationId
    released: Money
    psp: str
    call_id: str
    charge_call_id: str | None = None  # what a settlement file would name; older events lack it
    psp_reference: str


class AuthorisationExpired(Terms):
    """The time to capture is over; what was not captured is released."""

    released: Money
    psp: str
    call_id: str  # of the charge


class CaptureReversed(Terms):
    """The PSP has taken a capture back after it said yes. `share` is that of the capture's turn."""

    capture_id: OperationId | None = None
    turn: int | None = None
    share: Share
    psp: str
    call_id: str
    psp_reference: str

    @property
    def part(self) -> str:
        return part_of(self.capture_id or "", self.turn)


class PaymentRefunded(Terms):
    """So much went back to the buyer."""

    refund_id: OperationId
    turn: int | None = None
    share: Share
    psp: str
    call_id: str
    psp_reference: str

    @property
    def part(self) -> str:
        return part_of(self.refund_id, self.turn)


class RefundReversed(Terms):
    """The PSP has taken a refund back after it said yes: the money is here again. `share` is that of the refund's turn."""

    refund_id: OperationId
    turn: int | None = None
    share: Share
    psp: str
    call_id: str
    psp_reference: str

    @property
    def part(self) -> str:
        return part_of(self.refund_id, self.turn)


class Disputed(Terms):
    """A dispute about a captured order, one stage of it."""

    dispute_id: str  # ours: `dp_` and 24 hex digits, the same through all stages
    stage: int
    psp: str
    dispute_reference: str | None = None  # the PSP's own, by which its settlement files name it; older events lack it
    reason: str
    due_by: datetime | None = None

    @property
    def part(self) -> str:
        return f"{self.dispute_id}.{self.stage}"


class DisputeInquiry(Disputed):
    """The buyer's bank asks; no money has moved."""

    amount: Money


class Chargeback(Disputed):
    """Money that a dispute has moved."""

    share: Share
    dispute_fee: Money | None = None  # what the PSP asks for the dispute, or gives back

    @property
    def fee_of_seller(self) -> Money | None:
        """The dispute fee if the seller bears it. The platform bears a fee in another currency than the order's, for which no
        rate is known, whatever the terms say.
        """
        fee = self.dispute_fee
        return None if self.dispute_fee_on == "platform" or fee is None or fee.currency != self.gross.currency else fee


class ChargebackOpened(Chargeback):
    """The PSP has taken this much back for the buyer's bank, and a fee where it asks for one."""


class ChargebackWon(Chargeback):
    """The money of that stage is here again, and the fee as far as the PSP gives it back."""


class ChargebackLost(Disputed):
    """It stays with the buyer."""

    share: Share


MoneyBackOutcome = (
    PaymentAuthorised
    | CaptureFailed
    | CaptureReversed
    | PaymentVoided
    | VoidFailed
    | AuthorisationExpired
    | PaymentRefunded
    | RefundFailed
    | RefundReversed
    | DisputeInquiry
    | ChargebackOpened
    | ChargebackWon
    | ChargebackLost
)
Execution = ChargeOutcome | MoneyBackOutcome  # all that is published on executions.v1


# ── wallet ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class WalletDebited(WalletMoved):
    """The seller has this much less."""

    reason: Literal["refunded", "capture_reversed", "chargeback_opened"]
    part: str


class WalletCorrected(Event):
    """A correction that persons have approved has moved a wallet: so much more, or less where the amount is below zero. The
    balances are those after it; `available` may be below zero.
    """

    keyed_by: ClassVar[str] = "wallet"
    wallet: str  # <seller_account>:<currency>
    correction_id: str
    movement_id: str
    seller_account: SellerAccount
    amount: Money
    available: Money
    pending: Money
    reserved: Money
    wallet_version: int

    def money(self) -> tuple[Money, ...]:
        return (self.amount,)


class FundsAvailable(Event):
    """So much of a wallet is not held back any more. The balances are those after it; `available` may be below zero."""

    keyed_by: ClassVar[str] = "wallet"
    wallet: str  # <seller_account>:<currency>
    movement_id: str
    seller_account: SellerAccount
    amount: Money
    until: datetime  # what was held back until then
    available: Money
    pending: Money
    reserved: Money
    wallet_version: int

    def money(self) -> tuple[Money, ...]:
        return (self.amount,)

"""(wallets, an execution) → a movement. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, assert_never

from schemas.envelope import EventId, derive_id
from schemas.errors import Permanent
from schemas.events import (
    OutcomeUnknown,
    OutcomeUnresolved,
    PaymentCaptured,
    PaymentDeclined,
    PaymentPending,
    WalletCredited,
)
from schemas.money import Money
from schemas.money_back import (
    AuthorisationExpired,
    CaptureFailed,
    CaptureReversed,
    ChargebackLost,
    ChargebackOpened,
    ChargebackWon,
    DisputeInquiry,
    PaymentAuthorised,
    PaymentRefunded,
    PaymentVoided,
    RefundFailed,
    RefundReversed,
    VoidFailed,
)
from topics.runtime.shape.consumer import Cause, Decision

Execution = (
    PaymentCaptured
    | PaymentDeclined
    | PaymentPending
    | OutcomeUnknown
    | OutcomeUnresolved
    | AuthorisationExpired
    | CaptureFailed
    | CaptureReversed
    | ChargebackLost
    | ChargebackOpened
    | ChargebackWon
    | DisputeInquiry
    | PaymentAuthorised
    | PaymentRefunded
    | PaymentVoided
    | RefundFailed
    | RefundReversed
    | VoidFailed
)
Kind = Literal["captured"]
Side = tuple[str, str]  # seller, currency
MovementKey = tuple[str, Kind, str]  # subject, kind, part

NOTHING = Decision()
WHOLE = ""  # the part of a fact that has no parts


@dataclass(frozen=True, slots=True)
class Wallet:
    """One seller's money in one currency, in minor units. The version counts its movements."""

    seller_account: str
    currency: str
    available: int = 0
    pending: int = 0
    reserved: int = 0
    version: int = 0

    @property
    def side(self) -> Side:
        return (self.seller_account, self.currency)

    @property
    def name(self) -> str:
        """Its key on wallet-balances.v1."""
        return f"{self.seller_account}:{self.currency}"

    def credit(self, amount: Money) -> Wallet:
        assert amount.currency == self.currency
        return Wallet(
            self.seller_account,
            self.currency,
            self.available + amount.minor,
            self.pending,
            self.reserved,
            self.version + 1,
        )


@dataclass(frozen=True, slots=True)
class Movement:
    """One effect on a wallet, with the balances after it."""

    movement_id: str
    kind: Kind
    subject_id: str  # the payment order
    part: str
    checkout_id: str
    cause_event_id: EventId
    at: datetime
    amount: Money
    after: Wallet

    @property
    def key(self) -> MovementKey:
        return (self.subject_id, self.kind, self.part)


@dataclass(frozen=True, slots=True)
class Purchase:
    """What one order adds to all that its buyer has paid."""

    buyer_account: str
    gross: Money


@dataclass(slots=True)
class Wallets:
    """The wallets that a batch moves, and the movements that its orders have."""

    wallets: dict[Side, Wallet] = field(default_factory=dict)
    movements: dict[MovementKey, Movement] = field(default_factory=dict)

    def fold(self, change: Wallet | Movement | Purchase) -> None:
        if isinstance(change, Wallet):
            self.wallets[change.side] = change
        elif isinstance(change, Movement):
            self.movements[change.key] = change


class Credit(NamedTuple):
    """What a fact puts into its seller's wallet."""

    kind: Kind
    amount: Money
    paid: Money | None = None  # by the buyer, where it is a purchase


def credit_of(event: Execution) -> Credit | None:
    """None where no money has moved."""
    match event:
        case PaymentCaptured():
            return Credit("captured", event.net, event.gross)
        case PaymentDeclined() | PaymentPending() | OutcomeUnknown() | OutcomeUnresolved():
            return None
        case (
            AuthorisationExpired()
            | CaptureFailed()
            | CaptureReversed()
            | ChargebackLost()
            | ChargebackOpened()
            | ChargebackWon()
            | DisputeInquiry()
            | PaymentAuthorised()
            | PaymentRefunded()
            | PaymentVoided()
            | RefundFailed()
            | RefundReversed()
            | VoidFailed()
        ):
            return None
        case _:
            assert_never(event)


def decide(state: Wallets, event: Execution, cause: Cause) -> Decision:
    """Credit each captured order once, a frozen seller's too: facts from outside always post."""
    credit = credit_of(event)
    return _credit(state, event, credit, cause) if credit is not None else NOTHING


def _credit(state: Wallets, event: Execution, credit: Credit, cause: Cause) -> Decision:
    """Errors: Permanent `movement_differs` where the order was credited before on other terms."""
    kind, amount, paid = credit
    before = state.movements.get((event.payment_order_id, kind, WHOLE))
    if before is not None:
        return _repeated(before, event, amount)
    wallet = state.wallets[event.seller_account, amount.currency].credit(amount)
    movement = Movement(
        derive_id(cause.event_id, "wallet.movement", 0, cause.entered_ms),
        kind,
        event.payment_order_id,
        WHOLE,
        event.checkout_id,
        cause.event_id,
        cause.now,
        amount,
        wallet,
    )
    purchases = (Purchase(event.buyer_account, paid),) if paid is not None else ()
    return Decision((wallet, movement, *purchases), (_said(movement),), revision=1)


def _repeated(before: Movement, event: Execution, amount: Money) -> Decision:
    """The same fact under another event id is no second fact."""
    if (before.checkout_id, before.after.seller_account, before.amount) == (
        event.checkout_id,
        event.seller_account,
        amount,
    ):
        return NOTHING
    raise Permanent("movement_differs", f"{event.payment_order_id} was credited by {before.movement_id} on other terms")


def _said(movement: Movement) -> WalletCredited:
    after = movement.after
    return WalletCredited(
        payment_order_id=movement.subject_id,
        checkout_id=movement.checkout_id,
        movement_id=movement.movement_id,
        seller_account=after.seller_account,
        amount=movement.amount,
        available=Money(after.available, after.currency),
        pending=Money(after.pending, after.currency),
        reserved=Money(after.reserved, after.currency),
        wallet_version=after.version,
    )

"""What the wallet keeps: wallets, their movements, and what is reserved in them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from consumers.wallet.holding import Holding, Holdings, Side
from schemas.envelope import EventId, derive_id
from schemas.money import Money
from topics.runtime.shape.consumer import Cause

Credit = Literal["captured", "refund_reversed", "chargeback_won"]
Debit = Literal["capture_reversed", "refunded", "chargeback_opened"]
Kind = Credit | Debit
PayoutKind = Literal["reserved", "released", "settled", "returned"]
MovementKey = tuple[str, str, str]  # payment order or pay-out, kind, part

WHOLE = ""  # the part of a fact about its whole order or pay-out


@dataclass(frozen=True, slots=True)
class Wallet:
    """One seller's money in one currency, in minor units. The version counts its movements."""

    seller_account: str
    currency: str
    available: int = 0  # below zero if facts from outside have taken more than there was
    pending: int = 0
    reserved: int = 0
    version: int = 0

    @property
    def side(self) -> Side:
        return (self.seller_account, self.currency)

    @property
    def name(self) -> str:
        """The wallet's key on wallet-balances.v1."""
        return f"{self.seller_account}:{self.currency}"

    def add(self, amount: Money, to_pending: int = 0, to_reserved: int = 0) -> Wallet:
        """The wallet after a movement of `amount`: so many minor units go to `pending` and `reserved`, the rest to `available`.
        What is taken is below zero.
        """
        assert amount.currency == self.currency
        return Wallet(
            self.seller_account,
            self.currency,
            self.available + amount.minor - to_pending - to_reserved,
            self.pending + to_pending,
            self.reserved + to_reserved,
            self.version + 1,
        )


@dataclass(frozen=True, slots=True)
class Movement:
    """One effect on a wallet, with the balances after it. The amount of a debit is below zero.

    A movement between pockets has the amount zero. What becomes available has the wallet for its subject, and its cause for its
    part; a correction, which may move several wallets, has the wallet for its part.
    """

    movement_id: str
    kind: Kind | Literal["available", "corrected"] | PayoutKind
    subject_id: str  # the payment order, the pay-out or the correction
    part: str
    checkout_id: str | None
    cause_event_id: EventId
    at: datetime
    amount: Money
    after: Wallet
    to_pending: int = 0  # of the amount; below zero where it has left `pending`
    to_reserved: int = 0  # the same of `reserved`

    @property
    def key(self) -> MovementKey:
        return (self.subject_id, self.kind, self.part)


ReservationState = Literal["refused"] | PayoutKind


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is kept of a wallet for one pay-out, and what has become of it. Amounts are in minor units.

    It outlives its end: one that was refused or released never reserves again.
    """

    payout_id: str
    owner: str
    seller_account: str
    currency: str
    asked: int | None  # None: all
    minimum: int | None
    keep: int | None
    amount: int  # the pay-out's; 0 if it was refused
    state: ReservationState
    code: str | None  # why it was refused
    placed_by: EventId
    placed_at: datetime
    moved_by: EventId  # the cause of its state
    version: int = 1  # counts its states

    @property
    def side(self) -> Side:
        return (self.seller_account, self.currency)


@dataclass(frozen=True, slots=True)
class Purchase:
    """The amounts that a capture or refund adds to its buyer's totals; below zero if the PSP has reversed it."""

    buyer_account: str
    gross: Money  # captured
    orders: int = 1  # captured for the first time
    refunded: int = 0  # minor units


Change = Wallet | Movement | Purchase | Holding | Reservation


@dataclass(slots=True)
class Wallets:
    """The wallets that a batch moves, the movements of its orders and pay-outs, the holdings that it debits or releases, and the
    reservations of its pay-outs.

    `unread`: wallets with more due holdings than one batch reads.
    """

    wallets: dict[Side, Wallet] = field(default_factory=dict)
    movements: dict[MovementKey, Movement] = field(default_factory=dict)
    captured_in_parts: set[str] = field(default_factory=set)  # orders
    holdings: Holdings = field(default_factory=Holdings)
    unread: set[Side] = field(default_factory=set)
    reservations: dict[str, Reservation] = field(default_factory=dict)

    def fold(self, change: Change) -> None:
        if isinstance(change, Wallet):
            self.wallets[change.side] = change
        elif isinstance(change, Movement):
            self.movements[change.key] = change
            if change.part and change.kind == "captured":
                self.captured_in_parts.add(change.subject_id)
        elif isinstance(change, Holding):
            self.holdings.fold(change)
        elif isinstance(change, Reservation):
            self.reservations[change.payout_id] = change


def movement_id_of(cause: Cause, place: int = 0) -> EventId:
    """The id of the movement that a cause makes: one at most, but of a correction one for each of its wallets."""
    return derive_id(cause.event_id, "wallet.movement", place, cause.entered_ms)


def after(movement: Movement) -> dict[str, Any]:
    """What every event about a movement says: all pockets after it."""
    wallet = movement.after
    return {
        "movement_id": movement.movement_id,
        "seller_account": wallet.seller_account,
        "available": Money(wallet.available, wallet.currency),
        "pending": Money(wallet.pending, wallet.currency),
        "reserved": Money(wallet.reserved, wallet.currency),
        "wallet_version": wallet.version,
    }

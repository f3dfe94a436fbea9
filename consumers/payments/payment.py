"""What payments keeps of a checkout: what was asked (never changes), and where it and each order stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from schemas.envelope import EventId
from schemas.events import OrderDetail, OrderState, OrderStatus, PaymentStatus
from schemas.money import Money


class OrderTerms(NamedTuple):
    """One order as asked; net is what is left of gross after the fee."""

    payment_order_id: str
    seller_account: str
    gross: Money
    fee: Money

    @property
    def net(self) -> Money:
        return self.gross - self.fee


@dataclass(frozen=True, slots=True)
class Checkout:
    """What was asked and accepted. Stored once; read again only to place its orders."""

    checkout_id: str
    buyer_account: str
    token: str
    deadline: datetime
    terms: tuple[OrderTerms, ...]
    received_at: datetime
    event_id: EventId
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    trace: str | None = None  # the trace's id, 32 hex digits, for who looks the payment up


class Payment(NamedTuple):
    """Where a checkout stands. `version` grows with each change that the outside hears of."""

    checkout_id: str
    owner: str
    contents: str  # keyed hash of what was asked
    status: PaymentStatus = "received"
    done_at: datetime | None = None
    version: int = 1
    order_ids: tuple[str, ...] = ()  # in the order in which they were asked for


class Order(NamedTuple):
    """Where one order stands. A tuple, as are others here: three events per order come by, each reads all siblings,
    and a frozen dataclass costs three times as much to make."""

    payment_order_id: str
    checkout_id: str
    status: OrderStatus = "NOT_STARTED"
    detail: OrderDetail = ""
    wallet_updated: bool = False
    ledger_updated: bool = False
    version: int = 1
    decline_code: str | None = None

    @property
    def is_through(self) -> bool:
        """Nothing more is to come: it failed, or the money is in the wallet and in the ledger."""
        return self.status == "FAILED" or (self.status == "SUCCESS" and self.wallet_updated and self.ledger_updated)

    def state(self) -> OrderState:
        return OrderState(self.payment_order_id, self.status, self.detail, self.decline_code)


@dataclass(frozen=True, slots=True)
class Fact:
    """What the PSP's final word was. Written once beside the order, never read to decide."""

    payment_order_id: str
    psp: str
    scheme: str | None
    psp_reference: str | None
    captured_at: datetime | None


class Step(NamedTuple):
    """A line of the history: the payment (no order named) or one order went from one status to another."""

    checkout_id: str
    payment_order_id: str | None
    from_status: str | None
    to_status: str
    detail: str
    at: datetime
    event_id: EventId


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was not taken: kept, so that no request is without a trace."""

    checkout_id: str
    owner: str
    code: str
    detail: str
    at: datetime
    event_id: EventId


Stored = Checkout | Payment | Order | Fact | Step | Refusal


@dataclass(slots=True)
class Payments:
    """The payments of a batch, the orders that are theirs or whose ids are asked for, and what was asked, where it is
    needed."""

    payments: dict[str, Payment] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    checkouts: dict[str, Checkout] = field(default_factory=dict)

    def fold(self, change: Stored) -> None:
        if isinstance(change, Order):
            self.orders[change.payment_order_id] = change
        elif isinstance(change, Payment):
            self.payments[change.checkout_id] = change
        elif isinstance(change, Checkout):
            self.checkouts[change.checkout_id] = change

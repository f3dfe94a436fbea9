"""The state that payments keeps of a checkout: its request (never changed), and the status of the payment and its orders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from consumers.payments.operation import Authorisation, Dispute, Operation, OperationRefusal, OperationStep
from consumers.payments.revenue_line import RevenueLine
from schemas.envelope import EventId
from schemas.events import OrderDetail, OrderState, OrderStatus, PaymentStatus
from schemas.money import Money
from schemas.sellers import SellerSet


class OrderTerms(NamedTuple):
    """The terms of one order as requested; net is gross less the fee."""

    payment_order_id: str
    seller_account: str
    gross: Money
    fee: Money
    seller: SellerSet | None = None  # its terms when the order was asked for; None: nobody has registered it

    @property
    def seller_revision(self) -> int | None:
        return None if self.seller is None else self.seller.seller_revision

    @property
    def net(self) -> Money:
        return self.gross - self.fee


@dataclass(frozen=True, slots=True)
class Checkout:
    """An accepted request. Stored once; read again only to place its orders."""

    checkout_id: str
    buyer_account: str
    token: str | None
    deadline: datetime
    terms: tuple[OrderTerms, ...]
    received_at: datetime
    event_id: EventId
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    trace: str | None = None  # the trace's id, 32 hex digits, for people who look the payment up
    capture: Literal["manual"] | None = None  # None: automatic
    return_url: str | None = None  # the buyer pays on a page of the PSP's


class Payment(NamedTuple):
    """The status of a checkout. `version` grows with each change that is published."""

    checkout_id: str
    owner: str
    contents: str  # keyed hash of the request
    status: PaymentStatus = "received"
    done_at: datetime | None = None
    version: int = 1
    order_ids: tuple[str, ...] = ()  # in the request's order


class Order(NamedTuple):
    """The status of one order. A tuple, as others here: each of an order's three events reads all orders of the payment, and a
    frozen dataclass costs three times as much to make.
    """

    payment_order_id: str
    checkout_id: str
    status: OrderStatus = "NOT_STARTED"
    detail: OrderDetail = ""
    wallet_updated: bool = False
    ledger_updated: bool = False
    version: int = 1
    decline_code: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether more of the order may be captured."""
        return self.detail in ("authorised", "partly_captured")

    @property
    def is_through(self) -> bool:
        """Whether the order is done: it failed, or its money is in the wallet and in the ledger."""
        return self.status == "FAILED" or (self.status == "SUCCESS" and self.wallet_updated and self.ledger_updated)

    def state(self) -> OrderState:
        return OrderState(self.payment_order_id, self.status, self.detail, self.decline_code)


@dataclass(frozen=True, slots=True)
class Fact:
    """The PSP's outcome of an order. Written once beside the order; decisions do not read it."""

    payment_order_id: str
    psp: str
    scheme: str | None
    psp_reference: str | None
    captured_at: datetime | None


class Redirect(NamedTuple):
    """The page on which the buyer pays one order."""

    payment_order_id: str
    redirect_url: str
    expires_at: datetime | None


class Step(NamedTuple):
    """A line of the history: a change of status of the payment (no order named) or of one order."""

    checkout_id: str
    payment_order_id: str | None
    from_status: str | None
    to_status: str
    detail: str
    at: datetime
    event_id: EventId


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused request, kept so that every request leaves a trace."""

    checkout_id: str
    owner: str
    code: str
    detail: str
    at: datetime
    event_id: EventId


class SellerHeard(NamedTuple):
    """One revision of a seller's terms, as the doors said it. All are kept: an order was priced by one of them."""

    said: SellerSet
    event_id: EventId
    at: datetime


MoneyBack = Operation | Dispute | Authorisation | OperationStep | OperationRefusal | RevenueLine | Redirect
Stored = Checkout | Payment | Order | Fact | Step | Refusal | SellerHeard | MoneyBack


class OrderMoney(NamedTuple):
    """The amounts and terms of an order, read for requests to capture or refund it."""

    gross: Money
    capture: Literal["manual"] | None


class OrderParts(NamedTuple):
    """The operations and disputes of one order. Amounts are minor units."""

    operations: tuple[Operation, ...]
    disputes: tuple[Dispute, ...]

    @property
    def captures(self) -> list[Operation]:
        """The captures that were done, reversed or not."""
        return [one for one in self.operations if one.kind == "capture" and one.step]

    def captured(self, gross: int) -> int:
        """The captured amount of an order that is SUCCESS. An automatic capture has a row only if it was reversed once."""
        captures = self.captures
        return sum(one.done for one in captures) if captures else gross

    def refundable(self, gross: int) -> int:
        """The captured amount less refunds, done or open; disputes are not subtracted."""
        return self.captured(gross) - sum(one.taken for one in self.operations if one.kind == "refund")

    @property
    def disputed(self) -> int:
        return sum(one.takes for one in self.disputes)

    def detail(self, gross: int) -> OrderDetail:
        """The detail of an order that is SUCCESS and of which nothing more can be captured."""
        refunded = sum(one.done for one in self.operations if one.kind == "refund")
        if self.disputed:
            return "charged_back"
        if refunded and refunded >= self.captured(gross):
            return "refunded"
        if any(one.status == "reversed" for one in self.captures):
            return "capture_reversed"
        return "partly_refunded" if refunded else ""


@dataclass(slots=True)
class Payments:
    """The payments of a batch, their orders and others with requested ids, requests where decisions need them, and the latest
    terms of new orders' sellers. Operations and disputes: of the orders whose operations the events are about, and others
    with requested ids.
    """

    payments: dict[str, Payment] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    checkouts: dict[str, Checkout] = field(default_factory=dict)
    asked: dict[str, OrderMoney] = field(default_factory=dict)
    operations: dict[tuple[str, str], Operation] = field(default_factory=dict)
    disputes: dict[tuple[str, int], Dispute] = field(default_factory=dict)
    sellers: dict[str, SellerSet] = field(default_factory=dict)
    _operations_of: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    _disputes_of: dict[str, set[tuple[str, int]]] = field(default_factory=dict)

    def fold(self, change: Stored) -> None:
        if isinstance(change, Order):
            self.orders[change.payment_order_id] = change
        elif isinstance(change, Payment):
            self.payments[change.checkout_id] = change
        elif isinstance(change, Checkout):
            self.checkouts[change.checkout_id] = change
            self.asked |= {one.payment_order_id: OrderMoney(one.gross, change.capture) for one in change.terms}
        elif isinstance(change, Operation):
            self.operations[change.key] = change
            self._operations_of.setdefault(change.payment_order_id, set()).add(change.key)
        elif isinstance(change, Dispute):
            self.disputes[change.key] = change
            self._disputes_of.setdefault(change.payment_order_id, set()).add(change.key)
        elif isinstance(change, SellerHeard):
            self._set(change.said)

    def _set(self, said: SellerSet) -> None:
        """A repeat, or what an older record says, changes nothing."""
        known = self.sellers.get(said.seller_account)
        if known is None or known.seller_revision < said.seller_revision:
            self.sellers[said.seller_account] = said

    def parts_of(self, payment_order_id: str, changed: Operation | Dispute | None = None) -> OrderParts:
        """The order's operations and disputes, `changed` in its new version."""
        operations = {key: self.operations[key] for key in self._operations_of.get(payment_order_id, ())}
        disputes = {key: self.disputes[key] for key in self._disputes_of.get(payment_order_id, ())}
        if isinstance(changed, Operation):
            operations[changed.key] = changed
        elif isinstance(changed, Dispute):
            disputes[changed.key] = changed
        return OrderParts(tuple(operations.values()), tuple(disputes.values()))

"""All events, in the order in which money flows. Released events change only in ways that old readers survive.

Readers ignore unknown fields, so that fields can be added; doors refuse them (`schemas.requests`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.fees import FeeBearer, FeeRule, Reserve, ReserveShare
from schemas.ids import (
    BuyerAccount,
    CheckoutId,
    EndpointId,
    OperationId,
    Owner,
    PaymentOrderId,
    SellerAccount,
    Subject,
    Token,
)
from schemas.money import Money, sums
from schemas.parts import PART
from schemas.requests import CaptureRequest, PaymentRequest, RefundRequest, VoidRequest
from schemas.times import Instant

PaymentStatus = Literal["received", "in_review", "executing", "succeeded", "partially_succeeded", "failed", "refused"]
OrderStatus = Literal["NOT_STARTED", "EXECUTING", "SUCCESS", "FAILED"]
OrderDetail = Literal[
    "",
    "held",
    "refused",
    "pending",
    "action_required",
    "unknown",
    "unresolved",
    "declined",
    "expired",
    "authorised",
    "partly_captured",
    "voided",
    "partly_refunded",
    "refunded",
    "charged_back",
    "capture_reversed",
]


OperationKind = Literal["capture", "void", "refund"]
NOBODY: frozenset[str] = frozenset()
CARD = frozenset({"token", "return_url"})
BUYER = frozenset({"name", "email", "country"})


class Event(BaseModel):
    """One fact. `key` is the record's key: events of one key keep their order.

    Each kind of event declares its money, its personal fields and the type under which its owner can subscribe to it.
    """

    # cache_strings: ids all differ, so caching them costs more than it saves.
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", cache_strings="keys", defer_build=True)
    version: ClassVar[int] = 1
    keyed_by: ClassVar[str]
    personal: ClassVar[frozenset[str]] = NOBODY
    webhook_type: ClassVar[str | None] = None

    @property
    def key(self) -> str:
        return str(getattr(self, self.keyed_by))

    def money(self) -> tuple[Money, ...]:
        """The event's amounts, one for each currency; empty if it has none."""
        return ()


# ── payment requests: the doors ──────────────────────────────────────────────────────────────────────────────────────


class RequestEvent(BaseModel):
    """A request as an event. The HTTP door names the owner; on an upstream's own topic the topic does."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True, cache_strings="keys")
    version: ClassVar[int] = 1
    keyed_by: ClassVar[str]
    personal: ClassVar[frozenset[str]] = NOBODY
    webhook_type: ClassVar[str | None] = None

    @property
    def key(self) -> str:
        return str(getattr(self, self.keyed_by))

    @property
    def asked(self) -> Money | None:
        """The requested amount; None for a void, or for all that there is."""
        return None

    def money(self) -> tuple[Money, ...]:
        return () if self.asked is None else (self.asked,)


class PaymentRequested(PaymentRequest, RequestEvent):
    """One checkout with its orders, as asked."""

    keyed_by: ClassVar[str] = "checkout_id"
    owner: Owner | None = None
    # True if the HTTP door has set the deadline: then it does not count when requests are compared.
    deadline_defaulted: bool | None = None
    # when the HTTP door accepted the request: all readers of the payment get this time
    received_at: Instant | None = None
    personal: ClassVar[frozenset[str]] = BUYER | CARD | {"description", "metadata"}  # at any depth

    def money(self) -> tuple[Money, ...]:
        return sums(order.gross for order in self.payment_orders)


class OperationRequested(RequestEvent):
    """A request for a capture, void or refund."""

    keyed_by: ClassVar[str] = "checkout_id"
    kind: ClassVar[OperationKind]
    checkout_id: CheckoutId
    payment_order_id: PaymentOrderId
    owner: Owner | None = None
    received_at: Instant | None = None  # when the HTTP door accepted the request

    @property
    def operation_id(self) -> str:
        """The operation's id, from the field of its kind."""
        return str(getattr(self, f"{self.kind}_id"))


class CaptureRequested(CaptureRequest, OperationRequested):
    """Take this much of what is authorised."""

    kind: ClassVar[OperationKind] = "capture"

    @property
    def asked(self) -> Money:
        return self.gross


class VoidRequested(VoidRequest, OperationRequested):
    """Give up what is authorised and not captured."""

    kind: ClassVar[OperationKind] = "void"


class RefundRequested(RefundRequest, OperationRequested):
    """Give this much back to the buyer."""

    kind: ClassVar[OperationKind] = "refund"
    personal: ClassVar[frozenset[str]] = frozenset({"reason"})

    @property
    def asked(self) -> Money:
        return self.gross


# ── risk ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class ScreeningRequested(Event):
    """Who wants to pay how much: the only event with names."""

    keyed_by: ClassVar[str] = "checkout_id"
    personal: ClassVar[frozenset[str]] = BUYER
    checkout_id: CheckoutId
    owner: Owner
    buyer_account: BuyerAccount
    name: str | None = None
    email: str | None = None
    country: str | None = None
    totals: tuple[Money, ...]  # one per currency
    sellers: tuple[SellerAccount, ...]

    def money(self) -> tuple[Money, ...]:
        return sums(self.totals)


class RiskDecided(Event):
    keyed_by: ClassVar[str] = "checkout_id"
    checkout_id: CheckoutId
    rule: str  # the rule that decided; "none" where nothing was found
    list_version: str
    score: int = Field(ge=0, le=100)
    actor: str = "risk"


class RiskCleared(RiskDecided):
    """Nothing speaks against it."""


class RiskRefused(RiskDecided):
    """A rule forbids it."""


class RiskHeld(RiskDecided):
    """A person must decide. The answer is a RiskCleared or RiskRefused with that person as its actor."""


class RiskReviewed(Event):
    """What a person decided about one screening that was held. The first review of a screening counts."""

    keyed_by: ClassVar[str] = "subject"
    personal: ClassVar[frozenset[str]] = frozenset({"reason"})
    about: Literal["payment", "buyer", "payout", "seller"] = "payment"
    subject: Subject  # the checkout, the pay-out, or the account
    screen_no: int = Field(ge=1)
    decision: Literal["clear", "refuse"]
    actor: str = Field(min_length=1, max_length=64)
    reason: str = Field(min_length=1, max_length=500)


# ── payments: what is to be done ─────────────────────────────────────────────────────────────────────────────────────


class Terms(Event):
    """What was fixed at placement. Wallet and ledger read terms nowhere else. gross = net + fee, one currency."""

    keyed_by: ClassVar[str] = "payment_order_id"
    payment_order_id: PaymentOrderId
    checkout_id: CheckoutId
    owner: Owner
    seller_account: SellerAccount
    buyer_account: BuyerAccount
    gross: Money
    fee: Money
    net: Money
    # When the seller may have the money. With hold days a capture says so; all else carries the time of the placement.
    available_on: datetime
    deadline: datetime
    # How much of the fee goes back with a refund (None: proportional) and with a chargeback (None: nothing of it), and who
    # bears what the PSP asks for a dispute (None: the seller).
    fee_refund: FeeRule | None = None
    fee_chargeback: FeeRule | None = None
    dispute_fee_on: FeeBearer | None = None
    # How long after its capture the seller's money is kept back (None: not at all), and which share of it longer.
    hold_days: int | None = None
    reserve: Reserve | None = None

    def terms(self) -> dict[str, object]:
        """The terms as fields of another event."""
        return dict(zip(_TERMS, _values_of(self), strict=True))

    def money(self) -> tuple[Money, ...]:
        return (self.gross,)


_TERMS = tuple(Terms.model_fields)
_values_of = attrgetter(*_TERMS)  # once or twice for each order


class OrderPlaced(Terms):
    """Charge this order; with `capture` manual: authorise it, and capture when asked to. Token or return URL: the latter for
    a page of the PSP's, on which the buyer pays.
    """

    personal: ClassVar[frozenset[str]] = CARD
    token: Token | None = None
    capture: Literal["manual"] | None = None  # None: automatic, the charge takes the money
    return_url: str | None = None


@dataclass(frozen=True, slots=True)
class NextAction:
    """The page on which the buyer pays. `expires_at`: until then, as far as the PSP says."""

    __pydantic_config__: ClassVar[ConfigDict] = PART
    redirect_url: str
    expires_at: datetime | None = None
    type: Literal["redirect_to_url"] = "redirect_to_url"


@dataclass(frozen=True, slots=True)
class OrderState:
    """One order of a payment, as it stands."""

    __pydantic_config__: ClassVar[ConfigDict] = PART
    payment_order_id: PaymentOrderId
    payment_order_status: OrderStatus
    detail: OrderDetail
    decline_code: str | None = None  # the PSP's reason, where it was declined
    next_action: NextAction | None = None  # of an order whose buyer has to act


class PaymentStatusChanged(Event):
    """Where a payment stands after a change, with all its orders."""

    keyed_by: ClassVar[str] = "checkout_id"
    webhook_type: ClassVar[str | None] = "payment.status_changed"
    checkout_id: CheckoutId
    owner: Owner
    status: PaymentStatus
    payment_orders: tuple[OrderState, ...]


class PaymentRefused(Event):
    """The request itself was not taken: broken contract, id taken, refused by risk. `owner` is the sender's."""

    keyed_by: ClassVar[str] = "checkout_id"
    webhook_type: ClassVar[str | None] = "payment.refused"
    checkout_id: CheckoutId
    owner: Owner
    code: str
    detail: str


class PaymentCompleted(Event):
    """Every order is FAILED, or SUCCESS with wallet and ledger updated."""

    keyed_by: ClassVar[str] = "checkout_id"
    webhook_type: ClassVar[str | None] = "payment.completed"
    checkout_id: CheckoutId
    owner: Owner
    status: PaymentStatus


# ── notifications: what a PSP tells us unasked ────────────────────────────────────────────────────────────────────────


class NotificationReceived(Event):
    """What was said about a charge, or an operation behind it, outside of replies. Repeated and unordered by nature."""

    keyed_by: ClassVar[str] = "reference"
    reference: str  # our call id, as the PSP gives it back
    psp: str
    notification_id: str  # the PSP's own id of it
    source: Literal["webhook", "settlement_line", "operator"]
    status: Literal["succeeded", "authorised", "declined", "pending", "reversed"]
    amount: Money
    psp_reference: str
    scheme: str | None = None
    code: str | None = None  # why it was declined, or what it waits for
    about: OperationKind | None = None  # None: the charge
    expires_at: datetime | None = None  # of an authorisation
    instead_of: Literal["declined", "captured"] | None = None  # what is settled, and two persons set aside

    def money(self) -> tuple[Money, ...]:
        return (self.amount,)


# ── executions: what the PSP said ────────────────────────────────────────────────────────────────────────────────────


def part_of(id_: str, turn: int | None) -> str:
    """The part of an order that a fact is about: '' (the whole), or an id; from its second turn on followed by `#<turn>`."""
    return id_ if turn is None or turn == 1 else f"{id_}#{turn}"


class PaymentCaptured(Terms):
    """The money is at the PSP. gross, fee and net are this capture's: `order_gross` is there where the order's is more."""

    psp: str
    call_id: str  # of the charge, or of this capture
    psp_reference: str
    scheme: str
    capture_id: OperationId | None = None  # None: the charge took it all
    turn: int | None = None  # from 2 on: the PSP took it back in between
    final: bool | None = None  # of a capture: no other follows
    order_gross: Money | None = None
    reserve_share: ReserveShare | None = None  # of its net: available later than the rest
    instead_of: Literal["declined"] | None = None  # what was said of the charge before, and two persons have set aside

    @property
    def part(self) -> str:
        return part_of(self.capture_id or "", self.turn)


class PaymentDeclined(Terms):
    """A clear no; `deadline_passed` where no send could be made in time."""

    psp: str
    call_id: str
    code: str
    scheme: str | None = None


class PaymentPending(Terms):
    """The PSP has it and has not decided: the buyer pays on its page or authenticates, or a person there looks at it."""

    psp: str
    call_id: str
    psp_reference: str
    reason: str
    operation: OperationKind | None = None  # None: the charge
    operation_id: OperationId | None = None
    redirect_url: str | None = None  # of the page on which the buyer pays
    expires_at: datetime | None = None  # of the page


class OutcomeUnknown(Terms):
    """It may have been charged: we ask the PSP until we know."""

    psp: str
    call_id: str
    reason: str
    operation: OperationKind | None = None  # None: the charge
    operation_id: OperationId | None = None


class OutcomeUnresolved(Terms):
    """The PSP could not say in time. Only a late yes or no of the PSP ends it."""

    psp: str
    call_id: str
    reason: str
    operation: OperationKind | None = None  # None: the charge
    operation_id: OperationId | None = None


ChargeOutcome = PaymentCaptured | PaymentDeclined | PaymentPending | OutcomeUnknown | OutcomeUnresolved


# ── wallet ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class WalletMoved(Event):
    """A seller's wallet after one movement. The balances are those after it; `available` may be below zero."""

    keyed_by: ClassVar[str] = "payment_order_id"
    payment_order_id: PaymentOrderId
    checkout_id: CheckoutId
    movement_id: str
    seller_account: SellerAccount
    amount: Money
    available: Money
    pending: Money
    reserved: Money
    wallet_version: int

    def money(self) -> tuple[Money, ...]:
        return (self.amount,)


class WalletCredited(WalletMoved):
    """The seller has this much more."""

    reason: Literal["refund_reversed", "chargeback_won"] | None = None  # None: captured
    part: str | None = None  # of the order, see `part_of`; None: the whole


class WalletBalance(Event):
    """The latest balance of one wallet in one currency; a higher version replaces a lower one."""

    keyed_by: ClassVar[str] = "wallet"
    wallet: str  # <seller_account>:<currency>
    seller_account: SellerAccount
    available: Money
    pending: Money
    reserved: Money
    balance_version: int


# ── webhooks out: what their owners want ─────────────────────────────────────────────────────────────────────────────


class WebhookEndpointSet(Event):
    """Where an owner wants to hear of their payments, as it is now. Secrets do not travel: their versions do."""

    keyed_by: ClassVar[str] = "endpoint_id"
    endpoint_id: EndpointId
    owner: Owner
    url: str
    event_types: tuple[str, ...]
    secret_versions: tuple[int, ...]  # those that sign, the oldest first
    endpoint_revision: int  # higher replaces lower
    deleted: bool = False


class WebhookTestRequested(Event):
    """Send a test event to this endpoint."""

    keyed_by: ClassVar[str] = "endpoint_id"
    endpoint_id: EndpointId
    owner: Owner


class WebhookResendRequested(Event):
    """Send this delivery once more, whatever became of it."""

    keyed_by: ClassVar[str] = "endpoint_id"
    endpoint_id: EndpointId
    owner: Owner
    delivery_id: str


# ── published by the executor's sender: pseudo-topic `calls`, never on Kafka ─────────────────────────────────────────


class CallEnded(Event):
    """One send or one question to a PSP came back, or was given up for lost; the call itself may go on.

    `reply` is the redacted reply (psp.port) as JSON.
    """

    keyed_by: ClassVar[str] = "payment_order_id"
    payment_order_id: PaymentOrderId
    call_id: str
    act: Literal["send", "ask"]
    act_no: int
    reply: dict[str, object]
    ended_at: datetime  # machine time, for settling


class TimerFired(Event):
    """A timer that the room has set is due."""

    keyed_by: ClassVar[str] = "timer_key"
    kind: str
    timer_key: str
    due_at: datetime


AnyEvent = Event | RequestEvent


def every(base: type[Event]) -> list[type[Event]]:
    """All subclasses of `base`."""
    return [kind for below in base.__subclasses__() for kind in (below, *every(below))]

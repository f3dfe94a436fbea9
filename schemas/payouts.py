"""The events of pay-outs: asked for, screened, reserved, approved, released, sent, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from schemas.conversions import Conversion
from schemas.events import Event, RequestEvent
from schemas.ids import NewOperationId, OperationId, Owner, SellerAccount
from schemas.money import Money
from schemas.parts import PART
from schemas.requests import RequestPart, known_currency, positive_amount
from schemas.text import FreeText
from schemas.times import Instant

PayoutStatus = Literal[
    "received",
    "screening",
    "in_review",
    "reserving",
    "awaiting_approval",
    "on_hold",  # the seller is frozen
    "scheduled",  # for the next cut-off of its bank
    "processing",  # released to the provider
    "submitted",  # the provider has it
    "paid",
    "failed",
    "returned",  # after it was paid
    "refused",  # by a rule, or for want of money
    "rejected",  # by an approver
    "cancelled",
    "expired",
]
RESOLVED_BY_OPERATORS = "resolved_by_operators"  # the code of what two persons say to have failed
DestinationType = Literal["iban", "us_account", "provider_account"]


@dataclass(frozen=True, slots=True)
class SealedDestination:
    """Where a seller's money goes. Only risk and the executor open `sealed`; everybody else sees the rest."""

    __pydantic_config__: ClassVar[ConfigDict] = PART
    type: DestinationType
    country: str  # of the account, ISO 3166-1
    masked: str  # "DE89 … 3000"
    fingerprint: str  # 16 hex digits of a keyed digest of the account, and of the provider that has it
    sealed: str  # base64 of the opened destination (schemas.destinations), AES-256-GCM, bound to seller and type
    provider: str | None = None  # of a provider_account: nobody else can pay out to it


# ── pay-out requests: the doors ──────────────────────────────────────────────────────────────────────────────────────


class PayoutRequest(RequestPart):
    """Send this much of a seller's available money, or all of it, to the destination that the seller has."""

    payout_id: NewOperationId
    seller_account: SellerAccount
    amount: str  # a decimal number, or "all"
    currency: str
    description: Annotated[str, FreeText(140)] | None = None
    payout_currency: str | None = None  # of what is sent; None: the same

    @property
    def converted_to(self) -> str | None:
        """The currency of what is sent, where it is another one."""
        return None if self.payout_currency == self.currency else self.payout_currency

    @property
    def asked(self) -> Money | None:
        """The requested amount; None: all."""
        return None if self.amount == "all" else Money.parse(self.amount, self.currency)

    @model_validator(mode="after")
    def _is_money(self) -> Self:
        if self.amount == "all":
            known_currency(self.currency)
        else:
            positive_amount(self.amount, self.currency)
        if self.payout_currency is not None:
            known_currency(self.payout_currency, "payout_currency")
        return self


class PayoutRequested(PayoutRequest, RequestEvent):
    """A pay-out as asked for. The HTTP door names the person too."""

    keyed_by: ClassVar[str] = "payout_id"
    personal: ClassVar[frozenset[str]] = frozenset({"description"})
    owner: Owner | None = None
    requested_by: str | None = None  # "shop (key 1a2b3c4d)", as in a seller's history; None: the upstream itself
    received_at: Instant | None = None  # when the HTTP door accepted the request


class PayoutCancelRequested(RequestEvent):
    """Do not send this pay-out, if it has not left yet."""

    keyed_by: ClassVar[str] = "payout_id"
    payout_id: OperationId
    owner: Owner | None = None
    requested_by: str | None = None
    received_at: Instant | None = None


# ── the base of all that follows ─────────────────────────────────────────────────────────────────────────────────────


class PayoutEvent(Event):
    """About one pay-out."""

    keyed_by: ClassVar[str] = "payout_id"
    payout_id: OperationId


class PayoutTerms(PayoutEvent):
    """What is fixed once the money is reserved, and how a release converts it. Executor, wallet and ledger read terms nowhere
    else.
    """

    owner: Owner
    seller_account: SellerAccount
    amount: Money  # in the wallet's currency
    conversion: Conversion | None = None  # of the release; None: it is sent as it is

    @property
    def sent(self) -> Money:
        """What the destination gets."""
        return self.amount if self.conversion is None else self.conversion.target

    def terms(self) -> dict[str, object]:
        """The terms as fields of another event."""
        return {name: getattr(self, name) for name in PayoutTerms.model_fields}

    def money(self) -> tuple[Money, ...]:
        return (self.amount,)


# ── risk ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class PayoutScreeningRequested(PayoutEvent):
    """May money go to this destination now? Asked again before a release whose last answer is too old."""

    owner: Owner
    seller_account: SellerAccount
    screen_no: int = Field(ge=1)
    destination: SealedDestination  # the holder's name is in it
    amount: Money | None = None  # None: all, not reserved yet
    currency: str


class PayoutRiskDecided(PayoutEvent):
    """Risk's answer to one screening."""

    screen_no: int = Field(ge=1)
    rule: str  # the rule that decided; "none" where nothing was found
    list_version: str
    score: int = Field(ge=0, le=100)
    actor: str = "risk"
    decided_at: datetime  # a release needs a young answer, also where this event was read late


class PayoutRiskCleared(PayoutRiskDecided):
    """Nothing speaks against it."""


class PayoutRiskRefused(PayoutRiskDecided):
    """A rule or a person forbids it."""


class PayoutRiskHeld(PayoutRiskDecided):
    """A person must decide. The answer is a PayoutRiskCleared or PayoutRiskRefused with that person as its actor."""

    # A person has cleared this screening before, and a list that has come since names the party. A screening is reviewed once:
    # payouts asks for the next one.
    ask_again: bool | None = None


# ── approvals: operators ─────────────────────────────────────────────────────────────────────────────────────────────


class PayoutApproved(PayoutEvent):
    """What one person decided about a reserved pay-out. It counts once per person, and only for what it names by `sha256`."""

    personal: ClassVar[frozenset[str]] = frozenset({"reason"})
    decision: Literal["approved", "rejected"]
    approver: str = Field(min_length=1, max_length=64)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")  # of what is approved: payouts computes it, its readers show it
    reason: str = Field(min_length=1, max_length=500)


# ── payouts: what is to be done, and what has become of it ───────────────────────────────────────────────────────────


class PayoutPlaced(PayoutEvent):
    """Reserve this much, or all that is available."""

    owner: Owner
    seller_account: SellerAccount
    currency: str
    amount: Money | None = None  # None: all
    minimum: Money | None = None  # of "all": less is refused
    keep: Money | None = None  # of "all": so much stays

    def money(self) -> tuple[Money, ...]:
        return () if self.amount is None else (self.amount,)


class PayoutReleased(PayoutEvent):
    """What was reserved for it, or asked to be, is free again: the pay-out has ended without being sent."""

    seller_account: SellerAccount
    currency: str


class PayoutReady(PayoutTerms):
    """Every gate is open: send it before `deadline`. The next release has a number of its own, and passes them all again."""

    release_no: int = Field(ge=1)
    deadline: datetime
    provider: str
    bank_account: str  # ours at the provider: a part of the ledger's account names
    destination: SealedDestination
    cut_off: datetime | None = None  # when it leaves, in a file with others; None: at once


class PayoutWithdrawn(PayoutEvent):
    """Do not send this release, if it surely has not left."""

    release_no: int = Field(ge=1)


class PayoutStatusChanged(PayoutEvent):
    """Where a pay-out stands."""

    webhook_type: ClassVar[str | None] = "payout.status_changed"
    owner: Owner
    seller_account: SellerAccount
    currency: str
    status: PayoutStatus
    amount: Money | None = None  # None: all, not reserved yet
    payout_currency: str | None = None  # where it is converted
    target: Money | None = None  # what the present release sends, or the last one has sent
    rate: str | None = None  # of that release
    code: str | None = None  # why it was refused, failed, came back, or cannot be cancelled any more

    def money(self) -> tuple[Money, ...]:
        return () if self.amount is None else (self.amount,)


class PayoutRefused(PayoutEvent):
    """The request itself was not taken: broken contract, id taken, no such seller. `owner` is the sender's."""

    webhook_type: ClassVar[str | None] = "payout.refused"
    owner: Owner
    code: str
    detail: str


# ── notifications: what a provider tells us unasked ──────────────────────────────────────────────────────────────────


class PayoutNotified(Event):
    """What a provider says of a transfer of ours. Repeated and unordered by nature."""

    keyed_by: ClassVar[str] = "reference"
    reference: str  # the release's call id, as the provider gives it back
    provider: str
    notification_id: str
    source: Literal["webhook", "settlement_line", "operator", "bank_file"]
    status: Literal["accepted", "paid", "rejected", "failed", "returned"]
    amount: Money  # of the transfer; of a returned one, what has come back
    provider_reference: str
    code: str | None = None

    def money(self) -> tuple[Money, ...]:
        return (self.amount,)


class BankFileNotified(Event):
    """What a bank, or two persons in its place, say of a whole file of ours. Repeated and unordered by nature."""

    keyed_by: ClassVar[str] = "reference"
    reference: str  # the file's id: its MsgId
    provider: str
    notification_id: str
    source: Literal["bank_file", "operator"]
    status: Literal["taken", "rejected", "not_delivered"]  # taken: the bank has it, whatever becomes of its lines
    amount: Money  # of all its lines
    code: str | None = None

    def money(self) -> tuple[Money, ...]:
        return (self.amount,)


# ── pay-out executions: what the provider said ───────────────────────────────────────────────────────────────────────


class PayoutExecuted(PayoutTerms):
    """Something about one release of a pay-out. A `turn` of 2 or more: the provider had taken it back in between."""

    release_no: int = Field(ge=1)
    provider: str
    bank_account: str
    call_id: str

    @property
    def part(self) -> str:
        """The part of the pay-out that a fact is about: '' the first time, then `#<turn>`."""
        turn = getattr(self, "turn", None)
        return "" if turn is None or turn == 1 else f"#{turn}"


class PayoutSubmitted(PayoutExecuted):
    """The provider has it and will pay it."""

    provider_reference: str
    turn: int | None = None


class PayoutPaid(PayoutExecuted):
    """The money is at its destination."""

    provider_reference: str
    turn: int | None = None


class PayoutFailed(PayoutExecuted):
    """It is not paid. `submitted`: the provider had it; else a clear no, and nothing was booked."""

    submitted: bool
    code: str
    provider_reference: str | None = None
    turn: int | None = None


class PayoutReturned(PayoutExecuted):
    """It was paid and has come back; `returned` is less than what was sent where a bank has kept a charge."""

    returned: Money
    code: str
    provider_reference: str
    turn: int | None = None


class PayoutUnknown(PayoutExecuted):
    """It may have been sent: we ask the provider until we know."""

    reason: str


class PayoutUnresolved(PayoutExecuted):
    """The provider could not say in time. Only a late answer of theirs, or two persons, end it."""

    reason: str


class PayoutNotSent(PayoutExecuted):
    """This release surely sent nothing: withdrawn in time, or its deadline passed."""

    code: Literal["withdrawn", "deadline_passed"]


PayoutExecution = (
    PayoutSubmitted | PayoutPaid | PayoutFailed | PayoutReturned | PayoutUnknown | PayoutUnresolved | PayoutNotSent
)  # all that is published on payout-executions.v1


# ── wallet: reservations ─────────────────────────────────────────────────────────────────────────────────────────────


class ReservationMoved(PayoutEvent):
    """A seller's wallet after a movement for a pay-out. The balances are those after it."""

    movement_id: str
    seller_account: SellerAccount
    amount: Money
    available: Money
    pending: Money
    reserved: Money
    wallet_version: int

    def money(self) -> tuple[Money, ...]:
        return (self.amount,)


class FundsReserved(ReservationMoved):
    """So much is kept for the pay-out: its amount from now on."""


class ReservationRefused(PayoutEvent):
    """There was too little, and nothing has moved."""

    seller_account: SellerAccount
    code: Literal["insufficient_funds", "below_minimum"]
    available: Money


class ReservationReleased(ReservationMoved):
    """What was kept is available again."""


class ReservationSettled(ReservationMoved):
    """The money has left the wallet. `late`: its reservation had been given up, so `available` paid."""

    late: bool | None = None


class FundsReturned(ReservationMoved):
    """The money of a pay-out that had left is here again."""


PayoutMovement = FundsReserved | ReservationRefused | ReservationReleased | ReservationSettled | FundsReturned
PayoutRiskDecision = PayoutRiskCleared | PayoutRiskRefused | PayoutRiskHeld
PayoutOrder = (
    PayoutPlaced | PayoutReleased | PayoutReady | PayoutWithdrawn | PayoutStatusChanged | PayoutRefused
)  # all that is published on payouts.v1


# ── published by the executor's sender: pseudo-topic `calls`, never on Kafka ─────────────────────────────────────────


class PayoutCallEnded(PayoutEvent):
    """As CallEnded, of a pay-out's call."""

    call_id: str
    act: Literal["send", "ask"]
    act_no: int
    reply: dict[str, object]
    ended_at: datetime  # machine time, for settling

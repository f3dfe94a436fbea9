"""What the routes about sellers answer, for the API's description."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from producers.payability import Reason, Turn
from schemas.fees import FeeBearer, FeeRule
from schemas.payouts import DestinationType, PayoutStatus
from schemas.sellers import SellerState


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FixedFee(_Shape):
    amount: str
    currency: str


class FeePlan(_Shape):
    percent: str
    fixed: list[FixedFee]


class Reserve(_Shape):
    percent: str
    days: int


class Destination(_Shape):
    """Where the seller's money goes, as far as it may be seen. `fingerprint` is the same for the same account."""

    type: DestinationType
    country: str
    masked: str
    fingerprint: str


class Schedule(_Shape):
    currency: str
    every: Literal["day", "week", "month"]
    at: str
    weekday: int | None = None
    day: int | None = None
    minimum: str | None = None
    keep: str | None = None
    payout_currency: str | None = None


class Seller(_Shape):
    """A seller's terms; what is null is as it is for a seller that nobody has registered.

    `in_force` is the revision by which orders are taken now; null while none is.
    """

    seller_account: str
    name: str | None
    country: str | None
    state: SellerState
    hold_days: int | None
    reserve: Reserve | None
    fee_plan: FeePlan | None
    fee_refund: FeeRule | None
    fee_chargeback: FeeRule | None
    dispute_fee_on: FeeBearer | None
    destination: Destination | None
    schedules: list[Schedule] | None
    revision: int
    in_force: int | None
    created_at: datetime
    changed_at: datetime


class SellerPage(_Shape):
    """By seller_account. `next_cursor` leads on."""

    sellers: list[Seller]
    next_cursor: str | None


class SellerChange(_Shape):
    """One field, what stood before and what came in its place."""

    field: str
    before: Any
    after: Any


class SellerRevision(_Shape):
    revision: int
    changed_by: str
    reason: str | None
    at: datetime
    changes: list[SellerChange]


class SellerHistory(_Shape):
    """The newest first. `next_cursor` leads to older ones."""

    seller_account: str
    history: list[SellerRevision]
    next_cursor: str | None


class PayabilityLine(_Shape):
    """An amount with one reason. `until`: when the reason ends by itself. `nobody`: time will do it."""

    reason: Reason
    amount: str
    until: datetime | None
    whose_turn: Turn
    payout_id: str | None
    payout_status: PayoutStatus | None


class CurrencyPayability(_Shape):
    """The lines add up to `total`. `more_on` is null where no date is known on which more can be paid out."""

    currency: str
    total: str
    payable_now: str
    more_on: datetime | None
    lines: list[PayabilityLine]


class Payability(_Shape):
    seller_account: str
    currencies: list[CurrencyPayability]


class StatementLine(_Shape):
    """What has changed the available balance, and the balance after it. `about`: the capture, refund or dispute of the order."""

    at: datetime
    kind: str
    payment_order_id: str | None
    payout_id: str | None
    about: str | None
    amount: str
    available: str


class Statement(_Shape):
    """closing = opening + the lines' amounts - `payout`, where it is a pay-out's. `target` is what its destination gets, where
    that is in another currency.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    seller_account: str
    currency: str
    since: datetime | None = Field(alias="from")
    to: datetime
    opening: str
    closing: str
    payout_id: str | None = None
    payout: str | None = None
    payout_currency: str | None = None
    target: str | None = None
    rate: str | None = None
    lines: list[StatementLine]

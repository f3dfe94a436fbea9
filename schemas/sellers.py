"""A seller's terms: as asked for at a door, with one name for each way to break the contract, and as they are said."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError

from schemas.destinations import Destination
from schemas.events import Event
from schemas.fees import FeeBearer, FeePlan, FeeRule, Reserve
from schemas.ids import Owner, SellerAccount
from schemas.money import Money
from schemas.parts import PART
from schemas.payouts import SealedDestination
from schemas.requests import Country, RequestPart, amount_at, broken_field, known_currency
from schemas.text import FreeText, Refusal

SellerState = Literal["active", "frozen", "closed"]

HOLD_DAYS_MAX = 180
RESERVE_DAYS_MAX = 365
FIXED_MAX = 200  # currencies of a fee plan
SCHEDULES_MAX = 200


def _canonical(text: str) -> str:
    """With two decimals: "2.9" and "2.90" are the same plan."""
    whole, _, hundredths = text.partition(".")
    percent = f"{int(whole)}.{hundredths.ljust(2, '0')}"
    if int(whole) * 100 + int(hundredths.ljust(2, "0")) > 100 * 100:
        raise PydanticCustomError("invalid_percent", "at most 100")
    return percent


# Two decimals, as PSPs take them for a platform's share (Stripe's application_fee_percent, for one).
Percent = Annotated[
    str,
    StringConstraints(pattern=r"^(?:0|[1-9][0-9]{0,2})(?:\.[0-9]{1,2})?$"),
    Refusal("invalid_percent", 'a decimal number as a string, 0 to 100, with at most two decimals: "2.9"'),
    AfterValidator(_canonical),
]


def _days(longest: int) -> Refusal:
    return Refusal("invalid_days", f"a whole number of days, 0 to {longest}")


class AskedFixed(RequestPart):
    """A fixed fee in one currency."""

    amount: str
    currency: str

    @model_validator(mode="after")
    def _is_money(self) -> Self:
        amount_at("amount", self.amount, self.currency)
        return self


class AskedFeePlan(RequestPart):
    """The fee of an order that names none: a share of its gross and a fixed amount, rounded down, at most the gross."""

    percent: Percent
    fixed: Annotated[tuple[AskedFixed, ...], Field(max_length=FIXED_MAX)] = ()

    @field_validator("fixed")
    @classmethod
    def _once_each(cls, fixed: tuple[AskedFixed, ...]) -> tuple[AskedFixed, ...]:
        """In the order of the currencies: it means nothing."""
        if len({each.currency for each in fixed}) < len(fixed):
            raise PydanticCustomError("repeated_currency", "one fixed amount for each currency")
        return tuple(sorted(fixed, key=lambda each: each.currency))


class AskedReserve(RequestPart):
    """A share of each capture's net, kept back for so many days."""

    percent: Percent
    days: Annotated[int, Field(ge=1, le=RESERVE_DAYS_MAX), _days(RESERVE_DAYS_MAX)]


def _day_of_month(day: int) -> int:
    if day != -1 and not 1 <= day <= 28:
        raise PydanticCustomError("invalid_schedule", "1 to 28, or -1 for the last day of the month")
    return day


class AskedSchedule(RequestPart):
    """When all that is available in one currency is paid out by itself, in UTC."""

    currency: str
    every: Annotated[Literal["day", "week", "month"], Refusal("invalid_schedule", "day, week or month")]
    at: Annotated[
        str,
        StringConstraints(pattern=r"^(?:[01][0-9]|2[0-3]):[0-5][0-9]$"),
        Refusal("invalid_schedule", 'a time of day in UTC, 00:00 to 23:59: "06:00"'),
    ]
    weekday: Annotated[int, Field(ge=1, le=7), Refusal("invalid_schedule", "1 (Monday) to 7")] | None = None
    day: Annotated[int, AfterValidator(_day_of_month)] | None = None
    minimum: str | None = None
    keep: str | None = None
    payout_currency: str | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        known_currency(self.currency)
        if self.payout_currency is not None:
            known_currency(self.payout_currency, "payout_currency")
        for field in ("minimum", "keep"):
            amount = getattr(self, field)
            if amount is not None:
                amount_at(field, amount, self.currency)
        for field, period in (("weekday", "week"), ("day", "month")):
            if (getattr(self, field) is not None) != (self.every == period):
                raise broken_field(field, "invalid_schedule", f"is given for every {period}, and for nothing else")
        return self


class SellerRequest(RequestPart):
    """All that is set of a seller: what is left out is as it is for a seller that nobody has registered."""

    name: Annotated[str, FreeText(200)] | None = None
    country: Country | None = None
    state: Annotated[SellerState, Refusal("invalid_state", "active, frozen or closed")] = "active"
    hold_days: Annotated[int, Field(ge=0, le=HOLD_DAYS_MAX), _days(HOLD_DAYS_MAX)] = 0
    reserve: AskedReserve | None = None
    fee_plan: AskedFeePlan | None = None
    fee_refund: Annotated[FeeRule, Refusal("invalid_fee_rule", "none, proportional or full")] | None = None
    fee_chargeback: Annotated[FeeRule, Refusal("invalid_fee_rule", "none, proportional or full")] | None = None
    dispute_fee_on: Annotated[FeeBearer, Refusal("invalid_fee_rule", "seller or platform")] | None = None
    destination: Destination | None = None
    schedules: Annotated[tuple[AskedSchedule, ...], Field(max_length=SCHEDULES_MAX)] = ()

    @field_validator("schedules")
    @classmethod
    def _one_for_each(cls, schedules: tuple[AskedSchedule, ...]) -> tuple[AskedSchedule, ...]:
        """In the order of the currencies: it means nothing."""
        if len({each.currency for each in schedules}) < len(schedules):
            raise PydanticCustomError("repeated_currency", "one schedule for each currency")
        return tuple(sorted(schedules, key=lambda each: each.currency))


@dataclass(frozen=True, slots=True)
class Schedule:
    """When all that is available in one currency is paid out by itself. Times are UTC."""

    __pydantic_config__: ClassVar[ConfigDict] = PART
    currency: str
    every: Literal["day", "week", "month"]
    at: str  # "06:00"
    weekday: int | None = None  # of a week: 1 is Monday
    day: int | None = None  # of a month: 1 to 28, or -1 for its last
    minimum: Money | None = None  # less is not paid out
    keep: Money | None = None  # so much stays
    payout_currency: str | None = None  # of what is sent; None: the same


@dataclass(frozen=True, slots=True)
class DestinationChange:
    """Who has changed a seller's destination, and when that person did so last."""

    __pydantic_config__: ClassVar[ConfigDict] = PART
    by: str
    at: datetime


class SellerSet(Event):
    """A seller's terms as they are now, for orders that are asked for from now on. Who the seller is stays with the doors.

    What is None is as it is for a seller that nobody has registered.
    """

    keyed_by: ClassVar[str] = "seller_account"
    seller_account: SellerAccount
    owner: Owner
    seller_revision: int  # higher replaces lower
    state: SellerState
    hold_days: int | None = None
    reserve: Reserve | None = None
    fee_plan: FeePlan | None = None  # for orders that name no fee
    fee_refund: FeeRule | None = None
    fee_chargeback: FeeRule | None = None
    dispute_fee_on: FeeBearer | None = None
    destination: SealedDestination | None = None
    # Who has changed the destination last, and when; and everybody who ever has: they are makers of the next pay-outs.
    destination_changed_by: str | None = None
    destination_changed_at: datetime | None = None
    destination_changes: tuple[DestinationChange, ...] | None = None
    schedules: tuple[Schedule, ...] | None = None


FOR_PAYOUTS = (
    "destination",
    "destination_changed_by",
    "destination_changed_at",
    "destination_changes",
    "schedules",
)  # orders know nothing of it

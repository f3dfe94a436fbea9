"""The accounts whose files are reconciled, as settings name them."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_Percent = Annotated[str, Field(pattern=r"^[0-9]{1,2}(\.[0-9]{1,6})?$")]  # an exact decimal
_Amount = Annotated[str, Field(pattern=r"^[0-9]{1,6}(\.[0-9]{1,3})?$")]  # major units of the payment's currency


def _compiles(pattern: str) -> str:
    """Errors: ValueError if it is no regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return pattern


def _is_zone(name: str) -> str:
    """Errors: ValueError if this machine knows no such time zone."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone") from None
    return name


Pattern = Annotated[str, AfterValidator(_compiles)]
Zone = Annotated[str, AfterValidator(_is_zone)]


class FeeScheduleRow(BaseModel):
    """What a PSP has agreed to charge from a day on, until a later row of the same scheme and currency follows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    valid_from: date
    scheme: str | None = None  # "visa"; None: all others
    currency: str | None = None  # None: all others
    percent: _Percent = "0"
    fixed: _Amount = "0"
    minimum: _Amount | None = None
    maximum: _Amount | None = None
    rounding: Literal["half_up", "half_even", "up"] = "half_up"
    band_percent: _Percent = "0"  # interchange and scheme fees: at most

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if self.minimum and self.maximum and Decimal(self.minimum) > Decimal(self.maximum):
            raise ValueError("the minimum is above the maximum")
        return self


class ReferenceRate(BaseModel):
    """What one unit of a currency is worth in the currency of a settlement, from a day on until a later row follows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    valid_from: date
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    settled_in: str = Field(pattern=r"^[A-Z]{3}$")
    rate: str = Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,12})?$")  # an exact decimal
    band_bps: int = Field(default=100, ge=0, le=10_000)  # hundredths of a percent: how far from it a line may be

    @model_validator(mode="after")
    def _converts(self) -> Self:
        if self.currency == self.settled_in or not self.rate.strip("0."):
            raise ValueError(f"{self.currency} to {self.settled_in} at {self.rate} is no rate of exchange")
        return self


class FileSchedule(BaseModel):
    """Of which days a source must bring a file. A file is of the days from its first to its last one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first_day: date  # no file of an earlier day is missed
    days: Literal["business", "every"] = "business"
    lag_days: int = Field(default=1, ge=0, le=60)  # business days from a day to its file; the source's grace follows


class SettlementSource(BaseModel):
    """One account whose files we get: settlement reports of a PSP account, or statements of a bank account."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")
    kind: Literal["psp", "bank"] = "psp"
    psp: str = Field(
        default="", pattern=r"^([a-z][a-z0-9-]{0,31})?$"
    )  # as our books name the PSP; a bank source: empty
    bank_account: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")  # ours, as the ledger names it: paid into, or shown
    format: str = ""  # a reader's name; empty: found out from each file
    accounts: frozenset[str] = frozenset()  # account ids that a file must name; empty: any
    timezone: Zone = "UTC"  # of times without a zone, and of the cut-off
    cut_off: str = Field(default="00:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    lag_days: int = Field(default=2, ge=0, le=60)  # business days from a capture to its settlement
    grace_days: int = Field(default=2, ge=0, le=60)  # business days more before a missing line or entry is a break
    holidays: frozenset[date] = frozenset()  # beside weekends
    files: FileSchedule | None = None  # None: no file is missed by its day
    restate_limit: _Amount = "100.00"  # a newer version of a file that moves more waits for a person
    references: frozenset[Pattern] = frozenset()  # regular expressions that find a settlement in a bank's free text
    fees: tuple[FeeScheduleRow, ...] = ()
    rates: tuple[
        ReferenceRate, ...
    ] = ()  # none for a currency: its conversions are booked as they are, and not compared

    @model_validator(mode="after")
    def _is_of_one(self) -> Self:
        if (self.kind == "psp") != bool(self.psp):
            raise ValueError("a source of a PSP names it (`psp`), and one of a bank names none")
        return self

    @model_validator(mode="after")
    def _one_fee_a_day(self) -> Self:
        keys = [(row.scheme, row.currency, row.valid_from) for row in self.fees]
        if len(set(keys)) < len(keys):
            raise ValueError("two rows of the fee schedule have the same scheme, currency and first day")
        return self

    @model_validator(mode="after")
    def _one_rate_a_day(self) -> Self:
        keys = [(row.currency, row.settled_in, row.valid_from) for row in self.rates]
        if len(set(keys)) < len(keys):
            raise ValueError("two rates of the same currencies have the same first day")
        return self


def named_once(sources: tuple[SettlementSource, ...]) -> tuple[SettlementSource, ...]:
    """Errors: ValueError if two sources have one name."""
    names = [source.name for source in sources]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice!r} is the name of two sources")
    return sources

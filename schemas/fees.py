"""Fees: a seller's plan and reserve, what is returned with a refund or chargeback, and who bears the PSP's dispute fee."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from pydantic import ConfigDict

from schemas.money import Money

FeeRule = Literal["none", "proportional", "full"]
FeeBearer = Literal["seller", "platform"]

_PART = ConfigDict(strict=True, extra="ignore")
_WHOLE = 100 * 100  # hundredths of a percent


def percent_of(minor: int, percent: str) -> int:
    """So many percent ("2.90") of an amount, rounded down."""
    whole, _, hundredths = percent.partition(".")
    return minor * (int(whole) * 100 + int(hundredths.ljust(2, "0"))) // _WHOLE


@dataclass(frozen=True, slots=True)
class FeePlan:
    """A share of the gross, and a fixed amount in each currency that has one."""

    __pydantic_config__: ClassVar[ConfigDict] = _PART
    percent: str  # "2.90"
    fixed: tuple[Money, ...] = ()

    def fee(self, gross: Money) -> Money:
        """Rounded down, in favour of the seller; at most the gross."""
        fixed = sum(each.minor for each in self.fixed if each.currency == gross.currency)
        return Money(min(percent_of(gross.minor, self.percent) + fixed, gross.minor), gross.currency)


@dataclass(frozen=True, slots=True)
class Reserve:
    """A share of each capture's net that is kept back longer than the rest."""

    __pydantic_config__: ClassVar[ConfigDict] = _PART
    percent: str  # "10.00"
    days: int

    def share(self, net: int) -> int:
        """In minor units, rounded down."""
        return percent_of(net, self.percent)


@dataclass(frozen=True, slots=True)
class ReserveShare:
    """The part of one capture's net that its seller's reserve keeps back."""

    __pydantic_config__: ClassVar[ConfigDict] = _PART
    amount: Money
    available_on: datetime

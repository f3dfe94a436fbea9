"""A settlement of a PSP's account: rows that change what the PSP owes, down to the row that pays it out or carries it over."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal

from simulator.currencies import ISO

Kind = Literal[
    "capture",
    "refund",
    "refund_reversed",
    "chargeback",
    "chargeback_reversed",
    "second_chargeback",
    "fee",
    "payout",
    "payout_reversed",
    "reserve_held",
    "reserve_released",
    "carried",
    "conversion",
    "adjustment",
    "invoice",
]


class CannotWrite(Exception):
    """The format has no words for this settlement; the message is for people."""


@dataclass(frozen=True, slots=True)
class Fee:
    """Its parts in minor units of the settlement's currency; + is a cost."""

    commission: int = 0
    markup: int = 0
    scheme: int = 0
    interchange: int = 0
    tax: int = 0

    @property
    def total(self) -> int:
        return self.commission + self.markup + self.scheme + self.interchange + self.tax

    def returned(self) -> Fee:
        return Fee(-self.commission, -self.markup, -self.scheme, -self.interchange, -self.tax)


@dataclass(frozen=True, slots=True)
class Row:
    """Amounts are in ISO 4217's minor units; + is what the PSP owes us more. net = gross at the rate − fee."""

    kind: Kind
    at: int  # microseconds since 1970
    currency: str
    gross: int
    net_currency: str
    net: int
    fee: Fee = Fee()
    our_ref: str = ""  # of this operation
    psp_ref: str = ""
    charge_our_ref: str = ""  # of the charge that the operation is behind
    charge_psp_ref: str = ""
    order_ref: str = ""
    scheme: str = ""
    rate: str = ""  # how much of the net currency one of the gross currency is
    payout_ref: str = ""  # of a payout; of what is carried: the other settlement


@dataclass(frozen=True, slots=True)
class Settlement:
    """One account, one currency, one day. The rows can be read once or many times, as whoever made it says."""

    psp: str
    account: str
    number: int  # consecutive in the account
    currency: str
    day: str  # ISO 8601
    closed_at: int  # microseconds since 1970
    rows: Iterable[Row]

    @property
    def ref(self) -> str:
        return str(self.number)

    @property
    def payout_id(self) -> str:
        return f"po_{self._drawn(12).hex()}"

    @property
    def trace(self) -> str:
        """What the bank shows with the payout."""
        return f"TX{int.from_bytes(self._drawn(6), 'big') % 10**10:010d}XT"

    def _drawn(self, size: int) -> bytes:
        return hashlib.blake2b(f"{self.account}/{self.number}/{self.currency}".encode(), digest_size=size).digest()


def converted(minor: int, currency: str, rate: str, net_currency: str) -> int:
    """An amount in another currency, rounded half to even."""
    if not rate:
        return minor
    exact = Decimal(minor).scaleb(ISO[net_currency] - ISO[currency]) * Decimal(rate)
    return int(exact.quantize(Decimal(1), ROUND_HALF_EVEN))


def with_payout(
    rows: Iterable[Row], currency: str, at: int, trace: str, *, carry_to: str | None = None
) -> Iterator[Row]:
    """The rows, and at their end the one that brings the settlement to zero: a payout, or what is carried to the next."""
    left = 0
    for row in rows:
        left += row.net
        yield row
    if left:
        kind: Kind = "payout" if carry_to is None else "carried"
        yield Row(kind, at, currency, -left, currency, -left, payout_ref=trace if carry_to is None else carry_to)


def decimal_text(minor: int, digits: int) -> str:
    """Minor units as a decimal in major units: 12345 with two digits is 123.45."""
    if not digits:
        return str(minor)
    whole, rest = divmod(abs(minor), 10**digits)
    return f"{'-' if minor < 0 else ''}{whole}.{rest:0{digits}d}"

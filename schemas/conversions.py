"""An amount and a quote → what is paid out in the other currency, and what the conversion costs. Exact: integers alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from pydantic import ConfigDict

from schemas.money import DIGITS_MAX, Money, exponent
from schemas.parts import PART

BPS = 10_000  # hundredths of a percent
NotConverted = Literal["no_rate", "amount_too_small", "amount_too_large"]


class Quote(NamedTuple):
    """So many units of the other currency for one of ours, "1.0825", before the spread: hundredths of a percent that we keep."""

    rate: str
    spread_bps: int


@dataclass(frozen=True, slots=True)
class Conversion:
    """An amount as a release converts it: `cost` and `spread` together are the amount, `target` is what is sent."""

    __pydantic_config__: ClassVar[ConfigDict] = PART
    target: Money
    rate: str
    spread_bps: int
    cost: Money  # what the target is worth at that rate
    spread: Money  # ours: what was agreed, and all that rounding leaves


def convert(amount: Money, to: str, quote: Quote | None) -> Conversion | NotConverted:
    """The target is rounded down and its cost up, so that the spread is never negative. Errors: InvalidMoney."""
    if quote is None:
        return "no_rate"
    units, parts = _fraction(quote.rate)
    ours, theirs = 10 ** exponent(amount.currency), 10 ** exponent(to)
    target = amount.minor * (BPS - quote.spread_bps) * units * theirs // (BPS * parts * ours)
    if target <= 0:
        return "amount_too_small"
    if target >= 10**DIGITS_MAX:
        return "amount_too_large"
    cost = Money(-(-target * parts * ours // (units * theirs)), amount.currency)
    return Conversion(Money(target, to), *quote, cost, amount - cost)


def _fraction(rate: str) -> tuple[int, int]:
    whole, _, decimals = rate.partition(".")
    return int(whole + decimals), 10 ** len(decimals)

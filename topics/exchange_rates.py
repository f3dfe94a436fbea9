"""The rates at which pay-outs are converted: TALLY_FX, for the room payouts, and for the doors' courtesy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.conversions import BPS, Quote
from schemas.money import InvalidMoney, exponent

_RATE = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,12})?")


def _known(currency: str) -> str:
    try:
        exponent(currency)
    except InvalidMoney as error:
        raise ValueError(f"{currency!r:.10}: {error}") from None
    return currency


def _is_rate(text: str) -> str:
    if not _RATE.fullmatch(text) or not text.strip("0."):
        raise ValueError(f'{text!r:.40}: a rate is a decimal number of more than zero, as a string: "1.0825"')
    return text


Currency = Annotated[str, AfterValidator(_known)]


class FxRate(BaseModel):
    """What one unit of `currency` is worth in `payout_currency`, and the share of it that the platform keeps."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    currency: Currency
    payout_currency: Currency
    rate: Annotated[str, AfterValidator(_is_rate)]  # a string, "1.0825": at most 9 digits before the point, 12 after it
    spread_bps: int = Field(default=0, ge=0, lt=BPS)  # hundredths of a percent

    @model_validator(mode="after")
    def _converts(self) -> FxRate:
        if self.currency == self.payout_currency:
            raise ValueError(f"{self.currency} twice: a rate is of two currencies")
        return self


def pairs_once(rates: tuple[FxRate, ...]) -> tuple[FxRate, ...]:
    """Errors: ValueError if a pair has two rates."""
    pairs = [(each.currency, each.payout_currency) for each in rates]
    twice = next((pair for pair in pairs if pairs.count(pair) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice[0]} to {twice[1]} has two rates")
    return rates


class Rates(Protocol):
    """Where rates come from. Asked at each release: what it answers is fixed in that release, and never asked again."""

    def quote(self, currency: str, payout_currency: str) -> Quote | None: ...


class RateTable:
    """The rates of the settings."""

    def __init__(self, rates: Sequence[FxRate] = ()) -> None:
        self._quotes = {(each.currency, each.payout_currency): Quote(each.rate, each.spread_bps) for each in rates}

    def quote(self, currency: str, payout_currency: str) -> Quote | None:
        return self._quotes.get((currency, payout_currency))


NO_RATES = RateTable()

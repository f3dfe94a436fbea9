"""What risk alone decides by: TALLY_RISK and TALLY_RISK_LISTS."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from consumers.risk.checkout_limits import DEFAULTS, Limits, Some, currencies_without_limit
from schemas.countries import known_countries
from topics.settings import Settings


class RiskLimits(BaseModel):
    """What risk refuses or holds by number. Amounts are major units, by currency, of all orders of a checkout in it.

    `{"checkout_amount_max": {"VND": "500000000", "KWD": "0"}}` sets these two and leaves all others at the defaults below. Where
    it is 0 nothing can be charged. A number alone, as this setting was once, holds in the major units of every currency, which
    are a dollar here and a hundredth of a cent there. No currency is without a limit: `null`, or a name that is no currency,
    stops the start.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkout_amount_max: Limits = dict(DEFAULTS)  # by currency; the defaults stand below
    checkout_amount_review: Some = {}  # by currency: a checkout above it waits for a person; a currency not named never does
    buyer_checkouts_per_hour_max: int = 1000
    blocked_countries: Annotated[frozenset[str], AfterValidator(known_countries)] = frozenset({"KP", "IR", "SY", "CU"})
    lists_required: frozenset[str] = frozenset()  # names of lists: while one is missing, what would be screened waits
    screening_required: bool = True  # a pay-out to a holder without a name that could be screened waits for a person


def _complete(risk: RiskLimits) -> RiskLimits:
    if missing := currencies_without_limit(risk.checkout_amount_max):
        raise ValueError(f"no checkout_amount_max for {', '.join(missing)}: name one, in major units")
    return risk


class RiskSettings(Settings):
    """The installation's, and risk's own."""

    risk: Annotated[RiskLimits, AfterValidator(_complete)] = Field(default=RiskLimits(), validate_default=True)
    risk_lists: tuple[Path, ...] = ()  # text files, a name a line; the file's name is the list's name

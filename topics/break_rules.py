"""What one person may do about a break alone, and how soon breaks must be decided: TALLY_BREAKS, TALLY_STUCK__BREAKS."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.money import Money, exponent

Units = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,4})?$")]  # of whatever currency
DAYS_OTHERWISE = 7


class BreakRules(BaseModel):
    """A repair of more than this, in units of its currency ("100.00" of euros as of yen), needs a second person."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    second_approval_above: Units = "100.00"

    def needs_two(self, amounts: Sequence[Money]) -> bool:
        limit = Decimal(self.second_approval_above)
        return any(abs(amount.minor) > limit.scaleb(exponent(amount.currency)) for amount in amounts)


class BreakLimit(BaseModel):
    """A break of this amount or more, in units of its currency, must be decided within so many days; of one class, or of all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    amount: Units
    days: int = Field(ge=1, le=365)
    of_class: Literal["A", "B", "C"] | None = None


DECIDE_WITHIN = (
    BreakLimit(amount="100000", days=1),
    BreakLimit(amount="10000", days=3),
    BreakLimit(amount="1000", days=5),
)


def decide_by(
    within: Sequence[BreakLimit], break_class: str, minor: int, currency: str | None, opened_at: datetime
) -> datetime:
    """When a break is overdue; `minor`: its amount. Of the limits that fit the one with the highest amount holds, of two such the
    one of its class; where none fits it has seven days.
    """
    units = Decimal(0) if currency is None else Decimal(abs(minor)).scaleb(-exponent(currency))
    fitting = [
        (Decimal(each.amount), each.of_class is not None, -each.days)
        for each in within
        if each.of_class in (None, break_class) and Decimal(each.amount) <= units
    ]
    return opened_at + timedelta(days=-max(fitting)[2] if fitting else DAYS_OTHERWISE)


def overdue_since(within: Sequence[BreakLimit], now: datetime) -> datetime:
    """No break that was opened later is overdue."""
    return now - timedelta(days=min([*(each.days for each in within), DAYS_OTHERWISE]))

"""How small a pay-out may be and who approves it: TALLY_PAYOUTS, for the room payouts, and for the doors' courtesy."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.money import InvalidMoney, Money

DAY_S = 86_400


def _amount(text: str, currency: str) -> Money:
    try:
        return Money.parse(text, currency)
    except InvalidMoney as error:
        raise ValueError(f"{text!r:.40} {currency!r:.10}: {error}") from None


def _are_amounts(minimum: dict[str, str]) -> dict[str, str]:
    for currency, text in minimum.items():
        _amount(text, currency)
    return minimum


class ApprovalRule(BaseModel):
    """Pay-outs of more than `above` need so many persons, none of whom has asked for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    currency: str
    above: str  # a decimal number, as in requests
    persons: int = Field(ge=0, le=5)

    @model_validator(mode="after")
    def _is_amount(self) -> Self:
        _amount(self.above, self.currency)
        return self

    @property
    def limit(self) -> Money:
        return _amount(self.above, self.currency)


class PayoutRules(BaseModel):
    """How small a pay-out may be, who must approve it, and how long its steps are good for.

    Of the rules of a currency the one with the highest `above` under the amount holds; an amount above none needs nobody. A
    currency without a rule needs one person. Within the cooling period after a change of the destination whoever has changed it
    may not approve, and one more person is needed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    minimum: Annotated[dict[str, str], AfterValidator(_are_amounts)] = {}  # by currency: less is not paid out
    approvals: tuple[ApprovalRule, ...] = ()  # who approves: see above and below
    # A new list looks at what was cleared within both of the next two: two days at most.
    screening_life_s: int = Field(default=900, ge=60, le=DAY_S)  # a release needs an answer of risk that is younger
    release_life_s: int = Field(default=900, ge=60, le=DAY_S)  # so long may a release be sent for the first time
    reservation_life_s: int = Field(default=30 * DAY_S, ge=3600)  # what is not released by then expires
    approval_life_s: int = Field(default=7 * DAY_S, ge=3600)  # what is not approved by then expires
    destination_cooling_s: int = Field(default=DAY_S, ge=0)  # after a change of the destination

    def least(self, currency: str) -> Money | None:
        text = self.minimum.get(currency)
        return None if text is None else Money.parse(text, currency)

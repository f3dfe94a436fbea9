"""What an installation chooses → minimum, approvals and provider of a pay-out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from schemas.conversions import Conversion, NotConverted, convert
from schemas.money import Money
from schemas.payouts import SealedDestination
from topics.exchange_rates import NO_RATES, Rates
from topics.payout_accounts import PayoutAccount
from topics.payout_rules import PayoutRules


@dataclass(frozen=True, slots=True)
class Policy:
    """What an installation chooses."""

    rules: PayoutRules
    providers: Sequence[PayoutAccount]
    contents_key: bytes  # requests hold texts of people: their hash must not be guessable
    countries_blocked: frozenset[str] = frozenset()
    rates: Rates = NO_RATES

    def minimum(self, currency: str) -> Money | None:
        return self.rules.least(currency)

    def persons(self, amount: Money) -> int:
        """How many must approve this amount."""
        rules = [rule for rule in self.rules.approvals if rule.currency == amount.currency]
        if not rules:
            return 1
        exceeded = [rule for rule in rules if rule.limit < amount]
        return max(exceeded, key=lambda rule: rule.limit.minor).persons if exceeded else 0

    def provider(self, currency: str, destination: SealedDestination) -> PayoutAccount | None:
        """The first that takes the currency of what is sent, and the destination."""
        return next((each for each in self.providers if each.takes(currency, destination)), None)

    def has_rate(self, currency: str, to: str | None) -> bool:
        return to in (None, currency) or self.rates.quote(currency, to) is not None

    def conversion(self, amount: Money, to: str | None) -> Conversion | NotConverted | None:
        """At the rate of this moment; None where nothing is converted."""
        return None if to is None else convert(amount, to, self.rates.quote(amount.currency, to))

    def is_blocked(self, destination: SealedDestination) -> bool:
        """Whether nothing is paid out there. The door asks, too: the setting may be younger than the destination."""
        return destination.country in self.countries_blocked

    @property
    def screening_life(self) -> timedelta:
        return timedelta(seconds=self.rules.screening_life_s)

    @property
    def release_life(self) -> timedelta:
        return timedelta(seconds=self.rules.release_life_s)

    @property
    def reservation_life(self) -> timedelta:
        return timedelta(seconds=self.rules.reservation_life_s)

    @property
    def approval_life(self) -> timedelta:
        return timedelta(seconds=self.rules.approval_life_s)

    @property
    def destination_cooling(self) -> timedelta:
        return timedelta(seconds=self.rules.destination_cooling_s)

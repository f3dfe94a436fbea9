"""What the executor says of one order → wallet and accounts, by the real effects and templates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from consumers.ledger import templates
from consumers.ledger.templates import Entries
from consumers.wallet.decide import effect_of
from schemas.events import AnyEvent

TAKES_BACK = {"capture_reversed": "captured", "refund_reversed": "refunded", "chargeback_won": "chargeback_opened"}


class ModelBooks:
    """Errors: AssertionError, saying which rule does not hold."""

    def __init__(self) -> None:
        self.booked = self.wallet = 0
        self.accounts = Counter[str]()
        self.journals: dict[tuple[str, str], Entries] = {}

    def book(self, said: Sequence[AnyEvent]) -> None:
        """Book what was said since the last time."""
        for event in said[self.booked :]:
            booked, effect = templates.booked(event), effect_of(event)  # type: ignore[arg-type]
            if booked is None or effect is None:
                assert booked is effect, f"{event} moves the wallet or the ledger, and not both"
                continue
            assert (booked.template, booked.part) not in self.journals, f"{booked} was said twice"
            self.journals[booked.template, booked.part] = booked.entries
            if before := TAKES_BACK.get(booked.template):
                turn = self.journals[before, booked.part]
                assert {*booked.entries} == {*templates.negative(turn)}, "a reversal is not that of its turn"
            self.wallet += effect.amount.minor
            for entry in booked.entries:
                self.accounts[entry.account] += entry.amount.minor * (1 if entry.direction == "debit" else -1)
            assert not sum(self.accounts.values()), "debits are not equal to credits"
        self.booked = len(said)

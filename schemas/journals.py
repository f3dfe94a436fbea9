"""The ledger's events: journals, and the balances of accounts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from schemas.events import Event
from schemas.ids import CheckoutId, OperationId, PaymentOrderId
from schemas.money import Money, sums
from schemas.parts import PART

OrderTemplate = Literal[
    "captured", "capture_reversed", "refunded", "refund_reversed", "chargeback_opened", "chargeback_won"
]
PayoutTemplate = Literal["payout_submitted", "payout_paid", "payout_failed", "payout_returned"]
SettlementTemplate = Literal["settled", "reclassified", "statement"]
CorrectionTemplate = Literal["corrected"]
Template = Literal[OrderTemplate, PayoutTemplate, SettlementTemplate, CorrectionTemplate]


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One line of a journal."""

    __pydantic_config__: ClassVar[ConfigDict] = PART
    account: str
    direction: Literal["debit", "credit"]
    amount: Money


class JournalPosted(Event):
    """A balanced journal, of a payment order, a pay-out, a settlement or a correction: debits equal credits per currency."""

    keyed_by: ClassVar[str] = "payment_order_id"
    journal_id: str
    template: Template
    payment_order_id: PaymentOrderId | None = None
    checkout_id: CheckoutId | None = None
    payout_id: OperationId | None = None
    settlement: str | None = None  # or bank statement, or tally: the subject of a Settled event
    correction_id: str | None = None
    part: str | None = None  # of the order, see `part_of`; None: the whole; of a settlement: its revision
    entries: Annotated[tuple[LedgerEntry, ...], Field(min_length=2)]

    def money(self) -> tuple[Money, ...]:
        return sums(entry.amount for entry in self.entries if entry.direction == "debit")

    @property
    def key(self) -> str:
        """The payment order, the pay-out, the settlement or the correction."""
        return self.payment_order_id or self.payout_id or self.settlement or self.correction_id or ""


class AccountBalance(Event):
    """The latest totals of one account in one currency; a higher version replaces a lower one."""

    keyed_by: ClassVar[str] = "account_currency"
    account_currency: str  # <account>:<currency>
    account: str
    debits: Money
    credits: Money
    balance_version: int

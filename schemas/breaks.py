"""The events of breaks: what does not tie, said by reconciliation whenever a break's row changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from schemas.events import Event
from schemas.money import Money
from schemas.parts import PART
from schemas.times import Instant

Code = Literal[
    "LEDGER_MISSING",
    "WALLET_MISSING",
    "LEDGER_WALLET_DIFFER",
    "FILE_REFUSED",
    "FILE_MISSING",
    "FILE_RESTATED",
    "MISSING_AT_PSP",
    "MISSING_INTERNAL",
    "STATUS_MISMATCH",
    "AMOUNT",
    "CURRENCY",
    "FEE_VARIANCE",
    "FX_DIFFERENCE",
    "DUPLICATE_ROW",
    "DUPLICATE_CHARGE",
    "UNEXPECTED_REVERSAL",
    "PAYOUT_TOTAL",
    "PAYOUT_MISSING",
    "PAYOUT_RETURNED",
    "BANK_AMOUNT",
    "UNEXPLAINED",
]
BreakClass = Literal["A", "B", "C"]  # A: the system repairs it; B: a person decides; C: nobody knows what it is
# What wallet and ledger do not agree on: nobody is paid of it meanwhile.
HOLDS_PAYOUTS: frozenset[Code] = frozenset({"LEDGER_MISSING", "WALLET_MISSING", "LEDGER_WALLET_DIFFER"})
BreakId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


@dataclass(frozen=True, slots=True)
class RecordPlace:
    """The record of an event whose effect is missing: the room that published it can publish the same bytes again."""

    __pydantic_config__: ClassVar[ConfigDict] = PART
    event_id: str
    topic: str  # without prefix
    partition: int
    offset: int


class BreakTerms(Event):
    """What a break is now. `revision` counts its changes: whoever has heard a later one leaves an earlier one be.

    One break is one case, however many items it has: an event says their number and the sum of their amounts.
    """

    keyed_by: ClassVar[str] = "break_id"
    break_id: BreakId  # of code and subject
    revision: int = Field(ge=1)
    code: Code
    break_class: BreakClass
    subject: str  # an item, a settlement, a file, a day: what the code is about
    source: str  # whose file it is about; empty where it is about none
    psp: str  # or the bank account; empty where it is about neither
    items: int = Field(ge=0)  # that are open
    amount: Money | None = None  # of these, each without its sign; none where a break has no currency
    sellers: tuple[str, ...] = ()  # whom it is about; empty where many items are one case
    record: RecordPlace | None = None  # LEDGER_MISSING and WALLET_MISSING: what the executor publishes again
    holds_payouts: bool = False  # the sellers' pay-outs wait until it is resolved
    opened_at: Instant  # when it was opened first

    def money(self) -> tuple[Money, ...]:
        return () if self.amount is None else (self.amount,)


class BreakOpened(BreakTerms):
    """It was not there before, or was closed and is open again."""


class BreakChanged(BreakTerms):
    """It is still open: its items or amounts have changed, or what is known of it."""


class BreakResolved(BreakTerms):
    """It is closed, by itself or by a person: nothing of it is open."""


Break = BreakOpened | BreakChanged | BreakResolved

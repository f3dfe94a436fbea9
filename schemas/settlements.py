"""The events of reconciliation: files of a source, their lines in chunks, and what is booked of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import ConfigDict, Field, model_validator

from schemas.events import Event
from schemas.money import Money, sums
from schemas.parts import PART
from schemas.text import FreeText
from schemas.times import Instant

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Releasable = Literal["bad_total", "sequence_gap", "balance_gap"]
RELEASABLE: frozenset[Releasable] = frozenset(
    get_args(Releasable)
)  # what the gate refuses, and two persons may let pass


class SettlementFileStored(Event):
    """The bytes of a file are safe: the settlement report of a PSP account, or the statement of a bank account."""

    keyed_by: ClassVar[str] = "source"
    source: str  # its name in the settings
    file_id: Sha256  # of the bytes, decompressed
    upload_id: str  # of the bytes' chunks in the doors' store
    name: str  # as the sender called it
    size: int = Field(ge=0)  # bytes, decompressed
    stored_by: str | None = None  # "finance (key 1a2b3c4d)"
    received_at: Instant


class SettlementFileReleased(Event):
    """Two persons have released a file that the gate or the brake held."""

    keyed_by: ClassVar[str] = "source"
    source: str
    file_id: Sha256
    proposed_by: str
    released_by: str
    reason: Annotated[str, FreeText(500)]


class SettlementFileDiscarded(Event):
    """A person has said that nothing of this file counts."""

    keyed_by: ClassVar[str] = "source"
    source: str
    file_id: Sha256
    discarded_by: str
    reason: Annotated[str, FreeText(500)]


# ── lines: spoken and heard by reconciliation alone ──────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class LineColumns:
    """The lines of a chunk, column by column: each column has one entry a line. Amounts are in minor units × 10^scale.

    Signs: + the PSP (or bank) owes us more. fee = gross at the row's rate − net.
    """

    __pydantic_config__: ClassVar[ConfigDict] = PART
    kinds: str  # one letter a line (reconciliation.formats.shape.KINDS)
    keys: str  # 32 hex digits a line; zeros where there is none
    psp_refs: list[str]
    order_refs: list[str]
    settlements: list[int]  # index into the chunk's settlements; -1: none
    gross: list[int]
    gross_currencies: list[int]  # index into the chunk's currencies
    net: list[int]
    net_currencies: list[int]
    fees: list[int]
    commissions: list[int]
    markups: list[int]
    scheme_fees: list[int]
    interchange: list[int]
    taxes: list[int]
    rates: list[str]  # an exact decimal where the currencies differ, else ""
    at: list[int]  # seconds since 1970, UTC
    value_days: list[int]  # days since 1970
    digests: list[int]  # signed 64 bits: names the row wherever it comes
    offsets: list[int] = field(default_factory=list)  # of its first byte from the chunk's; empty: not kept
    sizes: list[int] = field(default_factory=list)  # in bytes


class SettlementLines(Event):
    """Up to 500 lines of a file that passed the gate."""

    keyed_by: ClassVar[str] = "lane"
    lane: str  # "<source>/<chunk modulo lanes>"
    source: str
    psp: str  # of the source: the PSP, or the bank account
    file_id: Sha256
    reader: str  # "<name>:<version>"
    chunk: int = Field(ge=0)
    first_line: int = Field(ge=1)  # the record number of the first line
    first_byte: int = Field(ge=0)
    last_byte: int = Field(ge=0)
    scale: int = Field(ge=0, le=9)
    settlements: tuple[str, ...]  # the refs that lines point to
    currencies: tuple[str, ...]
    lines: LineColumns


@dataclass(frozen=True, slots=True)
class NamedPayout:
    """A pay-out that the bank shows under a reference of its own, as the file gives it."""

    __pydantic_config__: ClassVar[ConfigDict] = PART
    reference: str
    amount: Money


@dataclass(frozen=True, slots=True)
class ClaimedTotal:
    """What a file says that a settlement pays out or keeps, or that a statement ends with."""

    __pydantic_config__: ClassVar[ConfigDict] = PART
    settlement: str
    amount: Money  # signed: minus where the PSP takes money
    opening: Money | None = None  # of a bank statement
    day: str | None = None  # the value day, ISO 8601
    kept: Money | None = None  # as much of the amount as stays at the PSP
    payouts: tuple[NamedPayout, ...] | None = None


class SettlementLinesEnded(Event):
    """All chunks of a file are said. Settling up waits until all of them are folded."""

    keyed_by: ClassVar[str] = "lane"
    lane: str
    source: str
    psp: str
    file_id: Sha256
    reader: str
    chunks: int = Field(ge=0)
    lines: int = Field(ge=0)
    claims: tuple[ClaimedTotal, ...]


# ── bookings: heard by the ledger ────────────────────────────────────────────────────────────────────────────────────

AmountRole = Literal[
    "receivable",  # of the PSP: lines of known facts
    "suspense",  # lines that nobody explains
    "fees",
    "reserve",
    "balance",
    "bank_clearing",
    "bank",
    "bank_fees",
    "losses",  # rounding
    "fx",  # of the PSP: the two legs of a line or a conversion in two currencies
    "fx_spread",  # what conversions within the band are worth more or less than the reference rate
]


@dataclass(frozen=True, slots=True)
class BookedAmount:
    """What one account gets: plus is a debit, minus a credit."""

    __pydantic_config__: ClassVar[ConfigDict] = PART
    role: AmountRole
    amount: Money


class Settled(Event):
    """The base of what the ledger books: the difference between what should be booked and what is."""

    keyed_by: ClassVar[str] = "subject"
    subject: str  # "<source>/<settlement>", or the tally
    revision: int = Field(ge=1)
    psp: str  # of the accounts psp:<psp>:…
    bank_account: str | None = None  # of the accounts bank:<account>…
    file_ids: tuple[Sha256, ...] = ()  # the evidence
    amounts: Annotated[tuple[BookedAmount, ...], Field(min_length=1)]  # sum to zero per currency

    @model_validator(mode="after")
    def _balances(self) -> Self:
        if any(total.minor for total in sums(each.amount for each in self.amounts)):
            raise ValueError("the amounts do not sum to zero per currency")
        return self

    def money(self) -> tuple[Money, ...]:
        return sums(each.amount for each in self.amounts if each.amount.minor > 0)


class SettlementMatched(Settled):
    """A settlement of a PSP ties: its total is what its lines add up to."""


class SettlementReclassified(Settled):
    """A line of a booked settlement has found the fact that explains it, or lost it."""


class StatementMatched(Settled):
    """A bank statement ties: what its entries moved."""


Settlement = SettlementMatched | SettlementReclassified | StatementMatched

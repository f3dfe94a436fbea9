"""A tally: what we expect under one key, and what the lines of a PSP or a bank say. Both halves are one row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal, NamedTuple, get_args

PAYMENTS = frozenset("crRbB2")  # kinds that the PSP's receivable is made of
DISPUTES = frozenset("bB2")
BANK_ENTRY = "s"
Outcome = Literal["pending", "unknown", "failed", "declined", "expired", "voided"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)  # of two words of the executor the later one here counts
JUDGED = (*sorted(PAYMENTS), BANK_ENTRY, "j", "u")  # kinds that need a fact, or an owner


class Reference(NamedTuple):
    """What both halves call one thing, in whatever currency."""

    key: str  # 32 hex digits
    kind: str
    psp: str  # or the bank account

    def __str__(self) -> str:
        return f"{self.psp}|{self.kind}|{self.key}"


class TallyLine(NamedTuple):
    """One line of a tally, in minor units."""

    digest: int
    gross: int
    fee: int
    settlement_no: int  # 0: in none
    file_no: int


@dataclass(frozen=True, slots=True)
class Tally:
    """One row, in minor units. Amounts: + the PSP or the bank owes us more."""

    key: str
    kind: str
    currency: str
    psp: str
    expected: int
    facts: tuple[int, ...]
    fee_expected: int | None  # None: not checked
    fee_slack: int
    due: date | None
    outcome: str | None  # the executor's word where nothing is expected
    payment_order_id: str | None
    seller: str | None
    settled: int
    fee: int
    lines: tuple[TallyLine, ...]
    apart: tuple[int, ...] = ()  # digests of lines that stand in suspense beside a fact

    @property
    def reference(self) -> Reference:
        return Reference(self.key, self.kind, self.psp)


def lines_of(digests: list[int], flat: list[int]) -> Iterator[TallyLine]:
    """A row's two arrays → its lines: four numbers belong to each digest."""
    parts = iter(flat)
    for digest, gross, fee, settlement_no, file_no in zip(digests, parts, parts, parts, parts, strict=True):
        yield TallyLine(digest, gross, fee, settlement_no, file_no)

"""Corrections that persons have approved: a change of sellers' wallets and a journal, which agree.

Reconciliation, wallet and ledger each `check` one before they say or book it: none of them can move what the others do not.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import orjson
from pydantic import ConfigDict, Field

from schemas.errors import Permanent
from schemas.events import Event
from schemas.ids import SellerAccount
from schemas.journals import LedgerEntry
from schemas.money import Money, sums
from schemas.parts import PART
from schemas.settlements import Sha256
from schemas.text import FreeText

ENTRIES_MAX = 200
REASON_MAX = 500
CaseId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]  # of a break or a correction

# A bank account itself is moved by its statements alone, and the spread of conversions by conversions. What is on its way to or
# from a bank is clearing: without it neither a bank's fee nor an entry that nobody explains could be corrected.
_ACCOUNT = re.compile(
    r"seller:(?P<seller>[A-Za-z0-9._~-]{1,64}):payable|psp:[A-Za-z0-9._~-]{1,64}:(?:receivable|fees|balance)"
    r"|bank:(?P<bank>[A-Za-z0-9._~-]{1,64}):clearing|suspense|platform:losses|platform:fees|bank:fees"
)
ALLOWED = (
    "seller:<id>:payable, psp:<psp>:receivable, psp:<psp>:fees, psp:<psp>:balance, bank:<account>:clearing, suspense,"
    " platform:losses, platform:fees or bank:fees"
)


@dataclass(frozen=True, slots=True)
class SellerMovement:
    """What a seller's wallet gets; minus: what it loses."""

    __pydantic_config__: ClassVar[ConfigDict] = PART
    seller_account: SellerAccount
    amount: Money


class CorrectionApproved(Event):
    """What persons have agreed to book: a journal, and as much in each seller's wallet as it moves of that seller's payable."""

    keyed_by: ClassVar[str] = "correction_id"
    personal: ClassVar[frozenset[str]] = frozenset({"reason"})
    correction_id: CaseId
    break_id: CaseId
    movements: tuple[SellerMovement, ...] = ()  # as `movements_of` its entries
    entries: Annotated[tuple[LedgerEntry, ...], Field(min_length=2, max_length=ENTRIES_MAX)]
    reason: Annotated[str, FreeText(REASON_MAX)]
    maker: str
    approver: str  # the maker, where the amount needs no second person
    sha256: Sha256  # of what is done: `hash_of`

    def money(self) -> tuple[Money, ...]:
        return sums(entry.amount for entry in self.entries if entry.direction == "debit")


def check(event: CorrectionApproved) -> None:
    """Errors: Permanent `account_not_allowed`, `invalid_amount`, `unbalanced`, `movements_differ`, in this order."""
    fault = fault_of(event.movements, event.entries)
    if fault is not None:
        raise Permanent(*fault)


def fault_of(movements: Sequence[SellerMovement], entries: Sequence[LedgerEntry]) -> tuple[str, str] | None:
    """A code and what is wrong; None if movements and entries agree."""
    for entry in entries:
        if not is_allowed(entry.account):
            return "account_not_allowed", f"{entry.account}: a correction moves {ALLOWED}"
        if entry.amount.minor <= 0:
            return "invalid_amount", f"{entry.account}: an entry's amount is above zero"
    for total in sums(entry.amount if entry.direction == "debit" else -entry.amount for entry in entries):
        if total.minor:
            return "unbalanced", f"debits and credits of {total.currency} differ by {total.amount}"
    if tuple(movements) != movements_of(entries):
        return "movements_differ", "the movements are not what the entries change of each seller's payable"
    return None


def is_allowed(account: str) -> bool:
    return _ACCOUNT.fullmatch(account) is not None


def movements_of(entries: Iterable[LedgerEntry]) -> tuple[SellerMovement, ...]:
    """By how much the entries change each seller's payable, in each currency: that is what the wallets get. Sorted."""
    changed: dict[tuple[str, str], int] = defaultdict(int)
    for entry in entries:
        found = _ACCOUNT.fullmatch(entry.account)
        if found is not None and found["seller"] is not None:
            sign = 1 if entry.direction == "credit" else -1
            changed[found["seller"], entry.amount.currency] += sign * entry.amount.minor
    return tuple(
        SellerMovement(seller, Money(minor, currency)) for (seller, currency), minor in sorted(changed.items()) if minor
    )


def hash_of(done: object) -> str:
    """SHA-256 of what is done, as JSON of one form: what a second person approves is exactly this."""
    return hashlib.sha256(orjson.dumps(done, option=orjson.OPT_SORT_KEYS)).hexdigest()

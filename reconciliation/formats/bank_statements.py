"""What the formats of banks share: entries → lines under the keys that we expect them by, and balances that follow each other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from reconciliation.formats.chunks import Chunks, Line
from reconciliation.formats.keys import Occurrences, ours, paid_out, theirs
from reconciliation.formats.refusing import Unreadable
from reconciliation.formats.shape import NOTED, Control, ReadFrom, Refusal, SettlementSum
from reconciliation.formats.times import When, iso_day
from schemas.masking import masked
from schemas.money import MINOR_MAX, Money
from schemas.settlements import ClaimedTotal

SETTLEMENT_MAX = 100  # characters
FILE_BYTES_MAX = 64 << 20  # of a bank's file in one of the older formats
_NO_REFERENCE = frozenset({"", "NOTPROVIDED", "NOT PROVIDED", "NONREF"})


def is_reference(text: str) -> bool:
    """Whether it refers to anything: banks fill the field with a word where they have none."""
    return text.upper() not in _NO_REFERENCE


@dataclass
class BankStatement:
    """One account, currency and period. Amounts in minor units; None: not said yet."""

    id: str = ""
    account: str = ""
    currency: str = ""
    opening: int | None = None
    closing: int | None = None
    closing_day: int = 0
    moved: int = 0  # by booked entries
    reversed_: int = 0  # by those of them that are reversals

    def check_total(self, column: str) -> None:
        """Errors: Unreadable `bad_total` where opening and entries are not what it closes with; `bad_row` beyond 64 bits."""
        if self.opening is None or self.closing is None:  # refused before
            return
        wrong = self.closing - self.opening - self.moved
        if max(map(abs, (self.closing, self.opening, self.moved))) > MINOR_MAX:
            raise Unreadable("bad_row", "a sum has more than 64 bits", column)
        if wrong:
            turned = " (it would if reversals had the other sign)" if wrong == -2 * self.reversed_ else ""
            short = Money(wrong, self.currency)
            raise Unreadable("bad_total", f"opening and entries miss the closing balance by {short}{turned}", column)

    def claim(self) -> ClaimedTotal:
        opening, closing = Money(self.opening or 0, self.currency), Money(self.closing or 0, self.currency)
        return ClaimedTotal(self.id, closing, opening, iso_day(self.closing_day))

    def sum(self) -> SettlementSum:
        moved = (self.closing or 0) - (self.opening or 0)
        return SettlementSum(self.id, self.currency, self.moved, moved, self.moved == moved)

    @property
    def chain(self) -> tuple[str, str]:
        """Whose balances follow each other."""
        return self.account, self.currency


class Entry(NamedTuple):
    """What a bank says of one movement, or of one payment in it."""

    amount: int  # minor units; + is a credit
    when: When
    reference: str  # the bank's own
    references: tuple[str, ...]  # of whoever has paid: the end-to-end reference first
    text: str  # free text, in which a settlement may be named
    named: tuple[str, ...]  # what names it beside account, amount and time
    number: int = 0  # among the payments of one movement
    reason: str = ""  # why it has come back
    is_natural: bool = False  # `named` alone names it, on whatever day it is told


class Entries:
    """Entries of one file → lines. Those that are only noted are in no statement, and count nowhere."""

    def __init__(self, source: ReadFrom) -> None:
        self._source = source
        self._patterns = [re.compile(pattern) for pattern in sorted(source.references)]
        self._occurrences = Occurrences()

    def line(self, statement: BankStatement, entry: Entry, kind: str = "s") -> Line:
        """The key: our call id; the settlement that is named; the bank's reference. In this order."""
        settlement = self._settlement(f"{entry.text} {' '.join(entry.references)}")
        call = next((each for each in map(ours, entry.references) if each), None)
        source, currency = self._source, statement.currency
        key = call or (
            paid_out(source.psp, settlement, currency) if settlement else theirs(source.psp, entry.reference)
        )
        order_ref = settlement or masked(entry.reason if call else next(iter(entry.references), entry.reason))
        parts = (source.name, statement.account, currency, *entry.named, str(entry.number), str(entry.amount))
        return Line(
            kind,
            key,
            entry.reference,
            order_ref,
            "" if kind == NOTED else statement.id,
            entry.amount,
            currency,
            entry.amount,
            currency,
            0,
            at=entry.when.at,
            value_day=entry.when.day,
            digest=self._occurrences.digest("\x1f".join((*parts, *(() if entry.is_natural else map(str, entry.when))))),
        )

    def _settlement(self, text: str) -> str:
        """The settlement that the source's patterns find; none where they find two."""
        found = {match[1] if match.re.groups else match[0] for each in self._patterns for match in each.finditer(text)}
        return (found.pop() or "")[:SETTLEMENT_MAX] if len(found) == 1 else ""


def check_account(account: str, source: ReadFrom, column: str) -> None:
    """A bank account of ours may have several numbers there, one for each currency. Errors: Unreadable `wrong_account`."""
    if not account or (source.accounts and account not in source.accounts):
        raise Unreadable("wrong_account", f"account {account[:40]!r} is not the source's", column)


def balance_gaps(statements: Iterable[BankStatement], column: str) -> Iterator[Refusal]:
    """Statements that do not open with what the one before of their account and currency closes with; they come in order."""
    for before, after in pairwise(sorted(statements, key=lambda each: each.chain)):
        if before.chain == after.chain and before.closing != after.opening:
            detail = f"statement {masked(after.id)} does not open with what {masked(before.id)} closes with"
            yield Refusal("balance_gap", detail, None, column)


def control_of(
    statements: Sequence[BankStatement],
    chunks: Chunks,
    version: str,
    notes: Iterable[str] = (),
    sequence: int | None = None,
) -> Control:
    days = [each.closing_day for each in statements]
    first, last = (min(days), max(days)) if days else (0, 0)
    if chunks.lines:
        first, last = min(first, chunks.first_day), max(last, chunks.last_day)
    accounts = tuple(dict.fromkeys(each.account for each in statements))
    return Control(
        f"{' and '.join(each.id for each in statements)} of {' and '.join(accounts)}",
        version,
        accounts,
        iso_day(first),
        iso_day(last),
        chunks.lines,
        sequence=sequence,
        claims=tuple(each.claim() for each in statements),
        sums=tuple(each.sum() for each in statements),
        totals=chunks.totals(),
        notes=tuple(sorted(notes)),
    )


def without_balances(identity: str, accounts: Iterable[str], chunks: Chunks, notes: Iterable[str]) -> Control:
    """Of a file of which nothing is booked. It is of no day, so that it stands in for no statement."""
    return Control(
        identity,
        "",
        tuple(dict.fromkeys(accounts)),
        "",
        "",
        chunks.lines,
        totals=chunks.totals(),
        notes=("its entries: none of them is booked", *sorted(notes)),
    )


def bounded(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Errors: Refusal `line_too_long` behind 64 MiB: no bank's statement of a day comes near."""
    size = 0
    for block in blocks:
        size += len(block)
        if size > FILE_BYTES_MAX:
            raise Refusal("line_too_long", "over 64 MiB: a file of this format has at most that")
        yield block

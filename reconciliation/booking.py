"""What the lines of a settlement add up to → what should be booked of it, and the difference to what is. Pure.

Four stations, so that "where is the money" has one answer: receivable (captured, in no settlement) → balance (settled, at
the PSP) → bank clearing (paid out, not seen) → bank (moved by statement lines alone).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from reconciliation.tally import BANK_ENTRY, PAYMENTS
from schemas.money import Money
from schemas.settlements import AmountRole, BookedAmount

Side = tuple[AmountRole, str]  # and the currency
Amounts = dict[Side, int]  # + debit, − credit

PAYOUT = "p"
PAYOUT_REVERSED = "q"
_FEES = frozenset("fi")
_RESERVE = frozenset("hH")


@dataclass(frozen=True, slots=True)
class LineSum:
    """The lines of one kind and currency in a settlement, in minor units. fee and net are in the settlement's currency."""

    kind: str
    currency: str  # of gross
    lines: int
    gross: int
    unknown: int  # as much of gross as no fact explains
    fee: int
    net: int


@dataclass(frozen=True, slots=True)
class Claim:
    """What one file says of a settlement's end: the pay-out; of a statement the closing balance, from `opening` on."""

    file_no: int
    paid: int | None  # None: it has lines of the settlement, and claims nothing
    opening: int | None = None
    kept: int = 0  # as much of it as is not paid out
    payouts: tuple[tuple[str, int], ...] = ()  # those that the bank shows under a reference of its own
    day: date | None = None  # of its end


class Change(NamedTuple):
    """By how much a settlement or statement changes, and as much of it as stays at the PSP."""

    amount: int
    kept: int


def claimed(claims: Iterable[Claim]) -> Change | None:
    """What all claims agree on; None if there is no claim, or if there are two."""
    said = {Change(claim.paid - (claim.opening or 0), claim.kept) for claim in claims if claim.paid is not None}
    return said.pop() if len(said) == 1 else None


def ties(sums: Sequence[LineSum], claims: Sequence[Claim]) -> bool:
    """Whether exactly one total is claimed, and the lines that are no pay-outs add up to it."""
    change = claimed(claims)
    paid = [each.net for each in sums if each.kind == PAYOUT]
    return (
        change is not None
        and change.amount == sum(each.net for each in sums if each.kind != PAYOUT)
        and (not paid or change.amount - change.kept == -sum(paid))
    )


def paid_out(claims: Iterable[Claim], total: int) -> dict[str, int]:
    """Pay-outs of a settlement by the bank's references; what none names is under ""."""
    named = {
        reference: amount for payouts in sorted(claim.payouts for claim in claims) for reference, amount in payouts
    }
    found = named | {"": total - sum(named.values())}
    return {reference: amount for reference, amount in found.items() if amount}


def target(sums: Iterable[LineSum], currency: str, bank: bool, kept: int = 0, spread: int = 0) -> Amounts:
    """What should be booked of a settlement that ties; sums to zero in each currency. `kept`: as much as is not paid out;
    `spread`: as much of conversions is realised.
    """
    book: Amounts = defaultdict(int, {("balance", currency): kept, ("bank_clearing", currency): -kept})
    for each in sums:
        if each.kind == PAYOUT:
            continue
        known, suspense = _sides(each, bank)
        book[known, each.currency] -= each.gross - each.unknown
        book[suspense, each.currency] -= each.unknown
        book["bank_fees" if bank else "fees", currency] += each.fee
        book["bank" if bank else "bank_clearing", currency] += each.net
        if each.currency != currency:
            book["fx", each.currency] += each.gross
            book["fx", currency] -= each.net + each.fee
    book["fx", currency] += spread
    book["fx_spread", currency] -= spread
    return {side: amount for side, amount in book.items() if amount}


def _sides(each: LineSum, bank: bool) -> tuple[AmountRole, AmountRole]:
    """The accounts that lines of a kind come from, known and unknown."""
    if bank:
        return ("bank_clearing", "suspense") if each.kind == BANK_ENTRY else ("bank_fees", "bank_fees")
    if each.kind in PAYMENTS:
        return "receivable", "suspense"
    if each.kind in _FEES:
        return "fees", "fees"
    if each.kind in _RESERVE:
        return "reserve", "reserve"
    if each.kind == "t":
        return "balance", "balance"
    if each.kind == "q":  # a pay-out that has come back
        return "bank_clearing", "bank_clearing"
    if each.kind == "x":
        return "fx", "fx"
    return "suspense", "suspense"


def difference(wanted: Mapping[Side, int], booked: Mapping[Side, int]) -> Amounts:
    """What is still to be booked. Of zero there is no amount."""
    sides = sorted({*wanted, *booked})
    amounts = {side: wanted.get(side, 0) - booked.get(side, 0) for side in sides}
    return {side: amount for side, amount in amounts.items() if amount}


def as_booked(amounts: Mapping[Side, int]) -> tuple[BookedAmount, ...]:
    return tuple(BookedAmount(role, Money(minor, currency)) for (role, currency), minor in amounts.items())


def moves_suspense_alone(amounts: Mapping[Side, int]) -> bool:
    """Whether a line has only found or lost the fact that explains it."""
    roles = {role for role, _ in amounts}
    return "suspense" in roles and roles <= {"suspense", "receivable", "bank_clearing"} and len(amounts) == 2

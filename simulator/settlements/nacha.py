"""Pay-outs in dollars that came back on a day → a file of NACHA's returns: 94 characters a line, ten lines a block."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from simulator.settlements.bank import Entry, Statement

_BANK, _COMPANY = "09140060", "123456789"
_NO_ACCOUNT = "R03"  # the reason: no such account


def returned(statements: Sequence[Statement]) -> list[Entry]:
    """What such a file holds."""
    return [e for s in statements if s.currency == "USD" for e in s.entries if ":returned:" in e.fact]


def write(entries: Sequence[Entry], closed_at: int) -> Iterator[bytes]:
    """One batch. + is what we get back."""
    made = datetime.fromtimestamp(closed_at // 1_000_000, UTC)
    yield _line(f"101 {_BANK}6 {_COMPANY:>9}{made:%y%m%d%H%M}A094101{'TALLYBANK':<23}{'TALLY SHOP':<23}")
    yield _line(f"5200{'TALLY SHOP':<16}{'':<20}{_COMPANY:<10}CTX{'PAYOUT':<10}{'':<6}{made:%y%m%d}   1{_BANK}{1:07d}")
    for place, entry in enumerate(entries, 1):
        yield _line(_entry(entry, place))
        yield _line(_addenda(entry, place))
    count, hash_ = 2 * len(entries), len(entries) * int(_BANK) % 10**10
    debit, credit = sum(-e.amount for e in entries if e.amount < 0), sum(e.amount for e in entries if e.amount > 0)
    sums = f"{hash_:010d}{debit:012d}{credit:012d}"
    yield _line(f"8200{count:06d}{sums}{_COMPANY:<10}{'':<25}{_BANK}{1:07d}")
    lines = 4 + count
    blocks = -(-lines // 10)
    yield _line(f"9{1:06d}{blocks:06d}{count:08d}{sums}")
    yield from [_line("9" * 94)] * (10 * blocks - lines)


def original_trace(entry: Entry) -> str:
    """Of the payment that came back."""
    drawn = int.from_bytes(hashlib.blake2b(entry.end_to_end.encode(), digest_size=6).digest(), "big")
    return f"{_BANK}{drawn % 10**7:07d}"


def _entry(entry: Entry, place: int) -> str:
    code = "21" if entry.amount > 0 else "26"
    return f"6{code}{_BANK}6{'0001234567':<17}{abs(entry.amount):010d}{'':<15}{'BENEFICIARY':<22}  1{_BANK}{place:07d}"


def _addenda(entry: Entry, place: int) -> str:
    information = f"{entry.end_to_end:<44}"[:44]
    return f"799{_NO_ACCOUNT}{original_trace(entry)}{'':<6}{_BANK}{information}{_BANK}{place:07d}"


def _line(text: str) -> bytes:
    return f"{text:<94}\n".encode()

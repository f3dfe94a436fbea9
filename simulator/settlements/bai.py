"""Statements of a day → BAI2: each currency a group, records that go on in lines 88, totals at three levels."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from simulator.settlements.bank import Entry, Statement, bank_reference

_WIDTH = 80
_CREDIT, _DEBIT, _RETURNED = "142", "495", "257"  # ACH credit received, outgoing money transfer, ACH return item


def write(statements: Sequence[Statement]) -> Iterator[bytes]:
    """The file, an account at a time."""
    made = datetime.fromtimestamp(statements[0].closed_at // 1_000_000, UTC)
    yield _bytes([f"01,TALLYBANK,TALLYSHOP,{made:%y%m%d},{made:%H%M},1,{_WIDTH},,2/"])
    total, records = 0, 2
    for statement in statements:
        control, lines = _account(statement)
        day = statement.day.replace("-", "")[2:]
        group = [f"02,TALLYSHOP,TALLYBANK,1,{day},2359,{statement.currency},2/", *lines]
        group.append(f"98,{control},1,{len(group) + 1}/")
        total, records = total + control, records + len(group)
        yield _bytes(group)
    yield _bytes([f"99,{total},{len(statements)},{records}/"])


def account_number(account: str, currency: str) -> str:
    """Ten digits, one number for each account and currency."""
    drawn = hashlib.blake2b(f"{account}/{currency}".encode(), digest_size=6).digest()
    return f"{int.from_bytes(drawn, 'big') % 10**10:010d}"


def _account(statement: Statement) -> tuple[int, list[str]]:
    """→ what the account adds up to, and its lines"""
    entries = list(statement.entries)
    credits, debits = [e.amount for e in entries if e.amount >= 0], [-e.amount for e in entries if e.amount < 0]
    number = account_number(statement.account, statement.currency)
    lines = [
        f"03,{number},{statement.currency},010,{statement.opening},,,015,{statement.closing},,/",
        f"88,100,{sum(credits)},{len(credits)},,400,{sum(debits)},{len(debits)},/",
        *(line for entry in entries for line in _entry(entry)),
    ]
    control = statement.opening + statement.closing + 2 * (sum(credits) + sum(debits))
    return control, [*lines, f"49,{control},{len(lines) + 1}/"]


def _entry(entry: Entry) -> list[str]:
    """A movement; its text has no slash at its end."""
    kind = _DEBIT if entry.amount < 0 else _RETURNED if ":returned:" in entry.fact else _CREDIT
    reference = entry.end_to_end.replace(",", " ")
    head = f"16,{kind},{abs(entry.amount)},Z,{bank_reference(entry.fact)},{reference},"
    rest = textwrap.wrap(f"{entry.counterparty}: {entry.text}", _WIDTH - 3, break_long_words=False) or [""]
    first, *more = rest
    if len(head) + len(first) <= _WIDTH:
        return [head + first, *(f"88,{line}" for line in more)]
    return [f"{head.removesuffix(',')}/", *(f"88,{line}" for line in rest)]


def _bytes(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()

"""Statements of a day → SWIFT's MT940, or MT942 for what the bank tells within the day: text in tagged fields, decimal commas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

from simulator.currencies import ISO
from simulator.settlements.bank import Entry, Statement, bank_reference
from simulator.settlements.camt import iban
from simulator.settlements.model import decimal_text

_WIDTH = 65  # characters of a line of details
_BEGIN = "{{1:F01TALLYBANKXXXX0000000000}}{{2:I{kind}TALLYSHOPXXXN}}{{4:"


def write_statement(statements: Sequence[Statement]) -> Iterator[bytes]:
    """MT940: a message for each account and currency."""
    for statement in statements:
        before = (date.fromisoformat(statement.day) - timedelta(days=1)).isoformat()
        yield _lines(*_head(statement, "940"), f":60F:{_balance(statement.opening, before, statement.currency)}")
        for entry in statement.entries:
            yield _entry(entry, statement)
        closing = _balance(statement.closing, statement.day, statement.currency)
        yield _lines(f":62F:{closing}", f":64:{closing}", "-}")


def write_report(statements: Sequence[Statement]) -> Iterator[bytes]:
    """MT942: the same entries before the day has ended; they come again in its statement."""
    for statement in statements:
        currency, entries = statement.currency, list(statement.entries)
        at = datetime.fromtimestamp(statement.closed_at // 1_000_000, UTC)
        made = f":13D:{at:%y%m%d%H%M}+0000"
        yield _lines(*_head(statement, "942"), f":34F:{currency}D0,", f":34F:{currency}C0,", made)
        for entry in entries:
            yield _entry(entry, statement)
        for tag, sign in (("90D", -1), ("90C", 1)):
            moved = [abs(entry.amount) for entry in entries if (entry.amount < 0) == (sign < 0)]
            yield _lines(f":{tag}:{len(moved)}{currency}{_amount(sum(moved), currency)}")
        yield _lines("-}")


def _head(statement: Statement, kind: str) -> tuple[str, ...]:
    day = statement.day.replace("-", "")[2:]
    account = iban(statement.account, statement.currency)
    return (
        _BEGIN.format(kind=kind),
        f":20:ST{day}{statement.currency}",
        f":25:{account}",
        f":28C:{statement.number}/1",
    )


def _balance(minor: int, day: str, currency: str) -> str:
    return f"{'D' if minor < 0 else 'C'}{_day(day)}{currency}{_amount(abs(minor), currency)}"


def _entry(entry: Entry, statement: Statement) -> bytes:
    """A call id is longer than what :61: has room for: it stands in the details."""
    day, mark = _day(statement.day), "D" if entry.amount < 0 else "C"
    amount = _amount(abs(entry.amount), statement.currency)
    parts = (
        f"/EREF/{entry.end_to_end}/" if entry.end_to_end else "",
        f"/NAME/{entry.counterparty}/",
        f"/REMI/{entry.text}",
    )
    line = f":61:{day}{day[2:]}{mark}{amount}NTRFNONREF//{bank_reference(entry.fact)}"
    return _lines(line, *_folded(f":86:{''.join(parts)}"))


def _folded(text: str) -> Iterator[str]:
    """The first line has its tag besides."""
    width = _WIDTH + len(":86:")
    while text:
        yield text[:width]
        text, width = text[width:], _WIDTH


def _amount(minor: int, currency: str) -> str:
    text = decimal_text(minor, ISO[currency]).replace(".", ",")
    return text if "," in text else f"{text},"


def _day(day: str) -> str:
    return day.replace("-", "")[2:]


def _lines(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode()

"""NACHA's returns of ACH payments: what banks in the USA send back, with a reason (R03), and what they want changed (NOC, C01).

Lines of 94 characters. An entry and its addenda 99 are a return, with addenda 98 a notification of change, which moves nothing
and is noted. A return of what we have sent (transaction codes …1) gives the money back, one of what we have drawn (…6) takes
it. Batches and the file say how many entries, which sum of bank numbers, how much debit and credit they hold. There are no
balances: nothing is booked of it, the money moves in the bank's statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from reconciliation.formats.bank_statements import (
    BankStatement,
    Entries,
    Entry,
    bounded,
    check_account,
    without_balances,
)
from reconciliation.formats.blocks import Lines, first_line
from reconciliation.formats.chunks import Chunks, Line
from reconciliation.formats.keys import calls_in
from reconciliation.formats.refusing import Refusals, Unreadable
from reconciliation.formats.shape import NOTED, Chunk, Control, ReadFrom, Refusal
from reconciliation.formats.times import When, day_of, iso_day
from schemas.masking import masked

_WIDTH = 94
_BLOCK = 10  # lines
_FILLER = "9" * _WIDTH
_CURRENCY = "USD"
_DIGITS = re.compile(r"[0-9]+", re.ASCII)
_HEADER = re.compile(r"101.{20}[0-9]{6}([0-9]{4}|    )[A-Z0-9]094101")
_REASON = re.compile(r"[RC][0-9]{2}", re.ASCII)
_CREDITS, _DEBITS = "1", "6"  # the second digit of a transaction code: a return of a credit, of a debit
_HASH = 10**10
_DAY_S = 86_400


@dataclass
class _Sums:
    """What a batch or a file holds."""

    entries: int = 0  # and addenda
    hash: int = 0
    debit: int = 0
    credit: int = 0

    def add(self, other: _Sums) -> None:
        self.entries, self.hash = self.entries + other.entries, self.hash + other.hash
        self.debit, self.credit = self.debit + other.debit, self.credit + other.credit


@dataclass
class _Entry:
    """A return while its addenda are read."""

    text: str
    line: int
    first_byte: int
    last_byte: int
    addenda: list[str] = field(default_factory=list)  # 98 or 99


class NachaReturns:
    name = "nacha_returns"
    version = 1
    provider = "nacha"
    of: Literal["psp", "bank"] = "bank"
    mode: Literal["replace", "union"] = "replace"
    ties = "counts, hashes, debits and credits of each batch and of the file; nothing of it is booked: there are no balances"

    def sniff(self, head: bytes, name: str) -> int:
        return 100 if _HEADER.match(first_line(head)) else 0

    def read(self, blocks: Iterable[bytes], source: ReadFrom) -> Iterator[Chunk | Control]:
        refusals = Refusals(source.released)
        with refusals.raised_at_the_end():
            file = _File(source, refusals)
            lines = Lines(bounded(blocks))
            rest = iter(lines)
            ended = lines.offset
            for number, raw in enumerate(rest, 1):
                lines.record_from = begins = ended
                ended = lines.offset
                yield from file.take(raw.strip("\r\n\ufeff"), number, begins, ended - 1)
            file.check()
            if not refusals:
                yield from file.chunks.rest()
                yield file.control()


class _File:
    """What is known while one file is read."""

    def __init__(self, source: ReadFrom, refusals: Refusals) -> None:
        self.chunks = Chunks()
        self._source, self._refusals = source, refusals
        self._entries = Entries(source)
        self._identity = ""
        self._day = 0
        self._companies: list[str] = []
        self._file, self._batch = _Sums(), _Sums()
        self._within = ""  # the record that has begun last: "1", "5", "8" or "9"
        self._batches = self._blocks = self._lines = self._taken = 0
        self._now: _Entry | None = None
        self._notes: set[str] = set()

    def take(self, text: str, number: int, first_byte: int, last_byte: int) -> Iterator[Chunk]:
        """A line of the file."""
        if not text.strip():
            return
        self._lines += 1
        if text[0] != "7" and self._now is not None:
            yield from self._entry()
        try:
            if len(text) > _WIDTH:
                raise Unreadable("bad_row", f"{len(text)} characters: a line has {_WIDTH}")
            self._record(text.ljust(_WIDTH), number, first_byte, last_byte)
        except Unreadable as error:
            self._refuse(error, number, text)

    def _record(self, text: str, number: int, first_byte: int, last_byte: int) -> None:
        """Errors: Unreadable."""
        expected = {"": "1", "1": "59", "5": "678", "8": "59", "9": "9"}[self._within]
        if text[0] not in expected or (self._within == "9" and text != _FILLER):
            raise Unreadable("bad_row", f"a record {text[0]!r} has no place there")
        if text[0] in "1589":
            self._within = text[0]
        match text[0]:
            case "1":
                self._begin(text)
            case "5":
                self._batch = _Sums()
                self._companies.append(text[40:50].strip())
                check_account(self._companies[-1], self._source, "company identification")
            case "6":
                self._now = _Entry(text, number, first_byte, last_byte)
            case "7":
                self._addenda(text, last_byte)
            case "8":
                self._file.add(self._batch)
                self._batches += 1
                _check("batch", self._batch, _numbers(text, (4, 10), (10, 20), (20, 32), (32, 44)))
            case _ if text != _FILLER:
                self._end(text)

    def _begin(self, text: str) -> None:
        made = text[23:29]
        if not _DIGITS.fullmatch(made):
            raise Unreadable("bad_row", "a file that was made on no day", "file creation date")
        self._day = day_of(f"20{made[:2]}-{made[2:4]}-{made[4:]}")
        parts = (text[13:23].strip(), iso_day(self._day), text[29:33].strip(), text[33])
        self._identity = f"returns {' '.join(filter(None, parts))}"

    def _addenda(self, text: str, last_byte: int) -> None:
        self._batch.entries += 1
        if self._now is None:
            raise Unreadable("bad_row", "addenda behind no entry")
        self._now.last_byte = last_byte
        if text[1:3] in ("98", "99"):
            self._now.addenda.append(text)

    def _end(self, text: str) -> None:
        """The file's control: its batches and blocks, and what they add up to. Errors: Unreadable."""
        batches, blocks, *sums = _numbers(text, (1, 7), (7, 13), (13, 21), (21, 31), (31, 43), (43, 55))
        self._blocks = blocks
        if batches != self._batches:
            raise Unreadable("bad_count", f"the file has {self._batches} batches, and says {batches}", "batch count")
        _check("file", self._file, sums)

    def _entry(self) -> Iterator[Chunk]:
        """An entry and its addenda are whole."""
        assert self._now is not None
        entry, self._now = self._now, None
        try:
            line = self._line(entry)
        except Unreadable as error:
            self._refuse(error, entry.line, entry.text)
            return
        self._taken += 1
        chunk = self.chunks.add(line, self._taken, entry.first_byte, entry.last_byte)
        if chunk is not None and not self._refusals:
            yield chunk

    def _line(self, entry: _Entry) -> Line:
        """Errors: Unreadable."""
        [amount] = _numbers(entry.text, (29, 39))
        [bank] = _numbers(entry.text, (3, 11))
        way = entry.text[2]
        batch = self._batch
        batch.entries, batch.hash = batch.entries + 1, batch.hash + bank
        if way == _CREDITS:
            batch.credit += amount
        else:
            batch.debit += amount
        if len(entry.addenda) != 1 or way not in (_CREDITS, _DEBITS):
            raise Unreadable("schema_drift", "an entry that is no return: no addenda 99 or 98", "transaction code")
        [told] = entry.addenda
        reason, original, trace = told[3:6], told[6:21].strip(), told[79:94].strip()
        if not _REASON.fullmatch(reason) or not _DIGITS.fullmatch(original):
            raise Unreadable("bad_row", "a return without its reason or the trace number of the original", "addenda")
        is_change = told[1:3] == "98"
        if is_change and amount:
            raise Unreadable("bad_row", "a notification of change that moves money", "amount")
        if is_change:
            self._notes.add(f"notification of change {reason}")
        calls = () if is_change else calls_in(f"{told[35:79].strip()} {entry.text[39:76]}")
        signed = amount if way == _CREDITS else -amount
        named = (told[1:3], original, reason, trace)
        when = When(self._day * _DAY_S, self._day)
        account = BankStatement(account=self._companies[-1], currency=_CURRENCY)
        told_ = Entry(signed, when, original, calls, "", named, reason=reason, is_natural=True)
        return self._entries.line(account, told_, NOTED if is_change else "s")

    def _refuse(self, error: Unreadable, line: int, text: str) -> None:
        self._refusals.add(Refusal(error.code, error.detail, line, error.column, masked(text)))

    def check(self) -> None:
        """Behind the last line. Errors: Refusal `truncated`, `bad_count`."""
        if self._refusals:
            return
        if self._within != "9":
            raise Refusal("truncated", "the file ends without its control (9)")
        blocks = -(-self._lines // _BLOCK)
        if self._blocks != blocks:
            raise Refusal("bad_count", f"the file has {blocks} blocks of ten lines, and says {self._blocks}")

    def control(self) -> Control:
        return without_balances(self._identity, self._companies, self.chunks, self._notes)


def _check(name: str, found: _Sums, said: list[int]) -> None:
    """Errors: Unreadable."""
    entries, hash_, debit, credit = said
    if entries != found.entries:
        raise Unreadable("bad_count", f"the {name} has {found.entries} entries and addenda, and says {entries}")
    if hash_ != found.hash % _HASH:
        raise Unreadable("bad_total", f"the {name}'s bank numbers add up to {found.hash % _HASH}, and it says {hash_}")
    if (debit, credit) != (found.debit, found.credit):
        detail = f"the {name} has {found.debit} of debits and {found.credit} of credits, and says {debit} and {credit}"
        raise Unreadable("bad_total", detail)


def _numbers(text: str, *places: tuple[int, int]) -> list[int]:
    """Errors: Unreadable."""
    found = [text[first:last] for first, last in places]
    if not all(map(_DIGITS.fullmatch, found)):
        raise Unreadable("bad_row", f"not a number: {next(each for each in found if not _DIGITS.fullmatch(each))!r}")
    return [int(each) for each in found]

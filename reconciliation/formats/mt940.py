"""MT940, SWIFT's statement of a bank account, and MT942, its report within a day: signed entries, references, texts.

A reversal of a credit (RC) takes money, one of a debit (RD) gives it. Opening balance + entries = closing balance, which the
library does not look at. Pages of a statement (:60M:, :62M:) are one. What an MT942 tells a statement tells again: its entries
are noted, and never booked.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from typing import Literal

from reconciliation.formats import swift_parsed
from reconciliation.formats.amounts import decimals_of
from reconciliation.formats.bank_statements import (
    SETTLEMENT_MAX,
    BankStatement,
    Entries,
    Entry,
    balance_gaps,
    check_account,
    control_of,
    without_balances,
)
from reconciliation.formats.blocks import beginning
from reconciliation.formats.chunks import Chunks, Line
from reconciliation.formats.refusing import Refusals, Unreadable
from reconciliation.formats.shape import NOTED, Chunk, Control, ReadFrom, Refusal
from reconciliation.formats.swift_fields import Field, fields_of
from reconciliation.formats.times import When, iso_day
from schemas.masking import masked
from schemas.money import Money

_IS_SWIFT = re.compile(r"^:20:.*?^:25P?:", re.MULTILINE | re.DOTALL)
_OPENS = re.compile(r"^:60[FM]:", re.MULTILINE)
_REPORTS = re.compile(r"^:(34F|90[DC]):", re.MULTILINE)
_NUMBER = re.compile(r"([0-9]{1,5})(?:/([0-9]{1,5}))?", re.ASCII)
_FLOOR = re.compile(r"([A-Z]{3})[DC ]?[0-9]*,?[0-9]*", re.ASCII)
_OF_MESSAGE = ("13", "13D", "20", "21", "25", "25P", "28", "28C", "NS")
_OF_MONEY = ("34F", "60F", "60M", "61", "62F", "62M", "64", "65", "86", "90C", "90D")
_TAGS = frozenset((*_OF_MESSAGE, *_OF_MONEY))
_MANY = frozenset(("61", "86", "NS", "65", "34F"))  # of which a message may have several
_FEBRUARY = "a 29th or 30th of February, read as its last day"
_DAY_S = 86_400


@dataclass
class _Message(BankStatement):
    """A statement, of however many messages, or a report."""

    reference: str = ""
    number: int = 0
    page: int = 0
    made: str = ""
    opening_day: int = 0
    is_open: bool = False  # more pages follow
    is_hurt: bool = False  # a part of it was refused: it cannot add up
    tags: set[str] = field(default_factory=set)  # of the message that is being read
    debits: list[int] = field(default_factory=lambda: [0, 0])  # how many, and their sum: less than 0
    credits: list[int] = field(default_factory=lambda: [0, 0])
    said: dict[str, tuple[int, int]] = field(default_factory=dict)  # :90D:, :90C: → the same

    def has(self, *tags: str) -> bool:
        return not self.tags.isdisjoint(tags)


class Mt940:
    name = "mt940"
    version = 1
    provider = "swift"
    of: Literal["psp", "bank"] = "bank"
    mode: Literal["replace", "union"] = "replace"
    ties = "in each statement opening balance + entries = closing balance, with which the next one opens"

    def sniff(self, head: bytes, name: str) -> int:
        text = beginning(head)
        return 100 if _IS_SWIFT.search(text) and _OPENS.search(text) else 0

    def read(self, blocks: Iterable[bytes], source: ReadFrom) -> Iterator[Chunk | Control]:
        yield from _read(blocks, _Statements(source, Refusals(source.released)))


class Mt942:
    name = "mt942"
    version = 1
    provider = "swift"
    of: Literal["psp", "bank"] = "bank"
    mode: Literal["replace", "union"] = "union"
    ties = "as many entries, adding up to as much, as :90D: and :90C: say; they are shown and never booked"

    def sniff(self, head: bytes, name: str) -> int:
        text = beginning(head)
        return 100 if _IS_SWIFT.search(text) and _REPORTS.search(text) and not _OPENS.search(text) else 0

    def read(self, blocks: Iterable[bytes], source: ReadFrom) -> Iterator[Chunk | Control]:
        yield from _read(blocks, _Reports(source, Refusals(source.released)))


def _read(blocks: Iterable[bytes], file: _File) -> Iterator[Chunk | Control]:
    with file.refusals.raised_at_the_end():
        for part in fields_of(blocks):
            yield from file.take(part)
        yield from file.take(None)
        file.check()
        if not file.refusals:
            yield from file.chunks.rest()
            yield file.control()


class _File(ABC):
    """What is known while one file is read: of both kinds of messages."""

    kind = "s"

    def __init__(self, source: ReadFrom, refusals: Refusals) -> None:
        self.chunks, self.refusals = Chunks(), refusals
        self.source = source
        self.ended: list[_Message] = []
        self.notes: set[str] = set()
        self._entries, self._lines = Entries(source), 0
        self._now: _Message | None = None
        self._held: tuple[Field, Field | None] | None = None  # an entry, and its details

    def take(self, part: Field | None) -> Iterator[Chunk]:
        """A field; None at the end of a message."""
        if part is not None and part.tag == "86" and self._held is not None:
            self._held = self._held[0], _with(self._held[1], part)
            return
        if self._held is not None and (part is None or part.tag != "NS"):
            yield from self._entry()
        try:
            if self._now is not None and (part is None or part.tag == "20"):
                message, self._now = self._now, None
                self.end(message)
            if part is not None:
                self._field(part)
        except Unreadable as error:
            self._refuse(error, part)

    def _field(self, part: Field) -> None:
        """Errors: Unreadable."""
        message = self._now = self._now or _Message()
        tag = part.tag
        if tag not in _TAGS:
            raise Unreadable("schema_drift", "an unknown field", f":{tag}:")
        if tag in message.tags and tag not in _MANY:
            raise Unreadable("schema_drift", "a field that stands there twice", f":{tag}:")
        if not message.tags and tag != "20":
            message.tags.add("20")
            raise Unreadable("bad_row", "a message begins with :20:", f":{tag}:")
        message.tags.add(tag)
        match tag:
            case "20":
                message.reference = part.text
            case "25" | "25P":
                message.account = _account(part.text, self.source)
                check_account(message.account, self.source, ":25:")
            case "28" | "28C":
                message.number, message.page = _numbers(part.text)
            case "13" | "13D":
                message.made = part.text
            case "61":
                self._held = part, None
            case _:
                self.money(message, part)

    @abstractmethod
    def money(self, message: _Message, part: Field) -> None:
        """A field of balances or sums. Errors: Unreadable."""

    @abstractmethod
    def end(self, message: _Message) -> None:
        """A message has ended. Errors: Unreadable."""

    def check(self) -> None:
        """Behind the last message. Errors: Refusal `empty`."""
        if not self.ended and not self.refusals:
            raise Refusal("empty", "the file has no message")

    @abstractmethod
    def control(self) -> Control: ...

    def _entry(self) -> Iterator[Chunk]:
        """The entry that is held is whole."""
        assert self._held is not None
        (part, details), self._held = self._held, None
        message = self._now
        if message is not None and message.is_hurt:
            return
        try:
            line = self._line(message, part, details)
        except Unreadable as error:
            self._refuse(error, part)
            return
        self._lines += 1
        chunk = self.chunks.add(line, self._lines, part.first_byte, (details or part).last_byte)
        if chunk is not None and not self.refusals:
            yield chunk

    def _line(self, message: _Message | None, part: Field, details: Field | None) -> Line:
        """Errors: Unreadable."""
        if message is None or not message.currency:
            raise Unreadable("schema_drift", "an entry before the balance or floor that has its currency", ":61:")
        moved = swift_parsed.movement(part, details, message.currency)
        count = message.debits if moved.amount < 0 else message.credits
        count[0], count[1] = count[0] + 1, count[1] + moved.amount
        message.moved += moved.amount
        message.reversed_ += moved.amount if moved.is_reversal else 0
        if moved.corrected:
            self.notes.add(_FEBRUARY)
        when = When(moved.booked * _DAY_S, moved.value_day)
        named = (message.id, moved.reference, moved.text, *moved.references)
        entry = Entry(moved.amount, when, moved.reference, moved.references, moved.text, named, reason=moved.reason)
        return self._entries.line(message, entry, self.kind)

    def _refuse(self, error: Unreadable, part: Field | None) -> None:
        if self._now is not None:
            self._now.is_hurt = True
        shown = "" if part is None else masked(part.written)
        self.refusals.add(Refusal(error.code, error.detail, None if part is None else part.line, error.column, shown))


def _with(details: Field | None, part: Field) -> Field:
    """Details that a second :86: goes on with."""
    if details is None:
        return part
    return Field("86", f"{details.text}\n{part.text}", details.line, details.first_byte, part.last_byte)


def _account(text: str, source: ReadFrom) -> str:
    """As the source names it: with a bank's code before it, or a currency behind it, or without."""
    given = text.partition("\n")[0].replace(" ", "")
    plain = given.rpartition("/")[2]
    forms = (given, plain, given[:-3], plain[:-3])
    return next((each for each in forms if each in source.accounts), given)


def _numbers(text: str) -> tuple[int, int]:
    """:28C: → number and page. Errors: Unreadable."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise Unreadable("bad_row", "not a number such as 42/1", ":28C:")
    return int(found[1]), int(found[2] or 0)


class _Statements(_File):
    """MT940."""

    def money(self, message: _Message, part: Field) -> None:
        if part.tag in ("60F", "60M", "62F", "62M"):
            balance = swift_parsed.balance(part)
            if part.tag.startswith("60"):
                self._open(message, part, balance)
            elif balance.currency != message.currency and not message.is_hurt:
                raise Unreadable("bad_row", "it closes in another currency than it opens in", f":{part.tag}:")
            else:
                message.closing, message.closing_day = balance.amount, balance.day
                message.is_open = part.tag == "62M"

    def _open(self, message: _Message, part: Field, balance: swift_parsed.Balance) -> None:
        """A statement, or a further page of the one before."""
        before = self.ended[-1] if part.tag == "60M" and self.ended and self.ended[-1].is_open else None
        if before is not None and before.chain == (message.account, balance.currency):
            if before.page and message.page != before.page + 1:
                detail = f"page {message.page} follows page {before.page}"
                self.refusals.add(Refusal("sequence_gap", detail, part.line, ":28C:"))
            if before.closing == balance.amount:
                self.ended.pop()
                before.tags, before.page, self._now = message.tags, message.page, before
                return
        message.currency, message.opening, message.opening_day = balance.currency, balance.amount, balance.day
        page = f"-{message.page:03d}" if part.tag == "60M" or message.page > 1 else ""
        named = f"{message.account}-{message.currency}-{iso_day(balance.day)}-{message.number}{page}"
        message.id = named[-SETTLEMENT_MAX:]

    def end(self, message: _Message) -> None:
        for tags, name in (
            (("25", "25P"), "account (:25:)"), (("28", "28C"), "number (:28C:)"), (("60F", "60M"), "opening balance (:60F:)"),
        ):  # fmt: skip
            if not message.has(*tags):
                raise Unreadable("schema_drift", f"a statement without its {name}", f":{tags[0]}:")
        if not message.has("62F", "62M"):
            raise Unreadable("truncated", "a statement ends without its closing balance", ":62F:")
        self.ended.append(message)
        if not message.is_hurt:
            message.check_total(":62F:")

    def check(self) -> None:
        super().check()
        if self.refusals:
            return
        self.ended.sort(key=lambda each: (each.opening_day, each.closing_day, each.number))
        for gap in (*balance_gaps(self.ended, ":60F:"), *_sequence_gaps(self.ended)):
            self.refusals.add(gap)

    def control(self) -> Control:
        return control_of(self.ended, self.chunks, "", self.notes)


def _sequence_gaps(messages: list[_Message]) -> Iterator[Refusal]:
    """Numbers that neither go on by one nor begin anew; where they are days of the year, days without entries have none."""
    for before, after in pairwise(sorted(messages, key=lambda each: each.chain)):
        follows = after.number in (0, 1, before.number, before.number + 1) or before.number == 0
        if before.chain == after.chain and not follows and not (_is_of_day(before) and _is_of_day(after)):
            detail = f"statement {after.number} follows {before.number} of {masked(after.account)}"
            yield Refusal("sequence_gap", detail, None, ":28C:")


def _is_of_day(message: _Message) -> bool:
    """Whether its number is the day of the year."""
    return message.number == date.fromisoformat(iso_day(message.closing_day)).timetuple().tm_yday


class _Reports(_File):
    """MT942."""

    kind = NOTED

    def money(self, message: _Message, part: Field) -> None:
        match part.tag:
            case "34F":
                found = _FLOOR.fullmatch(part.text)
                if found is None or message.currency not in ("", found[1]):
                    raise Unreadable("bad_row", "not a floor such as EURD0, or in two currencies", ":34F:")
                decimals_of(found[1])
                message.currency = found[1]
            case "90C" | "90D":
                count, amount, currency = swift_parsed.entry_sum(part)
                if currency != message.currency:
                    raise Unreadable("bad_row", "a sum in another currency than its entries", f":{part.tag}:")
                message.said[part.tag] = count, amount

    def end(self, message: _Message) -> None:
        if not message.account or not message.currency:
            raise Unreadable("schema_drift", "a report without account (:25:) or floor (:34F:)", ":34F:")
        self.ended.append(message)
        for tag, (count, amount) in (("90D", message.debits), ("90C", message.credits)):
            wanted = message.said.get(tag)
            if wanted is None or message.is_hurt:
                continue
            if wanted[0] != count:
                raise Unreadable("bad_count", f"{count} entries, and {wanted[0]} are said to be there", f":{tag}:")
            if wanted[1] != amount:
                short = Money(amount - wanted[1], message.currency)
                raise Unreadable(
                    "bad_total", f"the entries differ by {short} from what they are said to be", f":{tag}:"
                )

    def control(self) -> Control:
        names = " and ".join(f"{each.number} of {each.account} at {each.made or each.reference}" for each in self.ended)
        return without_balances(f"report {names}", [each.account for each in self.ended], self.chunks, self.notes)

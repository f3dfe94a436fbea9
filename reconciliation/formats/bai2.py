"""BAI2, the cash reports of banks in the USA: for each account balances, and movements whose type says which way money goes.

Amounts are whole minor units. Control totals add up what is written, without the signs of types, and count physical lines:
of account, group and file. Opening ledger (010) + movements = closing ledger (015), of reports at the end of a day; what a
report within the day (interim) tells is noted, and never booked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from reconciliation.formats import bai2_records
from reconciliation.formats.bai2_records import Record, Summary
from reconciliation.formats.bank_statements import (
    SETTLEMENT_MAX,
    BankStatement,
    Entries,
    Entry,
    balance_gaps,
    check_account,
    control_of,
    is_reference,
    without_balances,
)
from reconciliation.formats.blocks import first_line
from reconciliation.formats.chunks import Chunks, Line
from reconciliation.formats.keys import calls_in
from reconciliation.formats.refusing import Refusals, Unreadable
from reconciliation.formats.shape import NOTED, Chunk, Control, ReadFrom, Refusal
from reconciliation.formats.times import When, day_of
from schemas.masking import masked

_FIRST = re.compile(r"01,[^,]*,[^,]*,[0-9]{6},[0-9]{4},[^,]*,[0-9]*,[0-9]*,2 */?\s*")
_WITHIN = {"01": "", "02": "file", "03": "group", "16": "account", "49": "account", "98": "group", "99": "file"}
_OPENING, _CLOSING = "010", "015"
_INTERIM = ("1", "3")
_DAY_S = 86_400


@dataclass
class _Level:
    """A file, group or account that is being read: what it adds up to, how many lines and parts it has."""

    name: str
    total: int = 0
    lines: int = 0
    parts: int = 0

    def check(self, total: int, lines: int, parts: int | None = None) -> None:
        """Errors: Unreadable `bad_count`, `bad_total`."""
        if parts is not None and parts != self.parts:
            raise Unreadable("bad_count", f"the {self.name} has {self.parts} parts, and says {parts}")
        if lines != self.lines:
            raise Unreadable("bad_count", f"the {self.name} has {self.lines} records, and says {lines}")
        if total != self.total:
            raise Unreadable("bad_total", f"the {self.name} adds up to {self.total}, and says {total}")


@dataclass
class _Account(BankStatement):
    day: int = 0
    kind: str = "s"
    others: set[str] = field(default_factory=set)


class Bai2:
    name = "bai2"
    version = 1
    provider = "bai"
    of: Literal["psp", "bank"] = "bank"
    mode: Literal["replace", "union"] = "replace"
    ties = "totals and counts of accounts, groups and file; opening ledger (010) + movements = closing ledger (015)"

    def sniff(self, head: bytes, name: str) -> int:
        return 100 if _FIRST.fullmatch(first_line(head)) else 0

    def read(self, blocks: Iterable[bytes], source: ReadFrom) -> Iterator[Chunk | Control]:
        refusals = Refusals(source.released)
        with refusals.raised_at_the_end():
            file = _File(source, refusals)
            for record in bai2_records.records_of(blocks):
                line = file.take(record)
                if line is None:
                    continue
                file.lines += 1
                chunk = file.chunks.add(line, file.lines, record.first_byte, record.last_byte)
                if chunk is not None and not refusals:
                    yield chunk
            file.check()
            if not refusals:
                yield from file.chunks.rest()
                yield file.control()


class _File:
    """What is known while one file is read."""

    def __init__(self, source: ReadFrom, refusals: Refusals) -> None:
        self.chunks = Chunks()
        self.lines = 0
        self._source, self._refusals = source, refusals
        self._entries = Entries(source)
        self._levels: list[_Level] = []
        self._made = ""
        self._group: Any = None
        self._account = _Account()
        self._ended: list[_Account] = []
        self._notes: set[str] = set()
        self._whole = False

    def take(self, record: Record) -> Line | None:
        """The line of a movement; of all other records, none."""
        try:
            return self._take(record)
        except Unreadable as error:
            self._refusals.add(
                Refusal(error.code, error.detail, record.line, error.column or record.code, masked(record.text))
            )
        return None

    def _take(self, record: Record) -> Line | None:
        """Errors: Refusal `bad_row` for a record that has no place there; Unreadable."""
        within = self._levels[-1].name if self._levels else ""
        if self._whole or within != _WITHIN[record.code]:
            where = f"inside a {within}" if within else "outside of a file"
            raise Refusal("bad_row", f"a record {record.code} {where}", record.line, excerpt=masked(record.text))
        if record.code in ("01", "02", "03"):
            self._levels.append(_Level({"01": "file", "02": "group", "03": "account"}[record.code]))
        self._levels[-1].lines += len(record.rows)
        match record.code:
            case "01":
                self._made = bai2_records.made_at(bai2_records.values(record))
            case "02":
                self._begin_group(record)
            case "03":
                self._begin_account(record)
            case "16":
                return self._movement(record)
            case _:
                self._end(record)
        return None

    def _begin_group(self, record: Record) -> None:
        self._group = None
        group = bai2_records.values(record)
        if group.group_status.value != "1":
            what = {"2": "deletes", "3": "corrects", "4": "tests"}[group.group_status.value]
            raise Unreadable("schema_drift", f"a group that {what} another one", "group status")
        self._group = group

    def _begin_account(self, record: Record) -> None:
        account = self._account = _Account()
        account.account, given, summaries = bai2_records.account(record)
        self._levels[-1].total += sum(each.amount for each in summaries)
        if self._group is None:  # refused before
            return
        modifier = self._group.as_of_date_modifier
        account.kind = NOTED if modifier is not None and modifier.value in _INTERIM else "s"
        account.currency = bai2_records.currency_of(given or self._group.currency)
        account.day = account.closing_day = day_of(self._group.as_of_date.isoformat())
        named = f"{account.account}-{account.currency}-{self._group.as_of_date.isoformat()}"
        account.id = named[-SETTLEMENT_MAX:]
        check_account(account.account, self._source, "account")
        self._take_balances(account, summaries)

    def _take_balances(self, account: _Account, summaries: list[Summary]) -> None:
        for each in summaries:
            if each.code == _OPENING:
                account.opening = each.amount
            elif each.code == _CLOSING:
                account.closing = each.amount
        if account.kind != NOTED and (account.opening is None or account.closing is None):
            raise Unreadable("schema_drift", "an account without opening or closing ledger (010, 015)", "type code")
        if any(each.id == account.id and each.kind == account.kind == "s" for each in self._ended):
            raise Unreadable("schema_drift", "an account that is there twice on one day", "account")

    def _movement(self, record: Record) -> Line | None:
        found = bai2_records.detail(record)
        self._levels[-1].total += found.written
        account = self._account
        if found.amount is None:
            self._notes.add(f"records that move nothing ({found.code})")
            return None
        if not account.id:  # refused before
            return None
        account.moved += found.amount
        text = found.text
        references = tuple(filter(is_reference, (found.customer,)))
        named = (account.id, found.code, found.reference, found.customer, text)
        value_day = account.day if found.value_day is None else found.value_day
        when = When(account.day * _DAY_S, value_day)
        known = (*references, *calls_in(f"{found.customer} {text}"))
        return self._entries.line(account, Entry(found.amount, when, found.reference, known, text, named), account.kind)

    def _end(self, record: Record) -> None:
        """A trailer. Errors: Unreadable."""
        level = self._levels.pop()
        if record.code == "49":
            self._ended.append(self._account)
        above = self._levels[-1] if self._levels else _Level("")
        above.lines, above.total, above.parts = above.lines + level.lines, above.total + level.total, above.parts + 1
        said = bai2_records.values(record)
        match record.code:
            case "49":
                level.check(said.account_control_total, said.number_of_records)
                if self._account.kind != NOTED:
                    self._account.check_total("015")
            case "98":
                level.check(said.group_control_total, said.number_of_records, said.number_of_accounts)
            case _:
                self._whole = True
                level.check(said.file_control_total, said.number_of_records, said.number_of_groups)

    def check(self) -> None:
        """Behind the last record. Errors: Refusal `truncated`, `empty`."""
        if not self._whole and not self._refusals:
            raise Refusal("truncated", "the file ends without its trailer (99)")
        if not self._ended and not self._refusals:
            raise Refusal("empty", "the file has no account")
        if not self._refusals:
            for gap in balance_gaps(self._booked(), "010"):
                self._refusals.add(gap)

    def _booked(self) -> list[_Account]:
        return sorted((each for each in self._ended if each.kind != NOTED), key=lambda each: each.day)

    def control(self) -> Control:
        booked = self._booked()
        if booked:
            return control_of(booked, self.chunks, self._made, self._notes)
        names = [each.account for each in self._ended]
        return without_balances(f"report {self._made} of {' and '.join(names)}", names, self.chunks, self._notes)

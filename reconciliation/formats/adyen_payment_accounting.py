"""Adyen's Payment accounting report (CSV): each status that a payment of a merchant account has reached, on its day.

Columns: docs.adyen.com, reporting, invoice reconciliation, Payment accounting report. It has no pay-outs, transfers or
corrections, so nothing says what its rows come to; and what is settled the Settlement details say again. Its rows are
evidence: they show how a payment stands, and move nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from reconciliation.formats.adyen_settlement_details import EXPONENTS
from reconciliation.formats.amounts import FinerUnits, decimals_of
from reconciliation.formats.blocks import first_line
from reconciliation.formats.chunks import Chunks, Line, as_evidence
from reconciliation.formats.keys import Occurrences, ours, theirs
from reconciliation.formats.records import Columns, Records, normal
from reconciliation.formats.refusing import Cell, Refusals, Unreadable
from reconciliation.formats.rows import chunked
from reconciliation.formats.shape import Chunk, Control, ReadFrom, Refusal
from reconciliation.formats.times import Times
from schemas.masking import masked

_REQUIRED = (
    *("merchant account", "psp reference", "merchant reference", "booking date", "timezone", "record type"),
    *("modification psp reference", "main currency", "main amount", "payment currency", "settlement currency"),
)
_AMOUNT = re.compile(r".* (?:pc|sc|fc)|(?:.* )?amount")  # registers of payment, settlement and fee currency


class AdyenPaymentAccounting:
    name = "adyen_payment_accounting"
    version = 1
    provider = "adyen"
    of: Literal["psp", "bank"] = "psp"
    mode: Literal["replace", "union"] = "union"
    ties = "nothing: it has no pay-outs; its rows are evidence of how payments stand, beside the settlement details"

    def sniff(self, head: bytes, name: str) -> int:
        columns = {normal(column) for column in first_line(head).split(",")}
        return 95 if columns.issuperset(_REQUIRED) else 60 if {"record type", "payable sc"} <= columns else 0

    def read(self, blocks: Iterable[bytes], source: ReadFrom) -> Iterator[Chunk | Control]:
        refusals = Refusals(source.released)
        with refusals.raised_at_the_end():
            records = Records(blocks)
            statuses = _Statuses(Columns(records.header(), required=_REQUIRED), source)
            yield from chunked(records, statuses.columns, statuses.chunks, refusals, statuses.line, statuses.cells)
            if not refusals:
                yield statuses.control()


class _Statuses:
    """What is known while one file is read."""

    def __init__(self, columns: Columns, source: ReadFrom) -> None:
        self.columns, self.chunks = columns, Chunks()
        self._source = source
        self._pick = columns.picker(*_REQUIRED, "modification merchant reference")
        self._amounts = {name: columns.place(name) for name in map(normal, columns.names) if _AMOUNT.fullmatch(name)}
        self._units, self._times, self._occurrences = FinerUnits(), Times(), Occurrences()
        self._accounts: set[str] = set()
        self._met: dict[str, int] = {}  # statuses, and how often

    def line(self, row: list[str]) -> Line:
        """Errors: Unreadable."""
        (account, psp_ref, merchant_ref, booked, zone, status, modification, currency, amount,
         charged_in, settled_in, modification_ref) = self._pick(row)  # fmt: skip
        if account not in self._accounts:
            self._meet_account(account)
        self._check_amounts(row, currency, amount, (charged_in, settled_in))
        if not status:
            raise Unreadable("bad_row", "there is no record type", "Record Type")
        when = self._times[booked, zone]
        self._met[masked(status)[:40]] = self._met.get(masked(status)[:40], 0) + 1
        named = (self._source.name, account, psp_ref, merchant_ref, modification, status, booked, zone, currency)
        text = "\x1f".join((*named, *(row[place] for place in self._amounts.values())))
        key = ours(modification_ref) or ours(merchant_ref) or theirs(self._source.psp, modification or psp_ref)
        order = "" if ours(merchant_ref) else masked(merchant_ref)
        named_by = f"{masked(status)[:40]} {modification or psp_ref}".strip()
        money = (0, currency, 0, currency, 0)
        told = Line("e", key, named_by, order, "", *money, digest=self._occurrences.digest(text))
        return as_evidence(told._replace(at=when.at, value_day=when.day))

    def _check_amounts(self, row: list[str], currency: str, amount: str, others: tuple[str, str]) -> None:
        """Numbers with as many decimals as Adyen has of the currency."""
        for place in self._amounts.values():
            self._units[row[place]]
        for each in filter(None, (currency, *others)):
            decimals_of(each)
        decimals = decimals_of(currency, EXPONENTS)[0]
        if len(amount.partition(".")[2].rstrip("0")) > decimals:
            raise Unreadable("wrong_decimals", f"more than {decimals} decimals", "Main Amount")

    def _meet_account(self, account: str) -> None:
        """Errors: Unreadable. A report may be of a company: then its merchant accounts are those of the source."""
        wanted = self._source.accounts
        if not account or (wanted and account not in wanted) or (self._accounts and not wanted):
            detail = f"merchant account {masked(account)[:80]!r} is not the source's, or is a second one"
            raise Unreadable("wrong_account", detail)
        self._accounts.add(account)

    def _is_met(self, account: str) -> None:
        if account not in self._accounts:
            raise Unreadable("wrong_account", "")

    def cells(self, row: list[str]) -> Iterator[Cell]:
        """In the order in which a row's columns are read."""
        zone, place = row[self.columns.place("timezone")], self.columns.place
        readers: dict[str, Callable[[str], object]] = {
            "merchant account": self._is_met,
            **dict.fromkeys(self._amounts, self._units.parse),
            "main currency": decimals_of,
            **dict.fromkeys(("payment currency", "settlement currency"), lambda text: text and decimals_of(text)),
            "booking date": lambda text: self._times[text, zone],
        }
        return ((self.columns.written(name), place(name), read) for name, read in readers.items())

    def control(self) -> Control:
        """It stands in for the file of no day. Errors: Refusal `empty`."""
        chunks = self.chunks
        if not chunks.lines:
            raise Refusal("empty", "the file has no line but its header")
        accounts, (first, last) = sorted(self._accounts), chunks.days()
        met = [f"{count} {status}" for status, count in sorted(self._met.items())]
        return Control(
            f"payment accounting of {accounts[0]} {first} to {last}", "", tuple(accounts), "", "", chunks.lines,
            totals=chunks.totals(), notes=(*self.columns.notes, *met[:40]),
        )  # fmt: skip

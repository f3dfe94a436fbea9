"""A settled day → its files, by source: what each PSP reports in its format, and the bank's statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import NamedTuple

from simulator.mischief import restated
from simulator.settlements import adyen, adyen_accounting, bai, camt, checkoutcom, nacha, native, paypal, stripe, swift
from simulator.settlements.bank import Bank, Statement
from simulator.settlements.books import Batch, Closed, FileFaultOf, SettlementBooks
from simulator.settlements.model import Settlement
from simulator.settlements.names import bank_report_name, first_name, payouts_name, report_name
from simulator.settlements.terms import BankFormat, Format

ONE_EACH: frozenset[Format] = frozenset({"native", "checkoutcom", "checkoutcom_actions"})  # a file for each settlement
WITH_PAYOUTS: frozenset[Format] = frozenset(
    {"checkoutcom", "checkoutcom_actions"}
)  # and one that says what was paid out
_AN_HOUR_US = 3_600_000_000


class SettlementFile(NamedTuple):
    """`source` is the PSP or the bank account; `write` makes the bytes, a line at a time."""

    source: str
    name: str
    format: str
    write: Callable[[], Iterator[bytes]]

    def told(self) -> dict[str, str]:
        return {"source": self.source, "name": self.name, "format": self.format}


class Files:
    """The files of settled days, made anew each time from the books: the same bytes."""

    def __init__(self, books: SettlementBooks, bank: Bank) -> None:
        self._books = books
        self._bank = bank

    def of(self, closed: Closed, psp: str | None = None, wanted: Format | None = None) -> Iterator[SettlementFile]:
        """The day's files, or one PSP's, or in another format than the terms say; first what the day before kept back."""
        before = self._books.day_before(closed.day)
        for day in (before, closed) if before else (closed,):
            for name, batches in groupby(self._books.batches(day.day), key=lambda batch: batch.psp):
                if psp in (None, name):
                    written = wanted or day.terms.formats.get(name, "native")
                    yield from self._of_psp(list(batches), day, written, late=day is not closed)
        if psp is None:
            yield from self._of_bank(closed)

    def _of_psp(
        self, batches: Sequence[Batch], day: Closed, written: Format, *, late: bool
    ) -> Iterator[SettlementFile]:
        """A PSP's reports of a day: in some formats each settlement is a file."""
        psp, number = batches[0].psp, batches[0].number
        fault = self._books.file_fault(psp, number)
        for of_file in [[batch] for batch in batches] if written in ONE_EACH else [batches]:
            name = report_name(written, psp, day.day, number, of_file[0].currency)
            has_fault = fault is not None and any(batch.currency == fault.currency for batch in of_file)
            if late != (has_fault and fault is not None and fault.fault == "missing_file"):
                continue
            if has_fault and fault is not None:
                yield from self._first_version(fault, name, of_file, day, written)
            yield SettlementFile(psp, name, written, self._writer(self._repeated(of_file, written), day, written))
        if written in WITH_PAYOUTS and not late:
            found = partial(self._settlements, batches)
            yield SettlementFile(psp, payouts_name(psp, day.day), written, lambda: checkoutcom.write_payouts(found()))

    def _first_version(
        self, fault: FileFaultOf, name: str, batches: Sequence[Batch], day: Closed, written: Format
    ) -> Iterator[SettlementFile]:
        whole = self._writer(batches, day, written)
        if fault.fault == "truncated_file":
            yield SettlementFile(batches[0].psp, first_name(name), written, lambda: _cut(whole()))
        elif fault.fault == "restated_file":
            former = self._writer(batches, day, written, fault)
            yield SettlementFile(batches[0].psp, first_name(name), written, former)

    def _repeated(self, batches: Sequence[Batch], written: Format) -> Sequence[Batch]:
        """With those of the batch before, if that is planted."""
        psp, number = batches[0].psp, batches[0].number
        fault = self._books.file_fault(psp, number - 1)
        if written != "adyen" or fault is None or fault.fault != "repeated_batch":
            return batches
        return [*self._books.batches_of(psp, number - 1), *batches]

    def _writer(
        self, batches: Sequence[Batch], day: Closed, written: Format, former: FileFaultOf | None = None
    ) -> Callable[[], Iterator[bytes]]:
        """What writes the file; of one that is restated the `former` version."""
        settlements = partial(self._settlements, batches, former)
        match written:
            case "adyen":
                return lambda: adyen.write(settlements())
            case "stripe":
                return lambda: stripe.write(settlements())
            case "paypal":
                return lambda: paypal.write(settlements(), day.until_us + (0 if former else _AN_HOUR_US))
            case "native":
                return lambda: native.write(settlements()[0])
            case "checkoutcom":
                return lambda: checkoutcom.write(settlements()[0])
            case "checkoutcom_actions":
                return lambda: checkoutcom.write_actions(settlements()[0])
            case "adyen_accounting":
                return lambda: adyen_accounting.write(settlements())
            case "stripe_activity":
                return lambda: stripe.write_activity(settlements())
            case "paypal_trr":
                return lambda: paypal.write(settlements(), day.until_us, detail=True)

    def _settlements(self, batches: Sequence[Batch], former: FileFaultOf | None = None) -> list[Settlement]:
        found = [self._books.settlement(batch) for batch in batches]
        return found if former is None else [_as_before(each, former) for each in found]

    def _of_bank(self, closed: Closed) -> Iterator[SettlementFile]:
        """All that the bank sends of the day: its statement, and what tells the same besides."""
        if not self._bank.statements(closed.day):
            return
        account = closed.terms.bank_account
        for written in closed.terms.bank_formats:
            if written == "nacha" and not nacha.returned(self._bank.statements(closed.day)):
                continue
            name = bank_report_name(written, account, closed.day)
            yield SettlementFile(account, name, written, self._bank_writer(written, closed))

    def _bank_writer(self, written: BankFormat, closed: Closed) -> Callable[[], Iterator[bytes]]:
        def statements() -> list[Statement]:
            return self._bank.statements(closed.day)  # their entries can be read once

        match written:
            case "camt.053":
                return lambda: camt.write(statements())
            case "camt.054":
                return lambda: camt.write_notification(statements())
            case "mt940":
                return lambda: swift.write_statement(statements())
            case "mt942":
                return lambda: swift.write_report(statements())
            case "bai2":
                return lambda: bai.write(statements())
            case "nacha":
                return lambda: nacha.write(nacha.returned(statements()), closed.until_us)


def _as_before(settlement: Settlement, fault: FileFaultOf) -> Settlement:
    if settlement.currency != fault.currency:
        return settlement
    return replace(settlement, rows=restated(list(settlement.rows), fault.delta))


def _cut(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Six tenths of the file, in the middle of a line."""
    whole = b"".join(lines)
    end = len(whole) * 6 // 10
    yield whole[: end - (whole[end - 1 : end] in b"\r\n")]

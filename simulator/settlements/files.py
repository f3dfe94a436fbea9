"""A settled day → its files, by source: what each PSP reports in its format, and the bank's statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from simulator.settlements import adyen, camt, native, paypal, stripe
from simulator.settlements.bank import Bank
from simulator.settlements.books import Batch, Closed, SettlementBooks
from simulator.settlements.model import Settlement
from simulator.settlements.terms import Format


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
        """The day's files, or one PSP's, or in another format than the terms say."""
        for name, batches in groupby(self._books.batches(closed.day), key=lambda batch: batch.psp):
            if psp in (None, name):
                yield from self._of_psp(name, list(batches), closed, wanted or closed.terms.formats.get(name, "native"))
        if psp is None:
            yield from self._of_bank(closed)

    def _of_psp(self, psp: str, batches: Sequence[Batch], closed: Closed, wanted: Format) -> Iterator[SettlementFile]:
        def settlements() -> list[Settlement]:
            return [self._books.settlement(batch, closed) for batch in batches]

        number, day = batches[0].number, closed.day
        match wanted:
            case "adyen":
                name = f"settlement_detail_report_batch_{number}.csv"
                yield SettlementFile(psp, name, wanted, lambda: adyen.write(settlements()))
            case "stripe":
                name = f"payout_reconciliation.itemized.5-{psp}-{day}.csv"
                yield SettlementFile(psp, name, wanted, lambda: stripe.write(settlements()))
            case "paypal":
                name = f"STL-{day.replace('-', '')}.01.009.CSV"
                yield SettlementFile(psp, name, wanted, lambda: paypal.write(settlements(), closed.until_us))
            case "native":
                for batch in batches:
                    name = f"settlement-{psp}-{number}-{batch.currency}.csv"
                    yield SettlementFile(psp, name, wanted, self._native(batch, closed))

    def _native(self, batch: Batch, closed: Closed) -> Callable[[], Iterator[bytes]]:
        return lambda: native.write(self._books.settlement(batch, closed))

    def _of_bank(self, closed: Closed) -> Iterator[SettlementFile]:
        statements = self._bank.statements(closed.day)
        if statements:
            account = statements[0].account
            name = f"camt053-{account}-{closed.day}.xml"
            yield SettlementFile(account, name, "camt.053", lambda: camt.write(statements))

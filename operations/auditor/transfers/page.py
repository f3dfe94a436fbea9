"""The page of transfers: pay-outs in the executor, against their providers' listings and their banks' files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from operations.auditor.engine import psps
from operations.auditor.engine.findings import Finding, Hop
from operations.auditor.engine.page import PageDefaults, PlannedCheck
from operations.auditor.engine.published import PublishedIds
from operations.auditor.engine.run import Run
from operations.auditor.engine.stores import Stores, scan, slices
from operations.auditor.transfers import bank_files
from operations.auditor.transfers.bank_files import WHOLE, BankFolders
from operations.auditor.transfers.books import Line, PayoutCall, SentPayout, TransferBooks
from operations.auditor.transfers.compare import (
    BY_LISTINGS,
    CALLED,
    KNOWN,
    compare_calls,
    compare_listings,
    further_there,
)
from psp.payout_port import ListedTransfer, TransferReference
from psp.port import ListingError
from psp.registry import make_providers
from schemas.money import Money

_PAYOUTS = """
SELECT payout_id, release_no, call_id, provider, state, sent_minor, sent_currency, returned_minor, provider_reference, checking
FROM payout_view"""
_CALLED = "SELECT DISTINCT payout_id FROM call_view WHERE payout_id IS NOT NULL AND kind <> 'charge'"
_CALLS = """
SELECT payout_id, call_id, kind, state <> 'ended' FROM call_view
WHERE subject = ANY(%s) AND kind <> 'charge' AND payout_id IS NOT NULL
"""


class Transfers(PageDefaults):
    hops: Sequence[Hop] = ()
    topics: Sequence[PublishedIds[Any]] = ()

    def __init__(self, run: Run) -> None:
        self._run = run
        self._books = TransferBooks()
        self._files = 0
        self._of_files: set[Finding] = set()
        self._unread: list[str] = []  # folders of banks
        self._silent = ""  # why a provider's listing could not be read; empty if it could

    def read_stores(self) -> None:
        self._books = TransferBooks(banks=self._run.settings.bank_accounts)
        ids = {row[0] for row in scan(self._run.stores, "executor", _PAYOUTS, "payout_id", "")}
        ids |= {row[0] for row in self._run.stores.rows("executor", _CALLED)}
        for some in slices(sorted(ids)):
            add_payouts(self._run.stores, self._books, some)
        self._read_files()

    def _read_files(self) -> None:
        folders = BankFolders(self._run.settings.bank_accounts.values())
        for file in bank_files.read(self._run.stores, folders):
            self._files += 1
            self._of_files |= set(bank_files.compare(file))
        self._unread = folders.unread

    def read_psps(self) -> None:
        try:
            for provider in make_providers(self._run.settings.http_providers).values():
                for page in psps.listed_transfers(provider):
                    add_lines(self._books, provider.name, page)
        except ListingError as error:
            self._silent = str(error)

    def first_look(self) -> set[Finding]:
        return set(self._compare(self._books)) | self._of_files

    def look_again(self, suspects: Collection[Finding]) -> set[Finding]:
        now: set[Finding] = set()
        folders = BankFolders(self._run.settings.bank_accounts.values())
        of_files = [finding.key for finding in suspects if finding.check == WHOLE]
        for file in bank_files.read(self._run.stores, folders, of_files):
            now |= set(bank_files.compare(file))
        for some in slices(sorted({finding.key for finding in suspects})):
            books = TransferBooks(banks=self._run.settings.bank_accounts)
            add_payouts(self._run.stores, books, some)
            self._find(books, some)
            now |= set(self._compare(books))
        return now

    def counted(self) -> Iterator[PlannedCheck]:
        lines = sum(len(found) for found in self._books.listed.values())
        further = further_there(self._books)
        yield PlannedCheck(CALLED, len(self._books.payouts), expected=False)
        for name in BY_LISTINGS:
            aside = f"{further} are further at their provider" if further and name == KNOWN else ""
            yield PlannedCheck(name, lines, expected=False, unknown=self._silent, aside=aside)
        unread = f"not read from here: {', '.join(self._unread)}" if self._unread else ""
        yield PlannedCheck(WHOLE, self._files, expected=False, aside=unread)

    def _compare(self, books: TransferBooks) -> Iterator[Finding]:
        yield from compare_calls(books)
        if not self._silent:
            yield from compare_listings(books)

    def _find(self, books: TransferBooks, payout_ids: Collection[str]) -> None:
        """Ask the providers for these pay-outs, by the references of all releases and by those that they listed."""
        wanted = {
            (payout.provider, call.call_id, payout.amount, payout.currency)
            for payout_id, payout in books.payouts.items()
            for call in books.releases(payout_id)
        }
        for reference, lines in self._books.listed.items():
            listed = (line for line in lines if line.payout_id in payout_ids)
            wanted |= {(line.provider, reference, line.amount, line.currency) for line in listed}
        providers = make_providers(self._run.settings.http_providers)
        try:
            for name, reference, minor, currency in sorted(wanted):
                if name in providers:
                    asked = TransferReference(reference, Money(minor, currency))
                    add_lines(books, name, psps.found_transfers(providers[name], asked))
        except ListingError as error:
            self._silent = str(error)


def add_payouts(stores: Stores, books: TransferBooks, payout_ids: Sequence[str]) -> None:
    """Read the rows of these pay-outs now."""
    wanted = [list(payout_ids)]
    for payout_id, *call in stores.rows("executor", _CALLS, wanted):
        books.calls[payout_id].append(PayoutCall(*call))
    for payout_id, *row in stores.rows("executor", f"{_PAYOUTS} WHERE payout_id = ANY(%s)", wanted):
        books.payouts[payout_id] = SentPayout(*row)


def add_lines(books: TransferBooks, provider: str, listed: Iterable[ListedTransfer]) -> None:
    for each in listed:
        back = each.returned.minor if each.returned else None
        money = (each.amount.minor, each.amount.currency, back)
        line = Line(provider, each.payout_id, each.provider_reference, each.status, *money)
        books.listed[each.reference].append(line)

"""The page of reservations: pay-outs in wallet and ledger, against payouts and executor."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from operations.auditor.engine.findings import Finding
from operations.auditor.engine.page import PageDefaults, PlannedCheck
from operations.auditor.engine.published import PublishedIds, Subject
from operations.auditor.engine.run import Run
from operations.auditor.engine.stores import slices
from operations.auditor.engine.sums import Sum
from operations.auditor.reservations import compare
from operations.auditor.reservations.books import TEMPLATES, PayoutBooks
from operations.auditor.reservations.reading import add_payouts, read_all
from operations.auditor.rows import PAYOUT_KINDS
from schemas import payouts
from schemas.envelope import derive_id, time_ms_of

MOVEMENTS = (
    payouts.FundsReserved,
    payouts.ReservationRefused,
    payouts.ReservationReleased,
    payouts.ReservationSettled,
    payouts.FundsReturned,
)
SUMS = (
    Sum(
        "wallet_reserved_held",
        "wallet",
        "SELECT count(*) FROM reservation_view WHERE state = 'reserved'",
        "SELECT coalesce(w.seller_account, r.seller_account) || ' ' || coalesce(w.currency, r.currency),"
        " coalesce(w.reserved, 0) || ' reserved', coalesce(r.amount, 0)::text"
        " FROM wallet_view w FULL JOIN (SELECT seller_account, currency, sum(amount) AS amount"
        " FROM reservation_view WHERE state = 'reserved' GROUP BY 1, 2) r"
        " ON r.seller_account = w.seller_account AND r.currency = w.currency"
        " WHERE coalesce(w.reserved, 0) <> coalesce(r.amount, 0)",
    ),
)


def _said(books: PayoutBooks) -> Iterable[tuple[str, str]]:
    """(event id, pay-out) of what the wallet must have said."""
    for cause, payout_id in books.answered():
        yield derive_id(cause, SAID.hop.speaker, 0, time_ms_of(cause)), payout_id


SAID = Subject("payout_movements_said", MOVEMENTS, _said)


class Reservations(PageDefaults):
    hops = (*compare.HOPS, SAID.hop)
    kinds = (*PAYOUT_KINDS, *TEMPLATES)
    sums = SUMS

    def __init__(self, run: Run) -> None:
        self._run = run
        self._books = PayoutBooks()
        self.topics = [PublishedIds(SAID)]

    def read_stores(self) -> None:
        self._books = read_all(self._run.stores)

    def first_look(self) -> set[Finding]:
        return set(self._compare(self._books))

    def look_again(self, suspects: Collection[Finding]) -> set[Finding]:
        now: set[Finding] = set()
        for topic in self.topics:
            topic.read_on(self._run.reading)
        for some in slices(sorted({finding.key for finding in suspects})):
            books = PayoutBooks()
            add_payouts(self._run.stores, books, some)
            now |= set(self._compare(books, set(some)))
        return now

    def counted(self) -> Iterator[PlannedCheck]:
        books = self._books
        counts = {
            compare.FOLLOWED: len(books.reservations),
            compare.IN_WALLET: sum(map(len, books.movements.values())),
            compare.IN_LEDGER: sum(map(len, books.journals.values())),
            compare.EXPLAINED: len(books.transfers),
        }
        for name in compare.CHECKS:
            yield PlannedCheck(name, counts[name], expected=False)

    def _compare(self, books: PayoutBooks, among: Collection[str] | None = None) -> Iterator[Finding]:
        yield from compare.compare_payouts(books)
        for topic in self.topics:
            yield from topic.compare(books, among)

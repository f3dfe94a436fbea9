"""The page of the pay-in: its stores, topics, listings and checks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from operations.auditor.engine import psps
from operations.auditor.engine.findings import Finding
from operations.auditor.engine.page import PlannedCheck
from operations.auditor.engine.published import PublishedIds
from operations.auditor.engine.report import Check
from operations.auditor.engine.run import Run
from operations.auditor.engine.stores import slices
from operations.auditor.engine.upstreams import Requests, upstream_requests
from operations.auditor.pay_in import buyers, orders
from operations.auditor.pay_in.books import Books, Payment, Request
from operations.auditor.pay_in.charges import CHARGE_CHECKS, compare_charges
from operations.auditor.pay_in.checkouts import CHECKOUT_CHECKS, REQUESTED, SCREENED, TO_SCREEN, compare_checkouts
from operations.auditor.pay_in.orders import NO_PSP, ORDER_CHECKS, compare_orders
from operations.auditor.pay_in.published import SUBJECTS, check_ended
from operations.auditor.pay_in.reading import read_all, read_checkouts, read_orders
from operations.auditor.pay_in.sums import SUMS
from operations.auditor.pay_in.unfinished import LOOKS
from operations.auditor.rows import CAPTURED
from psp.port import ListingError

CHECKS = (*CHECKOUT_CHECKS, *ORDER_CHECKS, *CHARGE_CHECKS)
# The checks for which a decided payment is enough, even a refused or declined one.
FROM_THE_START = ("payments_requested", "payments_screened", "screenings_asked", "risk_decisions_followed")
BY_LISTINGS = ("captures_charged", *CHARGE_CHECKS)  # not comparable while a PSP does not answer


class PayIn:
    hops = (REQUESTED, TO_SCREEN, SCREENED, *orders.HOPS, *(subject.hop for subject in SUBJECTS))
    kinds = (CAPTURED,)
    sums = SUMS
    looks = LOOKS

    def __init__(self, run: Run) -> None:
        self._run = run
        self._books = Books()
        self._silent = ""  # why a PSP's listing could not be read; empty if it could
        self._begun = False
        self.settled = False
        self.topics = [PublishedIds(subject) for subject in SUBJECTS]

    def begin(self) -> None:
        """Note whether any payment was decided and any order booked before the audit began."""
        begun = "SELECT EXISTS (SELECT 1 FROM payment_view WHERE status <> 'received')"
        settled = "SELECT EXISTS (SELECT 1 FROM order_view WHERE wallet_updated AND ledger_updated)"
        self._begun = self._run.stores.one("payments", begun)[0]
        self.settled = self._run.stores.one("payments", settled)[0]

    def read_stores(self) -> None:
        self._books = read_all(self._run.stores)

    def read_psps(self) -> None:
        try:
            for psp in self._run.psps.values():
                for page in psps.listed(psp):
                    self._books.add_charges(psp.name, page)
        except ListingError as error:
            self._silent = str(error)

    def first_look(self) -> set[Finding]:
        findings = {*compare_checkouts(self._books), *self._compare_orders(self._books)}
        return self._without_silence(self._without_upstreams(findings))

    def look_again(self, suspects: Collection[Finding]) -> set[Finding]:
        checkout_ids = sorted({f.key for f in suspects if f.check in CHECKOUT_CHECKS})
        order_ids = sorted({f.key for f in suspects if f.check not in CHECKOUT_CHECKS})
        now: set[Finding] = set()
        for some in slices(checkout_ids):
            now |= set(compare_checkouts(read_checkouts(self._run.stores, some)))
        for topic in self.topics if order_ids else ():
            topic.read_on(self._run.reading)
        for some in slices(order_ids):
            now |= set(self._look_at_orders(some))
        return self._without_silence(now)

    def counted(self) -> Iterator[PlannedCheck]:
        counts = _counts(self._books)
        for name in CHECKS:
            unknown = self._silent if name in BY_LISTINGS else ""
            yield PlannedCheck(name, counts[name], self._begun if name in FROM_THE_START else self.settled, unknown)

    def totals(self) -> Iterator[Check]:
        yield buyers.check_totals(self._run.stores, self._run.patience.pauses_s, self.settled)
        yield check_ended(self._run)

    def _compare_orders(self, books: Books, among: Collection[str] | None = None) -> Iterator[Finding]:
        if not self._silent:
            yield from compare_charges(books)
        yield from compare_orders(books)
        for topic in self.topics:
            yield from topic.compare(books, among)

    def _look_at_orders(self, order_ids: Sequence[str]) -> Iterator[Finding]:
        books, among = read_orders(self._run.stores, order_ids), set(order_ids)
        if not self._silent:
            self._find_charges(books, among)
        yield from self._compare_orders(books, among)

    def _find_charges(self, books: Books, among: set[str]) -> None:
        """Ask the PSPs again for the charges of these orders, by our references and by those that they listed."""
        wanted = {(attempt.psp, attempt.call_id) for attempt in books.attempts.values() if attempt.psp != NO_PSP}
        for reference, charges in self._books.charges.items():
            wanted |= {(charge.psp, reference) for charge in charges if charge.order_id in among}
        try:
            for psp, listed in psps.found(self._run.psps, sorted(wanted)):
                books.add_charges(psp, listed)
        except ListingError as error:
            self._silent = str(error)

    def _without_silence(self, findings: set[Finding]) -> set[Finding]:
        return {f for f in findings if f.check != "captures_charged"} if self._silent else findings

    def _without_upstreams(self, findings: set[Finding]) -> set[Finding]:
        """The findings without payments that came by an upstream's own topic, whose cause is a record there. A payment that was
        requested by both doors exists once.
        """
        payments, requests = self._books.payments, self._books.requests
        unasked = {
            finding
            for finding in findings
            if finding.check == "payments_requested"
            or (finding.check == "requests_stored" and _owners_agree(payments.get(finding.key), requests[finding.key]))
        }
        if not unasked:
            return findings
        owners = {payments[finding.key].owner for finding in unasked}
        by_http = {request.owner for request in requests.values()}
        now_ms = int(self._run.clock.now().timestamp() * 1000)
        asked = upstream_requests(self._run.reading, REQUESTED.topic, owners, by_http, now_ms)
        return {f for f in findings if f not in unasked or not _explained(asked, payments[f.key])}


def _explained(asked: Requests, payment: Payment) -> bool:
    return asked.explain(payment.owner, payment.event_id, payment.received_ms)


def _owners_agree(payment: Payment | None, request: Request) -> bool:
    return payment is not None and payment.owner == request.owner


def _counts(books: Books) -> dict[str, int]:
    captured = sum(1 for attempt in books.attempts.values() if attempt.took_all)
    movements = sum(map(len, books.movements.values()))
    journals = sum(map(len, books.journals.values()))
    charges = sum(map(len, books.charges.values()))
    screenings, payments, attempts = len(books.screenings), len(books.payments), len(books.attempts)
    return {
        "requests_stored": len(books.requests) or payments,
        "payments_requested": payments,
        "payments_screened": payments,
        "screenings_asked": screenings,
        "risk_decisions_followed": screenings,
        "orders_attempted": len(books.placed_by),
        "attempts_placed": attempts,
        "attempts_called": sum(1 for attempt in books.attempts.values() if attempt.psp != NO_PSP),
        "captures_charged": captured,
        "outcomes_heard": sum(1 for a in books.attempts.values() if a.state in orders.DECIDED),
        "states_caused": len(books.orders),
        "captures_in_wallet": captured,
        "movements_caused": movements,
        "captures_in_ledger": captured,
        "journals_caused": journals,
        "journals_balanced": journals,
        "effects_flagged": movements + journals,
        "flags_caused": sum(order.wallet_updated + order.ledger_updated for order in books.orders.values()),
        "wallet_equals_payable": len(books.movements.keys() & books.journals.keys()),
        "charges_captured": charges,
        "orders_charged_once": charges,
    }

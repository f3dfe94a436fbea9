"""The page of money back: its stores, listings and checks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from operations.auditor.engine import psps
from operations.auditor.engine.findings import Finding
from operations.auditor.engine.page import PageDefaults, PlannedCheck
from operations.auditor.engine.published import PublishedIds
from operations.auditor.engine.run import Run
from operations.auditor.engine.stores import slices
from operations.auditor.money_back import amounts, disputes, effects, fees, operations, revenue
from operations.auditor.money_back.books import Books, Line
from operations.auditor.money_back.reading import add_orders, read_all
from operations.auditor.money_back.unfinished import LOOKS
from psp.port import Kind, Listed, ListedDispute, ListingError

BY_LISTINGS = (*operations.LISTING_CHECKS, disputes.CHECK)  # not comparable while a PSP does not answer
CHECKS = (*operations.OPERATION_CHECKS, amounts.CHECK, fees.CHECK, *effects.EFFECT_CHECKS, revenue.CHECK, *BY_LISTINGS)


class MoneyBack(PageDefaults):
    hops = (operations.PLACED, *effects.HOPS)
    topics: Sequence[PublishedIds[Any]] = ()  # the pay-in's page reads executions, movements and journals
    kinds = effects.KINDS
    looks = LOOKS

    def __init__(self, run: Run) -> None:
        self._run = run
        self._books = Books()
        self._silent = ""  # why a PSP's listing could not be read; empty if it could

    def read_stores(self) -> None:
        self._books = read_all(self._run.stores)

    def read_psps(self) -> None:
        try:
            for psp in self._run.psps.values():
                for kind in operations.LISTED:
                    for page in psps.listed_operations(psp, kind):
                        add_lines(self._books, psp.name, page)
                for stages in psps.listed_disputes(psp):
                    add_lines(self._books, psp.name, stages)
        except ListingError as error:
            self._silent = str(error)
        if not self._silent:
            self._find(self._books, self._books.orders, charges_only=True)

    def first_look(self) -> set[Finding]:
        return set(self._compare(self._books))

    def look_again(self, suspects: Collection[Finding]) -> set[Finding]:
        now: set[Finding] = set()
        for some in slices(sorted({finding.key for finding in suspects})):
            books = Books()
            add_orders(self._run.stores, books, some)
            if not self._silent:
                self._find(books, set(some))
            now |= set(self._compare(books))
        return now

    def counted(self) -> Iterator[PlannedCheck]:
        books = self._books
        counts, twice = _counts(books), amounts.returned_twice(books)
        aside = {amounts.CHECK: f"{twice} orders were refunded and charged back" if twice else ""}
        for name in CHECKS:
            unknown = self._silent if name in BY_LISTINGS else ""
            yield PlannedCheck(name, counts[name], expected=False, unknown=unknown, aside=aside.get(name, ""))

    def _compare(self, books: Books) -> Iterator[Finding]:
        yield from operations.compare_operations(books)
        yield from amounts.compare_amounts(books)
        yield from fees.compare_fees(books)
        yield from effects.compare_effects(books)
        yield from revenue.compare_revenue(books)
        if not self._silent:
            yield from operations.compare_listings(books)
            yield from disputes.compare_disputes(books)

    def _find(self, books: Books, order_ids: Collection[str], *, charges_only: bool = False) -> None:
        """Ask the PSPs for the operations and disputes of these orders, by our references and by those that they listed."""
        wanted: set[tuple[str, Kind, str]] = {
            (each.psp, each.listed_as, each.call_id)
            for each in books.operations.values()
            if each.kind != "charge" and each.order_id in order_ids and not (charges_only and each.seq)
        }
        if not charges_only:
            wanted |= set(self._listed(order_ids))
            wanted |= {(each.psp, "dispute", each.reference) for each in books.stages.values()}
        try:
            for psp, found in psps.found_of(self._run.psps, sorted(wanted)):
                add_lines(books, psp, found)
        except ListingError as error:
            self._silent = str(error)

    def _listed(self, order_ids: Collection[str]) -> Iterator[tuple[str, Kind, str]]:
        for kind, references in self._books.listed.items():
            for reference, lines in references.items():
                yield from ((line.psp, kind, reference) for line in lines if line.order_id in order_ids)
        for (psp, reference, _), line in self._books.disputes.items():
            if line.order_id in order_ids:
                yield psp, "dispute", reference


def add_lines(books: Books, psp: str, listed: Sequence[Listed]) -> None:
    for each in listed:
        line = Line(psp, each.payment_order_id, "", each.status, each.amount.minor, each.amount.currency)
        if isinstance(each, ListedDispute):
            books.disputes[psp, each.dispute_reference, each.stage] = line
        else:
            line = line._replace(psp_reference=each.psp_reference)
            books.listed.setdefault(each.kind, {}).setdefault(each.reference, []).append(line)


def _counts(books: Books) -> dict[str, int]:
    facts = [fact.kind for fact in effects.facts(books)]
    rows = [operation for operation in books.operations.values() if operation.seq]
    counts = dict.fromkeys(effects.EFFECT_CHECKS, 0)
    for kind in facts:
        for name in {effects.IN_WALLET[kind], effects.IN_LEDGER[kind]}:
            counts[name] += 1
    lines = sum(len(lines) for kind in operations.LISTED for lines in books.listed.get(kind, {}).values())
    return counts | {
        "operations_attempted": sum(asked.asked for asked in books.asked.values()),
        "operations_placed": len(rows),
        "operations_called": len(rows),
        amounts.CHECK: sum(1 for _ in amounts.positions(books)),
        fees.CHECK: sum(1 for _ in amounts.positions(books)),
        "money_back_caused": sum(
            len(found) for by_order in (books.movements, books.journals) for found in by_order.values()
        ),
        "operations_flagged": len(books.asked) + len(books.told),
        revenue.CHECK: len(books.revenue),
        "operations_at_psp": sum(operation.state in ("done", "reversed") for operation in books.operations.values()),
        "psp_operations_known": lines,
        disputes.CHECK: len(books.disputes),
    }

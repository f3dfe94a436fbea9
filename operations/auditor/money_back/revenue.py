"""Books → lines of the revenue report that are not what the ledger has booked of the same facts. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from operations.auditor.engine.findings import Finding
from operations.auditor.money_back.books import Books, Revenue
from operations.auditor.money_back.effects import TO_PAYMENTS, facts, journals_by_key
from operations.auditor.rows import CAPTURED, Journal

CHECK = "revenue_booked"


def compare_revenue(books: Books) -> Iterator[Finding]:
    """Each fact has its line, with the amounts of its journal; no line is without a fact; an order counts once."""
    expected = {(fact.order_id, fact.kind, fact.part): fact for fact in facts(books)}
    booked, dispute_fees = journals_by_key(books), _dispute_fees(books)
    for key, fact in expected.items():
        line = books.revenue.get(key)
        if line is None:
            yield Finding(CHECK, fact.order_id, f"{fact.kind} {fact.part}, and revenue does not count it", TO_PAYMENTS)
            continue
        opened = books.revenue.get((fact.order_id, "chargeback_opened", fact.part))
        if line.kind == "chargeback_won" and opened is not None and line.amounts != opened.taken_back:
            yield Finding(CHECK, fact.order_id, f"revenue of {line.kind} {line.part} is not that of what was opened")
        for journal in booked.get(key, []):
            if journal.currency == line.currency:
                yield from _as_booked(line, journal, dispute_fees.get(line.part, 0))
    for order_id, kind, part in books.revenue.keys() - expected.keys():
        yield Finding(CHECK, order_id, f"revenue counts {kind} {part}: the executor has no such fact")
    yield from _counted_once(books)


def _dispute_fees(books: Books) -> dict[str, int]:
    """By the dispute's part, what the PSP asked for it beside the buyer's money, in the order's currency."""
    return {each.part: each.dispute_fee or 0 for each in books.stages.values() if each.fee_currency == each.currency}


def _as_booked(line: Revenue, journal: Journal, dispute_fee: int) -> Iterator[Finding]:
    what, gross, fee = f"revenue of {line.kind} {line.part}", line.gross - line.back, line.fee - line.fee_returned
    beside = {"chargeback_opened": [-dispute_fee], "chargeback_won": range(dispute_fee + 1)}  # a PSP may keep its fee
    if journal.gross - gross not in beside.get(line.kind, [0]) or journal.fee != fee:
        told = f"{what} is {gross} with a fee of {fee}, booked are {journal.gross} and {journal.fee}"
        yield Finding(CHECK, line.order_id, told)
    accounts = {journal.receivable, journal.payable} - {None}
    if not accounts <= {f"psp:{line.psp}:receivable", f"seller:{line.seller}:payable"}:
        yield Finding(CHECK, line.order_id, f"{what} counts for {line.seller} at {line.psp}, and is booked elsewhere")


def _counted_once(books: Books) -> Iterator[Finding]:
    """By its first capture, where it was to be captured later; else by its own row."""
    counted: dict[str, int] = {}
    captured = {line.order_id for line in books.revenue.values() if line.kind == CAPTURED}
    for line in books.revenue.values():
        counted[line.order_id] = counted.get(line.order_id, 0) + line.orders
    for order_id, times in counted.items():
        attempt = books.attempts.get(order_id)
        if attempt is not None and times != (attempt.manual and order_id in captured):
            yield Finding(CHECK, order_id, f"revenue counts the order {times} times")

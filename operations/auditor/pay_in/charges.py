"""The PSPs' listings ⇄ our attempts: each charge that took money is captured here, or undecided, and only once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from operations.auditor.engine.findings import Finding
from operations.auditor.pay_in.books import Books

NOTHING_TAKEN = ("declined", "voided", "expired")
CHARGE_CHECKS = ("charges_captured", "orders_charged_once")


def compare_charges(books: Books) -> Iterator[Finding]:
    """Each charge that took money is captured here, or its call is open, or a person must settle it; no order has two."""
    attempts = {attempt.call_id: (order_id, attempt) for order_id, attempt in books.attempts.items()}
    for reference, charges in books.charges.items():
        found = attempts.get(reference)
        if found is None:
            yield Finding(
                "charges_captured", charges[0].order_id, f"{charges[0].psp} took money for {reference}: not ours"
            )
        elif found[1].state in NOTHING_TAKEN and not all(charge.reversed for charge in charges):
            yield Finding("charges_captured", found[0], f"{found[1].state} here, and {charges[0].psp} took the money")
    times = Counter(charge.order_id for charges in books.charges.values() for charge in charges if not charge.reversed)
    for order_id, number in times.items():
        if number > 1:
            yield Finding("orders_charged_once", order_id, f"the PSPs charged it {number} times")

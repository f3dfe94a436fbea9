"""Books → checkouts on which doors, payments and risk do not agree. Pure: the engine asks what is in flight."""

from __future__ import annotations

from collections.abc import Iterator

from operations.auditor.engine.findings import Finding, heard
from operations.auditor.pay_in.books import Books
from schemas import events

REQUESTED = heard(events.PaymentRequested, "payments")
TO_SCREEN = heard(events.ScreeningRequested, "risk")
SCREENED = heard(events.RiskCleared, "payments")
# Where a payment may stand once it has heard what risk decided, and the person who reviewed that. One that waits for a person
# ends failed when its deadline comes.
_RUNS = ("executing", "succeeded", "partially_succeeded", "failed")
_AFTER = {
    "cleared": _RUNS,
    "refused": ("refused",),
    "held": ("in_review", "failed"),
    "held, then cleared": _RUNS,
    "held, then refused": ("refused", "failed"),
}

CHECKOUT_CHECKS = (
    "requests_stored",
    "payments_requested",
    "payments_screened",
    "screenings_asked",
    "risk_decisions_followed",
)


def compare_checkouts(books: Books) -> Iterator[Finding]:
    for checkout_id, request in books.requests.items():
        found = books.payments.get(checkout_id)
        if request.claim in books.refused or (found is not None and found.event_id == request.claim):
            continue
        there = "payments neither has nor refused it" if found is None else f"the payment there is of {found.event_id}"
        yield Finding("requests_stored", checkout_id, f"accepted from {request.owner}, and {there}", REQUESTED)
    for checkout_id, payment in books.payments.items():
        if books.requests.get(checkout_id) != (payment.owner, payment.event_id):
            yield Finding("payments_requested", checkout_id, f"no door accepted this from {payment.owner}")
        if checkout_id not in books.screenings:
            yield Finding("payments_screened", checkout_id, "never screened", TO_SCREEN)
    for checkout_id, outcome in books.screenings.items():
        if checkout_id not in books.payments:
            yield Finding("screenings_asked", checkout_id, "screened, and there is no such payment")
        else:
            yield from _followed(checkout_id, outcome, books.payments[checkout_id].status)


def _followed(checkout_id: str, outcome: str, status: str) -> Iterator[Finding]:
    if status == "received" or (status == "in_review" and outcome != "held"):
        yield Finding("risk_decisions_followed", checkout_id, f"{outcome}, and payments has not heard it", SCREENED)
    elif status not in _AFTER[outcome]:
        yield Finding("risk_decisions_followed", checkout_id, f"{outcome} by risk, {status} in payments")

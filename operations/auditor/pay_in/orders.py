"""Books → orders on which payments, executor, wallet, ledger and the PSPs do not agree. Pure, as for checkouts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from operations.auditor.engine.findings import Finding, heard
from operations.auditor.pay_in.books import Books, Call, Charge, Order
from operations.auditor.pay_in.charges import NOTHING_TAKEN
from operations.auditor.rows import CAPTURED, Attempt, Journal, Movement, event_id_of
from schemas import events, journals
from schemas.envelope import derive_id, time_ms_of

NO_PSP = "none"  # an attempt that was declined before a PSP was called
OPEN = ("calling", "unknown", "pending")
DECIDED = ("captured", *NOTHING_TAKEN)

PLACED = heard(events.OrderPlaced, "executor")
OUTCOME = heard(events.PaymentCaptured, "payments")
TO_WALLET = heard(events.PaymentCaptured, "wallet")
TO_LEDGER = heard(events.PaymentCaptured, "ledger")
CREDITED = heard(events.WalletCredited, "payments")
POSTED = heard(journals.JournalPosted, "payments")
HOPS = (PLACED, OUTCOME, TO_WALLET, TO_LEDGER, CREDITED, POSTED)


class Story(NamedTuple):
    """One order as all stores and PSPs have it."""

    order_id: str
    placed_by: str | None
    order: Order | None
    attempt: Attempt | None
    call: Call | None
    charges: list[Charge]
    movements: list[Movement]  # of the capture that its charge was
    journals: list[Journal]
    moved: list[Movement]  # of whatever it was
    booked: list[Journal]


def compare_orders(books: Books) -> Iterator[Finding]:
    for order_id in books.orders.keys() | books.attempts.keys() | books.movements.keys() | books.journals.keys():
        story = _story(books, order_id)
        for check in ORDER_CHECKS.values():
            yield from check(story)


def _story(books: Books, order_id: str) -> Story:
    attempt = books.attempts.get(order_id)
    call_id = attempt.call_id if attempt else ""
    moved, booked = books.movements.get(order_id, []), books.journals.get(order_id, [])
    return Story(
        order_id,
        books.placed_by.get(order_id),
        books.orders.get(order_id),
        attempt,
        books.calls.get(call_id),
        books.charges.get(call_id, []),
        [movement for movement in moved if (movement.kind, movement.part) == (CAPTURED, "")],
        [journal for journal in booked if (journal.kind, journal.part) == (CAPTURED, "")],
        moved,
        booked,
    )


def _orders_attempted(story: Story) -> Iterator[Finding]:
    """An order that was placed has an attempt."""
    placed_by, attempt = story.placed_by, story.attempt
    if attempt is None and placed_by is not None:
        yield Finding("orders_attempted", story.order_id, "placed, and the executor has no attempt", PLACED)


def _attempts_placed(story: Story) -> Iterator[Finding]:
    """An attempt's order was placed by the attempt's cause, on the same terms."""
    placed_by, order, attempt = story.placed_by, story.order, story.attempt
    if attempt is None:
        return
    if order is None or placed_by is None:
        yield Finding("attempts_placed", story.order_id, "attempted, and payments never placed such an order")
    elif attempt.cause_event_id != derive_id(placed_by, PLACED.speaker, order.position, time_ms_of(placed_by)):
        yield Finding(
            "attempts_placed", story.order_id, f"attempted because of {attempt.cause_event_id}, not of its placing"
        )
    elif (attempt.gross, attempt.currency) != (order.gross, order.currency):
        asked = f"{order.gross} {order.currency}"
        yield Finding(
            "attempts_placed", story.order_id, f"{attempt.gross} {attempt.currency} attempted, {asked} placed"
        )


def _attempts_called(story: Story) -> Iterator[Finding]:
    """An attempt is open if and only if its call is."""
    attempt, call = story.attempt, story.call
    if attempt is None or attempt.psp == NO_PSP:
        return
    if call is None:
        yield Finding("attempts_called", story.order_id, f"{attempt.state}, and there is no call {attempt.call_id}")
    elif (attempt.state in OPEN) != (call.state != "ended"):
        yield Finding("attempts_called", story.order_id, f"the attempt is {attempt.state}, its call {call.state}")


def _captures_charged(story: Story) -> Iterator[Finding]:
    """Captured → the PSP lists exactly one charge under our reference that took the amount, with the stored PSP id."""
    attempt, charges = story.attempt, story.charges
    if attempt is None or not attempt.took_all:
        return
    if len(charges) != 1:
        yield Finding(
            "captures_charged", story.order_id, f"captured, and {attempt.psp} lists {len(charges)} such charges"
        )
        return
    charge = charges[0]
    ours = (attempt.psp, attempt.psp_reference, attempt.gross, attempt.currency, story.order_id)
    theirs = (charge.psp, charge.psp_reference, charge.amount, charge.currency, charge.order_id)
    if ours != theirs:
        yield Finding("captures_charged", story.order_id, f"we say {ours}, the PSP says {theirs}")
    elif charge.reversed and not attempt.behind:
        yield Finding("captures_charged", story.order_id, f"{attempt.psp} took it back, and nobody has heard it")


def _outcomes_heard(story: Story) -> Iterator[Finding]:
    """Captured → SUCCESS; declined, voided, expired → FAILED."""
    order, attempt = story.order, story.attempt
    if attempt is None or order is None or attempt.state not in DECIDED:
        return
    wanted = "SUCCESS" if attempt.state == "captured" else "FAILED"
    if order.status == "EXECUTING":
        yield Finding("outcomes_heard", story.order_id, f"{attempt.state}, and payments has not heard it", OUTCOME)
    elif order.status != wanted:
        yield Finding("outcomes_heard", story.order_id, f"{attempt.state} by the executor, {order.status} in payments")
    elif attempt.took_all and (order.psp, order.psp_reference) != (attempt.psp, attempt.psp_reference):
        yield Finding(
            "outcomes_heard", story.order_id, f"captured as {attempt.psp_reference}, not {order.psp_reference}"
        )


def _states_caused(story: Story) -> Iterator[Finding]:
    """SUCCESS → captured, in part at least; FAILED after it was placed → declined, voided or expired."""
    placed_by, order, attempt = story.placed_by, story.order, story.attempt
    if order is None or placed_by is None:
        if order is not None and order.status in ("EXECUTING", "SUCCESS"):
            yield Finding("states_caused", story.order_id, f"{order.status}, and it was never placed")
        return
    state = attempt.state if attempt else "never attempted"
    taken = state == "captured" or (attempt is not None and attempt.manual and state == "authorised")
    if (order.status == "SUCCESS" and not taken) or (order.status == "FAILED" and state not in NOTHING_TAKEN):
        yield Finding("states_caused", story.order_id, f"{order.status} in payments, {state} by the executor")


def _captures_in_wallet(story: Story) -> Iterator[Finding]:
    attempt, movements = story.attempt, story.movements
    if attempt is not None and attempt.took_all and not movements:
        yield Finding("captures_in_wallet", story.order_id, "captured, and no wallet was credited", TO_WALLET)


def _movements_caused(story: Story) -> Iterator[Finding]:
    """Each movement is the net of one captured order, caused by its capture."""
    order, attempt, movements = story.order, story.attempt, story.movements
    for movement in movements:
        if attempt is None or not attempt.took_all or order is None:
            yield Finding("movements_caused", story.order_id, "a wallet was credited, and nothing was captured")
        elif movement.cause != captured_event_id(attempt):
            yield Finding(
                "movements_caused", story.order_id, f"credited because of {movement.cause}, not of its capture"
            )
        elif (movement.seller, movement.amount, movement.currency) != (order.seller, order.net, order.currency):
            moved = f"{movement.amount} {movement.currency} to {movement.seller}"
            yield Finding(
                "movements_caused", story.order_id, f"{moved}, not {order.net} {order.currency} to {order.seller}"
            )


def _captures_in_ledger(story: Story) -> Iterator[Finding]:
    attempt, journals = story.attempt, story.journals
    if attempt is not None and attempt.took_all and not journals:
        yield Finding("captures_in_ledger", story.order_id, "captured, and no journal was posted", TO_LEDGER)


def _journals_caused(story: Story) -> Iterator[Finding]:
    """Each journal books one captured order on its terms, caused by its capture."""
    order, attempt, journals = story.order, story.attempt, story.journals
    for journal in journals:
        if attempt is None or not attempt.took_all or order is None:
            yield Finding("journals_caused", story.order_id, "a journal was posted, and nothing was captured")
        elif journal.cause != captured_event_id(attempt):
            yield Finding("journals_caused", story.order_id, f"posted because of {journal.cause}, not of its capture")
        elif _booked(journal) != _to_book(order, attempt):
            yield Finding(
                "journals_caused", story.order_id, f"booked {_booked(journal)}, not {_to_book(order, attempt)}"
            )


def _booked(journal: Journal) -> tuple[object, ...]:
    return journal.currency, journal.receivable, journal.gross, journal.payable, journal.net, journal.fee


def _to_book(order: Order, attempt: Attempt) -> tuple[object, ...]:
    payable = f"seller:{order.seller}:payable" if order.net else None
    return order.currency, f"psp:{attempt.psp}:receivable", order.gross, payable, order.net, order.fee


def _journals_balanced(story: Story) -> Iterator[Finding]:
    """Each journal is balanced in each currency, and has all its lines."""
    found = Counter[str]()
    for journal in story.booked:
        found[journal.cause] += journal.found
        if journal.debits != journal.credits:
            yield Finding(
                "journals_balanced", story.order_id, f"debits are {journal.debits}, credits {journal.credits}"
            )
    for cause, lines in {journal.cause: journal.lines for journal in story.booked}.items():
        if found[cause] != lines:
            yield Finding("journals_balanced", story.order_id, f"{found[cause]} of {lines} lines are there")


def _effects_flagged(story: Story) -> Iterator[Finding]:
    """Credited → wallet_updated; posted → ledger_updated. Of captures in parts payments keeps each by itself."""
    order, movements, journals = story.order, story.movements, story.journals
    if order is None:
        return
    if movements and not order.wallet_updated:
        yield Finding("effects_flagged", story.order_id, "credited, and payments has not heard it", CREDITED)
    if journals and not order.ledger_updated:
        yield Finding("effects_flagged", story.order_id, "posted, and payments has not heard it", POSTED)


def _flags_caused(story: Story) -> Iterator[Finding]:
    order = story.order
    if order is None:
        return
    if order.wallet_updated and not any(movement.kind == CAPTURED for movement in story.moved):
        yield Finding("flags_caused", story.order_id, "wallet_updated, and no wallet was credited")
    if order.ledger_updated and not any(journal.kind == CAPTURED for journal in story.booked):
        yield Finding("flags_caused", story.order_id, "ledger_updated, and no journal was posted")


def _wallet_equals_payable(story: Story) -> Iterator[Finding]:
    """Over the causes that both have booked, the movements of a wallet equal the changes of the seller's payable."""
    owed: dict[str, list[tuple[str | None, str, int]]] = {}
    for journal in story.booked:
        payable = [(journal.payable, journal.currency, journal.net)] if journal.payable else []
        owed.setdefault(journal.cause, []).extend(payable)
    for movement in story.moved:
        wallet = (f"seller:{movement.seller}:payable", movement.currency, movement.amount)
        other = owed.get(movement.cause)
        if other is not None and other != ([wallet] if movement.amount else []):
            yield Finding("wallet_equals_payable", story.order_id, f"the wallet says {wallet}, the ledger {other}")


ORDER_CHECKS: dict[str, Callable[[Story], Iterator[Finding]]] = {
    "orders_attempted": _orders_attempted,
    "attempts_placed": _attempts_placed,
    "attempts_called": _attempts_called,
    "captures_charged": _captures_charged,
    "outcomes_heard": _outcomes_heard,
    "states_caused": _states_caused,
    "captures_in_wallet": _captures_in_wallet,
    "movements_caused": _movements_caused,
    "captures_in_ledger": _captures_in_ledger,
    "journals_caused": _journals_caused,
    "journals_balanced": _journals_balanced,
    "effects_flagged": _effects_flagged,
    "flags_caused": _flags_caused,
    "wallet_equals_payable": _wallet_equals_payable,
}


def captured_event_id(attempt: Attempt) -> str:
    """The id of the event with this attempt's outcome."""
    return event_id_of(attempt.outcome_event_id, 0) if attempt.outcome_event_id else ""

"""Books → operations on which payments, the executor and the PSPs do not agree. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from operations.auditor.engine.findings import Finding, heard
from operations.auditor.money_back.books import AT_THE_PSP, Books, Line, Operation
from psp.port import OperationKind
from schemas import money_back
from schemas.envelope import derive_id, time_ms_of

PLACED = heard(money_back.RefundPlaced, "executor")
NEVER_CALLED = ("waiting", "failed")
LISTED: tuple[OperationKind, ...] = ("capture", "void", "refund")  # kinds of operations that a PSP lists

OPERATION_CHECKS = ("operations_attempted", "operations_placed", "operations_called")
LISTING_CHECKS = ("operations_at_psp", "psp_operations_known")


def compare_operations(books: Books) -> Iterator[Finding]:
    for (kind, id_), asked in books.asked.items():
        if asked.asked and (kind, id_) not in books.operations:
            yield Finding("operations_attempted", asked.order_id, f"{kind} {id_} is not in the executor", PLACED)
    for operation in books.operations.values():
        if operation.seq:
            yield from _placed(books, operation)
            yield from _called(books, operation)


def _placed(books: Books, operation: Operation) -> Iterator[Finding]:
    """The operation was placed by its request's event, with the same contents."""
    name, asked = f"{operation.kind} {operation.id}", books.asked.get((operation.kind, operation.id))
    if asked is None or asked.order_id != operation.order_id:
        yield Finding("operations_placed", operation.order_id, f"payments never placed {name} of this order")
        return
    amount = operation.amount if operation.kind == "void" else asked.amount  # the request of a void names no amount
    final = operation.final if operation.kind == "void" else bool(asked.final)
    if operation.cause != derive_id(
        asked.event_id, PLACED.speaker, 0, time_ms_of(operation.cause)
    ):  # a claim has no time in it
        yield Finding("operations_placed", operation.order_id, f"{name} is there because of {operation.cause}")
    elif (operation.amount, operation.final) != (amount, final):
        told = f"{operation.amount} {operation.currency}, and was placed with {amount}"
        yield Finding("operations_placed", operation.order_id, f"{name} is of {told}")


def _called(books: Books, operation: Operation) -> Iterator[Finding]:
    """An operation is open if and only if its call is."""
    name, call = f"{operation.kind} {operation.id}", books.calls.get(operation.call_id)
    if call is None:
        if operation.state not in NEVER_CALLED:
            yield Finding("operations_called", operation.order_id, f"{name} is {operation.state}, and has no call")
    elif (operation.state in AT_THE_PSP) != (call.state != "ended"):
        yield Finding("operations_called", operation.order_id, f"{name} is {operation.state}, its call {call.state}")


# ── the PSPs' listings ───────────────────────────────────────────────────────────────────────────────────────────────


def compare_listings(books: Books) -> Iterator[Finding]:
    for operation in books.operations.values():
        if (
            operation.kind != "charge" and operation.checking is None
        ):  # while a check is open the PSP's answer is awaited
            yield from _at_the_psp(books, operation)
    yield from _known(books)


def _at_the_psp(books: Books, operation: Operation) -> Iterator[Finding]:
    """Done → the PSP lists exactly one that succeeded, with this amount; reversed → exactly one that was reversed."""
    status = {"done": "succeeded", "reversed": "reversed"}.get(operation.state)
    if status is None:
        return
    name, lines = f"{operation.kind} {operation.id}", books.lines(operation)
    if len(lines) != 1:
        yield Finding("operations_at_psp", operation.order_id, f"{operation.psp} lists {name} {len(lines)} times")
        return
    ours = Line(
        operation.psp,
        operation.order_id,
        operation.psp_reference or "",
        status,
        operation.amount,
        operation.currency,
    )
    if lines[0] != ours:
        yield Finding("operations_at_psp", operation.order_id, f"{name}: we say {ours}, the PSP says {lines[0]}")


def _known(books: Books) -> Iterator[Finding]:
    """Each operation that a PSP has done is done here, or open, or a person's to settle."""
    by_call = {operation.call_id: operation for operation in books.operations.values()}
    for kind in LISTED:
        for reference, lines in books.listed.get(kind, {}).items():
            done = [line for line in lines if line.status == "succeeded"]
            operation = by_call.get(reference)
            if not done:
                continue
            if operation is None:
                yield Finding(
                    "psp_operations_known", done[0].order_id, f"{done[0].psp} did {kind} {reference}: not ours"
                )
            elif operation.state in NEVER_CALLED and operation.checking is None:
                told = f"{kind} {operation.id} is {operation.state} here, and {done[0].psp} did it"
                yield Finding("psp_operations_known", operation.order_id, told)

"""The stores → the books of the pay-in: all rows once, then those of a few checkouts and orders again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from operations.auditor.engine.stores import CHUNK, FIRST_UUID, Stores, grouped, scan, scan_by
from operations.auditor.engine.upstreams import DOORS_SOURCE
from operations.auditor.pay_in.books import Books, Call, Order, Payment, Request
from operations.auditor.rows import ATTEMPTS, JOURNALS, MOVEMENTS, Attempt, Journal, Movement, event_id_of
from topics import catalog
from topics.runtime.shape.decode import door_claim


def read_all(stores: Stores) -> Books:
    """Read all rows, effects before causes, so that the cause of each effect is there when it is read."""
    books = Books()
    books.journals = grouped(_journals(stores))
    books.movements = grouped(_movements(stores))
    books.orders = {row[0]: Order(*row[1:]) for row in scan(stores, "payments", _ORDERS, "payment_order_id", "")}
    books.attempts = {row[0]: Attempt(*row[1:]) for row in scan(stores, "executor", ATTEMPTS, "payment_order_id", "")}
    books.calls = {row[0]: Call(*row[1:]) for row in scan(stores, "executor", _CALLS, "call_id", "")}
    operations = scan_by(stores, "executor", _OPERATIONS, ("payment_order_id", "seq", "kind"), ("", -1, ""))
    disputes = scan_by(stores, "executor", _DISPUTES, ("psp", "dispute_reference", "stage"), ("", "", 0))
    books.outcomes = _outcomes(operations, disputes)
    books.placed_by = dict(_placed(stores))
    books.screenings = dict(scan(stores, "risk", _SCREENINGS, "checkout_id", ""))
    books.screenings |= _reviewed(stores.rows("risk", _REVIEWED))
    books.payments = {row[0]: Payment(*row[1:]) for row in scan(stores, "payments", _PAYMENTS, "checkout_id", "")}
    books.refused = {row[0] for row in stores.rows("payments", "SELECT event_id::text FROM refusal_view")}
    books.requests = {row[0]: _request(*row[1:]) for row in scan(stores, "doors", _REQUESTS, "checkout_id", "")}
    return books


_SCREENINGS = "SELECT checkout_id, outcome FROM screening_view"
_REVIEWED = "SELECT subject, decision FROM hold_view WHERE about = 'payment' AND decision IS NOT NULL"
_ORDERS = """
SELECT payment_order_id, checkout_id, position, seller_account, currency, gross, fee, net, payment_order_status, detail,
    wallet_updated, ledger_updated, psp, psp_reference FROM order_view"""
_CALLS = """
SELECT call_id, payment_order_id, state, outcome
FROM (SELECT * FROM call_view WHERE payment_order_id IS NOT NULL) AS of_order"""
_REQUESTS = "SELECT checkout_id, owner, event_id::text FROM request_view"
_PAYMENTS = """
SELECT checkout_id, owner, status, event_id::text, (extract(epoch FROM received_at) * 1000)::bigint FROM payment_view"""
_HISTORY = "SELECT payment_order_id, event_id::text, checkout_id, id FROM history_view"
_PLACED = "payment_order_id IS NOT NULL AND from_status = 'NOT_STARTED' AND to_status = 'EXECUTING'"
# What the executor last said of each operation and dispute behind a charge.
_OPERATIONS = "SELECT payment_order_id, seq, kind, outcome_event_id, outcome_place, state FROM operation_view"
_DISPUTES = "SELECT psp, dispute_reference, stage, payment_order_id, outcome_event_id, outcome_place FROM dispute_view"


def _reviewed(rows: Iterable[tuple[Any, ...]]) -> dict[str, str]:
    """What a person decided about a screening that was held."""
    decided = {"clear": "held, then cleared", "refuse": "held, then refused"}
    return {checkout_id: decided[decision] for checkout_id, decision in rows}


def _request(owner: str, event_id: str) -> Request:
    return Request(owner, door_claim(catalog.PAYMENT_REQUESTS.name, DOORS_SOURCE, event_id))


def _outcomes(operations: Iterable[tuple[Any, ...]], disputes: Iterable[tuple[Any, ...]]) -> dict[str, str]:
    said = [(cause, place, order_id) for order_id, _, _, cause, place, state in operations if state != "unresolved"]
    said += [(cause, place, order_id) for *_, order_id, cause, place in disputes]
    return {event_id_of(cause, place): order_id for cause, place, order_id in said if cause}


def _movements(stores: Stores) -> Iterator[tuple[str, Movement]]:
    for order_id, *moved, _ in scan(stores, "wallet", MOVEMENTS, "movement_id", FIRST_UUID, 7):
        yield order_id, Movement(*moved)


def _journals(stores: Stores) -> Iterator[tuple[str, Journal]]:
    """The journals, read by ranges of ids: entries are found from their journals."""
    edge = f"SELECT journal_id::text FROM journal_view WHERE journal_id > %s ORDER BY journal_id OFFSET {CHUNK - 1} LIMIT 1"
    after = FIRST_UUID
    while after:
        found = stores.rows("ledger", edge, [after])
        until = found[0][0] if found else None
        where = "e.journal_id > %s" + (" AND e.journal_id <= %s" if until else "")
        for row in stores.rows("ledger", JOURNALS.format(where=where), [after, until] if until else [after]):
            yield row[0], Journal(*row[1:])
        after = until or ""


def _placed(stores: Stores) -> Iterator[tuple[str, str]]:
    after: tuple[str, int] = ("", 0)
    statement = f"{_HISTORY} WHERE (checkout_id, id) > (%s, %s) AND {_PLACED} ORDER BY checkout_id, id LIMIT {CHUNK}"
    while rows := stores.rows("payments", statement, after):
        for order_id, event_id, *_ in rows:
            yield order_id, event_id
        after = rows[-1][2:]


# ── a few, again ─────────────────────────────────────────────────────────────────────────────────────────────────────


def read_orders(stores: Stores, order_ids: Sequence[str]) -> Books:
    """Read the rows of these orders now."""
    books, wanted = Books(), list(order_ids)

    def rows(room: str, statement: str) -> list[tuple[Any, ...]]:
        return stores.rows(room, f"{statement} WHERE payment_order_id = ANY(%s)", [wanted])

    books.orders = {row[0]: Order(*row[1:]) for row in rows("payments", _ORDERS)}
    found = stores.rows("ledger", JOURNALS.format(where="e.payment_order_id = ANY(%s)"), [wanted])
    books.journals = grouped((row[0], Journal(*row[1:])) for row in found)
    books.movements = grouped((row[0], Movement(*row[1:7])) for row in rows("wallet", MOVEMENTS))
    books.attempts = {row[0]: Attempt(*row[1:]) for row in rows("executor", ATTEMPTS)}
    calls = [attempt.call_id for attempt in books.attempts.values()]
    found = stores.rows("executor", f"{_CALLS} WHERE call_id = ANY(%s)", [calls])
    books.calls = {row[0]: Call(*row[1:]) for row in found}
    operations, disputes = rows("executor", _OPERATIONS), rows("executor", _DISPUTES)
    books.outcomes = _outcomes(operations, disputes)
    checkouts = list({order.checkout_id for order in books.orders.values()})
    found = stores.rows("payments", f"{_HISTORY} WHERE checkout_id = ANY(%s) AND {_PLACED}", [checkouts])
    books.placed_by = {row[0]: row[1] for row in found}
    return books


def read_checkouts(stores: Stores, checkout_ids: Sequence[str]) -> Books:
    """Read the rows of these checkouts now."""
    books, wanted = Books(), [list(checkout_ids)]
    mine = "WHERE checkout_id = ANY(%s)"
    books.screenings = dict(stores.rows("risk", f"{_SCREENINGS} {mine}", wanted))
    books.screenings |= _reviewed(stores.rows("risk", f"{_REVIEWED} AND subject = ANY(%s)", wanted))
    books.payments = {row[0]: Payment(*row[1:]) for row in stores.rows("payments", f"{_PAYMENTS} {mine}", wanted)}
    books.refused = {
        row[0] for row in stores.rows("payments", f"SELECT event_id::text FROM refusal_view {mine}", wanted)
    }
    books.requests = {row[0]: _request(*row[1:]) for row in stores.rows("doors", f"{_REQUESTS} {mine}", wanted)}
    return books

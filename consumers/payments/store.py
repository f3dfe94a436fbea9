"""Payments' tables ⇄ the state of a batch. One lock per payment; a batch is a handful of statements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

import orjson

from consumers.payments.booking import is_money_back
from consumers.payments.decide import Heard
from consumers.payments.operation_rows import read_money_back, save_money_back
from consumers.payments.payment import (
    Checkout,
    Fact,
    MoneyBack,
    Order,
    OrderTerms,
    Payment,
    Payments,
    Refusal,
    SellerHeard,
    Step,
    Stored,
)
from consumers.payments.revenue import note_late
from schemas.envelope import EventId
from schemas.events import PaymentRequested, RiskCleared, RiskHeld, TimerFired
from schemas.journals import JournalPosted
from schemas.money import Money
from schemas.money_back import FundsAvailable, WalletCorrected
from schemas.sellers import FOR_PAYOUTS, SellerSet
from topics.runtime.shape.consumer import Broken, Connection, Cursor
from topics.runtime.shape.store import text_array
from topics.runtime.shape.table import Column, Table


class PaymentRow(NamedTuple):
    """A row of `payments`: the payment, and its request if it is new."""

    payment: Payment
    checkout: Checkout | None = None


class OrderRow(NamedTuple):
    """A row of `orders`: the order, its terms if it is new, the PSP's outcome if that is new."""

    order: Order
    fact: Fact | None = None
    position: int = 0
    terms: OrderTerms | None = None
    payment_row: PaymentRow | None = None


def _as_json(metadata: Mapping[str, str]) -> str:
    return orjson.dumps(metadata).decode()


PAYMENTS = Table(
    "payments",
    Column("checkout_id", "text", "payment.checkout_id", key=True),
    Column("owner", "text", "payment.owner", fixed=True),
    Column("buyer_account", "text", "checkout.buyer_account", fixed=True),
    Column("token", "text", "checkout.token", null=True, fixed=True),
    Column("description", "text", "checkout.description", null=True, fixed=True),
    Column("metadata", "json", "checkout.metadata", fixed=True, write=_as_json),
    Column("contents", "text", "payment.contents", fixed=True),
    Column("status", "text", "payment.status"),
    Column("done_at", "timestamptz", "payment.done_at", null=True),
    Column("version", "int4", "payment.version"),
    Column("deadline", "timestamptz", "checkout.deadline", fixed=True),
    Column("capture", "text", "checkout.capture", null=True, fixed=True),
    Column("received_at", "timestamptz", "checkout.received_at", fixed=True),
    Column("event_id", "uuid", "checkout.event_id", fixed=True),
    Column("trace", "uuid", "checkout.trace", null=True, fixed=True),
    Column("return_url", "text", "checkout.return_url", null=True, fixed=True),
    Column("failed", "text", null=True, by_sql=True),
)
ORDERS = Table(
    "orders",
    Column("payment_order_id", "text", "order.payment_order_id", key=True),
    Column("checkout_id", "text", "order.checkout_id", fixed=True),
    Column("position", "int2", fixed=True),
    Column("seller_account", "text", "terms.seller_account", fixed=True),
    Column("currency", "text", "terms.gross.currency", fixed=True),
    Column("gross", "int8", "terms.gross.minor", fixed=True),
    Column("fee", "int8", "terms.fee.minor", fixed=True),
    Column("net", "int8", "terms.net.minor", fixed=True),
    Column("status", "text", "order.status"),
    Column("detail", "text", "order.detail"),
    Column("wallet_updated", "bool", "order.wallet_updated"),
    Column("ledger_updated", "bool", "order.ledger_updated"),
    Column("psp", "text", "fact.psp", null=True),
    Column("scheme", "text", "fact.scheme", null=True),
    Column("psp_reference", "text", "fact.psp_reference", null=True),
    Column("captured_at", "timestamptz", "fact.captured_at", null=True),
    Column("version", "int4", "order.version"),
    Column("decline_code", "text", "order.decline_code", null=True),
    Column("owner", "text", "payment_row.payment.owner", fixed=True),
    Column("received_at", "timestamptz", "payment_row.checkout.received_at", fixed=True),
    Column("capture", "text", "payment_row.checkout.capture", null=True, fixed=True),
    Column("seller_revision", "int4", "terms.seller_revision", null=True, fixed=True),
)
HISTORY = Table(
    "history",
    Column("checkout_id", "text", key=True),
    Column("id", "int8", key=True, by_sql=True),
    Column("payment_order_id", "text", null=True),
    Column("from_status", "text", null=True),
    Column("to_status", "text"),
    Column("detail", "text"),
    Column("at", "timestamptz"),
    Column("event_id", "uuid"),
)
REFUSALS = Table(
    "refusals",
    Column("checkout_id", "text"),
    Column("owner", "text"),
    Column("code", "text"),
    Column("detail", "text"),
    Column("at", "timestamptz"),
    Column("event_id", "uuid", key=True),
)


def _written(said: SellerSet) -> bytes:
    """Without what orders are not taken by."""
    return said.model_dump_json(exclude_none=True, exclude=set(FOR_PAYOUTS)).encode()


SELLERS = Table(
    "sellers",
    Column("seller_account", "text", "said.seller_account", key=True),
    Column("revision", "int4", "said.seller_revision", key=True),
    Column("owner", "text", "said.owner"),
    Column("state", "text", "said.state"),
    Column("said", "bytea", write=_written),
    Column("event_id", "uuid"),
    Column("heard_at", "timestamptz", "at"),
)


# ── load ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def load(conn: Connection, events: Sequence[Heard], now: datetime) -> Payments:
    """Lock the payments of a batch, then read their orders: an order changes only under its payment's lock."""
    about = [
        event
        for event in events
        if not isinstance(event, Broken | SellerSet | FundsAvailable | WalletCorrected) and not _is_payouts(event)
    ]
    checkout_ids = sorted({e.timer_key if isinstance(e, TimerFired) else e.checkout_id or "" for e in about})
    if not checkout_ids:
        return Payments()
    locked = _ask_locked(conn, checkout_ids)
    requests = [event for event in about if isinstance(event, PaymentRequested)]
    asked = _ask_orders(conn, checkout_ids, sorted({o.payment_order_id for r in requests for o in r.payment_orders}))
    sellers = _ask_sellers(conn, requests) if requests else ()
    payments = locked.fetchall()
    orders = {row[0]: Order._make(row) for row in asked}
    unseen = {order.checkout_id for order in orders.values()}.intersection(checkout_ids) - {row[0] for row in payments}
    if unseen:  # committed by another process between our two statements
        payments += _ask_locked(conn, sorted(unseen)).fetchall()
    decided = sorted({event.checkout_id for event in about if isinstance(event, RiskCleared | RiskHeld)})
    state = Payments(_payments(payments, orders), orders, _checkouts(conn, decided) if decided else {})
    state.sellers = {said.seller_account: said for said in map(_read, [row[0] for row in sellers])}
    back = [event for event in about if is_money_back(event)]
    if back:
        read_money_back(conn, state, back)
    return state


def _is_payouts(event: Heard) -> bool:
    """Whether it is the journal of a pay-out."""
    return type(event) is JournalPosted and event.checkout_id is None


_LOCK = (
    f"SELECT {PAYMENTS.select(Payment, 'payment', without=['order_ids'])} FROM payments"
    " WHERE checkout_id = ANY(%s::text[]) ORDER BY checkout_id FOR UPDATE"
)


def _ask_locked(conn: Connection, checkout_ids: list[str]) -> Cursor:
    return conn.execute(_LOCK, [text_array(checkout_ids)], binary=True)


_READ_ORDERS = (
    f"SELECT {ORDERS.select(Order, 'order')} FROM orders"
    " WHERE checkout_id = ANY(%s::text[]) OR payment_order_id = ANY(%s::text[]) ORDER BY checkout_id, position"
)


def _ask_orders(conn: Connection, checkout_ids: list[str], asked: list[str]) -> Cursor:
    """Ask for the orders of these payments, and for any payment's orders with ids that the batch requests."""
    return conn.execute(_READ_ORDERS, [text_array(checkout_ids), text_array(asked)], binary=True)


_LATEST_TERMS = """
SELECT latest.said FROM unnest(%s::text[]) AS asked (seller_account)
CROSS JOIN LATERAL (SELECT s.said FROM sellers s WHERE s.seller_account = asked.seller_account
                    ORDER BY s.revision DESC LIMIT 1) AS latest
"""


def _ask_sellers(conn: Connection, requests: Sequence[PaymentRequested]) -> Cursor:
    """The latest terms of the sellers that these requests name, of those that have terms."""
    named = {order.seller_account for request in requests for order in request.payment_orders}
    return conn.execute(_LATEST_TERMS, [text_array(named)], binary=True)


@lru_cache(maxsize=4096)
def _read(said: bytes) -> SellerSet:
    return SellerSet.model_validate_json(said)


def _payments(rows: list[tuple[Any, ...]], orders: Mapping[str, Order]) -> dict[str, Payment]:
    order_ids: dict[str, list[str]] = {}
    for order in orders.values():
        order_ids.setdefault(order.checkout_id, []).append(order.payment_order_id)
    return {row[0]: Payment._make([*row, tuple(order_ids[row[0]])]) for row in rows}


def _checkouts(conn: Connection, checkout_ids: list[str]) -> dict[str, Checkout]:
    """Read requests, which never change and need no lock; only for payments whose orders are to be placed."""
    rows = conn.execute(
        "SELECT p.checkout_id, p.buyer_account, p.token, p.deadline, p.received_at, p.event_id::text, p.capture, p.return_url,"
        " o.payment_order_id, o.seller_account, o.currency, o.gross, o.fee, s.said"
        " FROM payments p JOIN orders o ON o.checkout_id = p.checkout_id"
        " LEFT JOIN sellers s ON s.seller_account = o.seller_account AND s.revision = o.seller_revision"
        " WHERE p.checkout_id = ANY(%s::text[]) ORDER BY p.checkout_id, o.position",
        [text_array(checkout_ids)],
        binary=True,
    )
    requests: dict[str, tuple[Any, ...]] = {}
    terms: dict[str, list[OrderTerms]] = {}
    for checkout_id, *rest, order_id, seller, currency, gross, fee, said in rows:
        requests[checkout_id] = tuple(rest)
        line = OrderTerms(order_id, seller, Money(gross, currency), Money(fee, currency), said and _read(said))
        terms.setdefault(checkout_id, []).append(line)
    return {
        id_: Checkout(
            id_,
            buyer,
            token,
            deadline,
            tuple(terms[id_]),
            received_at,
            EventId(event_id),
            capture=capture,
            return_url=url,
        )
        for id_, (buyer, token, deadline, received_at, event_id, capture, url) in requests.items()
    }


# ── save ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


_NEW_PAYMENTS, _MOVED_PAYMENTS = PAYMENTS.insert(), PAYMENTS.update("payment")
_NEW_ORDERS = ORDERS.insert("order", "position", "terms", "payment_row")
# No indexed column changes (those on capture and PSP reference are summaries), so PostgreSQL can update in place.
_MOVED_ORDERS, _SETTLED_ORDERS = ORDERS.update("order"), ORDERS.update("order", "fact")
_STEPS = HISTORY.insert()
# A request that the inbox has forgotten may be refused a second time; its first refusal stays.
_REFUSED = REFUSALS.insert(otherwise="ON CONFLICT (event_id) DO NOTHING")
_HEARD = SELLERS.insert(otherwise="ON CONFLICT (seller_account, revision) DO NOTHING")
_ID = attrgetter("order.payment_order_id")


def save(conn: Connection, changes: Sequence[Stored]) -> None:
    """Save the changes of a batch. Of several versions of an entity the last is saved."""
    checkouts: dict[str, Checkout] = {}
    payments: dict[str, Payment] = {}
    orders: dict[str, Order] = {}
    facts: dict[str, Fact] = {}
    steps: list[Step] = []
    refusals: list[Refusal] = []
    sellers: list[SellerHeard] = []
    back: list[MoneyBack] = []
    for change in changes:
        if isinstance(change, Order):
            orders[change.payment_order_id] = change
        elif isinstance(change, Step):
            steps.append(change)
        elif isinstance(change, Fact):
            facts[change.payment_order_id] = change
        elif isinstance(change, Payment):
            payments[change.checkout_id] = change
        elif isinstance(change, Checkout):
            checkouts[change.checkout_id] = change
        elif isinstance(change, Refusal):
            refusals.append(change)
        elif isinstance(change, SellerHeard):
            sellers.append(change)
        else:
            back.append(change)
    new_rows = [PaymentRow(payments.pop(id_), checkouts[id_]) for id_ in sorted(checkouts)]
    new = [line for each in new_rows for line in _new_orders(each, orders)]
    # Sorted, so that processes with the same ids do not deadlock.
    _NEW_PAYMENTS.run(conn, new_rows)
    _NEW_ORDERS.run(conn, sorted(new, key=_ID))
    _MOVED_PAYMENTS.run(conn, [PaymentRow(payment) for payment in payments.values()])
    _MOVED_ORDERS.run(conn, [OrderRow(order) for id_, order in orders.items() if id_ not in facts])
    _SETTLED_ORDERS.run(conn, [OrderRow(orders[id_], fact) for id_, fact in facts.items()])
    _STEPS.run(conn, steps)
    _REFUSED.run(conn, refusals)
    _HEARD.run(conn, sellers)
    note_late(conn, list(facts.values()))
    if back:
        save_money_back(conn, back)


def _new_orders(payment_row: PaymentRow, orders: dict[str, Order]) -> list[OrderRow]:
    """The orders of a new payment with their terms; removes them from the changed `orders`."""
    assert payment_row.checkout is not None
    terms = payment_row.checkout.terms
    return [
        OrderRow(orders.pop(each.payment_order_id), None, place, each, payment_row) for place, each in enumerate(terms)
    ]

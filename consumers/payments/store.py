"""Payments' tables ⇄ what decide knows. One lock per payment; a batch is a handful of statements."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

import orjson

from consumers.payments.decide import Heard
from consumers.payments.payment import (
    Checkout,
    Fact,
    Order,
    OrderTerms,
    Payment,
    Refusal,
    Step,
    checkout_key,
    order_key,
)
from consumers.payments.revenue import note_late
from schemas.envelope import EventId
from schemas.events import AnyEvent, PaymentRequested, RiskCleared
from schemas.money import Money
from topics.runtime.shape.consumer import Broken, Connection, Cursor, State
from topics.runtime.shape.store import insert_rows, int_array, text_array

_PAYMENTS = (
    "payments (checkout_id, owner, buyer_account, token, description, metadata, contents, status, done_at, version,"
    " deadline, received_at, event_id, trace)",
    (
        *("text", "text", "text", "text", "text", "json", "text", "text", "timestamptz", "int4"),
        *("timestamptz", "timestamptz", "uuid", "uuid"),
    ),
)
_ORDERS = (
    "orders (payment_order_id, checkout_id, position, seller_account, currency, gross, fee, net, status, detail,"
    " wallet_updated, ledger_updated, version, owner, received_at)",
    (
        *("text", "text", "int2", "text", "text", "int8", "int8", "int8", "text", "text"),
        *("bool", "bool", "int4", "text", "timestamptz"),
    ),
)
_STEPS = (
    "history (checkout_id, payment_order_id, from_status, to_status, detail, at, event_id)",
    ("text", "text", "text", "text", "text", "timestamptz", "uuid"),
)
_REFUSALS = (
    "refusals (checkout_id, owner, code, detail, at, event_id)",
    ("text", "text", "text", "text", "timestamptz", "uuid"),
)

Stored = Checkout | Payment | Order | Fact | Step | Refusal


# ── load ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def load(conn: Connection, events: Sequence[AnyEvent | Broken], now: datetime) -> State:
    """Lock the payments of a batch, then read their orders: whoever changes an order holds its payment's lock."""
    heard = cast("Sequence[Heard]", events)  # the catalogue says what this room hears
    about = [event for event in heard if not isinstance(event, Broken)]
    checkout_ids = sorted({event.checkout_id for event in about})
    if not checkout_ids:
        return {}
    locked = _ask_locked(conn, checkout_ids)
    requests = [event for event in about if isinstance(event, PaymentRequested)]
    asked = _ask_orders(conn, checkout_ids, sorted({o.payment_order_id for r in requests for o in r.payment_orders}))
    payments = locked.fetchall()
    orders: State = {order_key(row[0]): Order._make(row) for row in asked}
    unseen = {order.checkout_id for order in orders.values()}.intersection(checkout_ids) - {row[0] for row in payments}
    if unseen:  # committed by another process between our two statements
        payments += _ask_locked(conn, sorted(unseen)).fetchall()
    cleared = sorted({event.checkout_id for event in about if isinstance(event, RiskCleared)})
    return _payments(payments, orders) | orders | (_checkouts(conn, cleared) if cleared else {})


def _ask_locked(conn: Connection, checkout_ids: list[str]) -> Cursor:
    return conn.execute(
        "SELECT checkout_id, owner, contents, status, done_at, version FROM payments"
        " WHERE checkout_id = ANY(%s::text[]) ORDER BY checkout_id FOR UPDATE",
        [text_array(checkout_ids)],
        binary=True,
    )


def _ask_orders(conn: Connection, checkout_ids: list[str], asked: list[str]) -> Cursor:
    """The orders of these payments, and those, whoever's, whose ids are asked for anew."""
    return conn.execute(
        "SELECT payment_order_id, checkout_id, status, detail, wallet_updated, ledger_updated, version, decline_code"
        " FROM orders"
        " WHERE checkout_id = ANY(%s::text[]) OR payment_order_id = ANY(%s::text[]) ORDER BY checkout_id, position",
        [text_array(checkout_ids), text_array(asked)],
        binary=True,
    )


def _payments(rows: list[tuple[Any, ...]], orders: State) -> State:
    order_ids: dict[str, list[str]] = {}
    for order in orders.values():
        order_ids.setdefault(order.checkout_id, []).append(order.payment_order_id)
    return {
        checkout_id: Payment(checkout_id, owner, contents, tuple(order_ids[checkout_id]), status, done_at, version)
        for checkout_id, owner, contents, status, done_at, version in rows
    }


def _checkouts(conn: Connection, checkout_ids: list[str]) -> State:
    """What was asked: it never changes, so it needs no lock and is read only where orders are to be placed."""
    rows = conn.execute(
        "SELECT p.checkout_id, p.buyer_account, p.token, p.deadline, p.received_at, p.event_id::text,"
        " o.payment_order_id, o.seller_account, o.currency, o.gross, o.fee"
        " FROM payments p JOIN orders o ON o.checkout_id = p.checkout_id"
        " WHERE p.checkout_id = ANY(%s::text[]) ORDER BY p.checkout_id, o.position",
        [text_array(checkout_ids)],
        binary=True,
    )
    heads: dict[str, tuple[Any, ...]] = {}
    terms: dict[str, list[OrderTerms]] = {}
    for checkout_id, *rest, order_id, seller, currency, gross, fee in rows:
        heads[checkout_id] = tuple(rest)
        line = OrderTerms(order_id, seller, Money(gross, currency), Money(fee, currency))
        terms.setdefault(checkout_id, []).append(line)
    return {
        checkout_key(id_): Checkout(id_, buyer, token, deadline, tuple(terms[id_]), received_at, EventId(event_id))
        for id_, (buyer, token, deadline, received_at, event_id) in heads.items()
    }


# ── save ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def save(conn: Connection, changes: Sequence[Stored]) -> None:
    """All changes of a batch; where an entity is there several times the last one stands."""
    checkouts: dict[str, Checkout] = {}
    payments: dict[str, Payment] = {}
    orders: dict[str, Order] = {}
    facts: dict[str, Fact] = {}
    steps: list[Step] = []
    refusals: list[Refusal] = []
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
        else:
            refusals.append(change)
    _insert(conn, [checkouts[id_] for id_ in sorted(checkouts)], payments, orders)
    _update_payments(conn, list(payments.values()))
    _update_orders(conn, [order for id_, order in orders.items() if id_ not in facts])
    _settle_orders(conn, [(orders[id_], fact) for id_, fact in facts.items()])
    _append(conn, steps, refusals)
    note_late(conn, list(facts.values()))


def _insert(
    conn: Connection, checkouts: Sequence[Checkout], payments: dict[str, Payment], orders: dict[str, Order]
) -> None:
    """New payments and their orders, sorted, so that two processes with the same ids wait and do not deadlock."""
    if not checkouts:
        return
    owners = {checkout.checkout_id: payments[checkout.checkout_id].owner for checkout in checkouts}
    new = [_payment_row(checkout, payments.pop(checkout.checkout_id)) for checkout in checkouts]
    insert_rows(conn, *_PAYMENTS, new)
    rows = [
        (
            *_order_row(orders.pop(terms.payment_order_id), place, terms),
            owners[checkout.checkout_id],
            checkout.received_at,
        )
        for checkout in checkouts
        for place, terms in enumerate(checkout.terms)
    ]
    insert_rows(conn, *_ORDERS, sorted(rows))


def _payment_row(checkout: Checkout, payment: Payment) -> tuple[object, ...]:
    return (
        checkout.checkout_id,
        payment.owner,
        checkout.buyer_account,
        checkout.token,
        checkout.description,
        orjson.dumps(checkout.metadata).decode(),
        payment.contents,
        payment.status,
        payment.done_at,
        payment.version,
        checkout.deadline,
        checkout.received_at,
        checkout.event_id,
        checkout.trace,
    )


def _order_row(order: Order, position: int, terms: OrderTerms) -> tuple[Any, ...]:
    return (
        order.payment_order_id,
        order.checkout_id,
        position,
        terms.seller_account,
        terms.gross.currency,
        terms.gross.minor,
        terms.fee.minor,
        terms.net.minor,
        order.status,
        order.detail,
        order.wallet_updated,
        order.ledger_updated,
        order.version,
    )


def _update_payments(conn: Connection, payments: Sequence[Payment]) -> None:
    if not payments:
        return
    conn.execute(
        "UPDATE payments AS p SET status = n.status, done_at = n.done_at, version = n.version"
        " FROM unnest(%s::text[], %s::text[], %b::timestamptz[], %s::int4[]) AS n (id, status, done_at, version)"
        " WHERE p.checkout_id = n.id",
        [
            text_array([payment.checkout_id for payment in payments]),
            text_array([payment.status for payment in payments]),
            [payment.done_at for payment in payments],
            int_array([payment.version for payment in payments]),
        ],
    )


def _update_orders(conn: Connection, orders: Sequence[Order]) -> None:
    """No indexed column changes (those on capture and PSP reference are summaries), so PostgreSQL can update in place."""
    if not orders:
        return
    conn.execute(
        "UPDATE orders AS o SET status = n.status, detail = n.detail, wallet_updated = n.wallet_updated,"
        " ledger_updated = n.ledger_updated, version = n.version"
        " FROM unnest(%s::text[], %s::text[], %s::text[], %s::bool[], %s::bool[], %s::int4[])"
        " AS n (id, status, detail, wallet_updated, ledger_updated, version) WHERE o.payment_order_id = n.id",
        _standings(orders),
    )


def _settle_orders(conn: Connection, settled: Sequence[tuple[Order, Fact]]) -> None:
    """As above, with the PSP's final word beside it. Its words come from outside, so psycopg writes these arrays."""
    if not settled:
        return
    facts = [fact for _, fact in settled]
    conn.execute(
        "UPDATE orders AS o SET status = n.status, detail = n.detail, wallet_updated = n.wallet_updated,"
        " ledger_updated = n.ledger_updated, version = n.version, psp = n.psp, scheme = n.scheme,"
        " psp_reference = n.psp_reference, captured_at = n.captured_at, decline_code = n.decline_code"
        " FROM unnest(%s::text[], %s::text[], %s::text[], %s::bool[], %s::bool[], %s::int4[], %b::text[], %b::text[],"
        " %b::text[], %b::timestamptz[], %b::text[]) AS n (id, status, detail, wallet_updated, ledger_updated, version, psp,"
        " scheme, psp_reference, captured_at, decline_code) WHERE o.payment_order_id = n.id",
        [
            *_standings([order for order, _ in settled]),
            [fact.psp for fact in facts],
            [fact.scheme for fact in facts],
            [fact.psp_reference for fact in facts],
            [fact.captured_at for fact in facts],
            [order.decline_code for order, _ in settled],
        ],
    )


def _standings(orders: Sequence[Order]) -> list[str]:
    return [
        text_array([order.payment_order_id for order in orders]),
        text_array([order.status for order in orders]),
        text_array([order.detail for order in orders]),
        _flags([order.wallet_updated for order in orders]),
        _flags([order.ledger_updated for order in orders]),
        int_array([order.version for order in orders]),
    ]


def _flags(flags: Sequence[bool]) -> str:
    return "{" + ",".join(["t" if flag else "f" for flag in flags]) + "}"


def _append(conn: Connection, steps: Sequence[Step], refusals: Sequence[Refusal]) -> None:
    insert_rows(conn, *_STEPS, steps)
    # A request that was refused before the inbox forgot it is refused once more, and stands here as it did.
    rows = [(r.checkout_id, r.owner, r.code, r.detail, r.at, r.event_id) for r in refusals]
    insert_rows(conn, *_REFUSALS, rows, "ON CONFLICT (event_id) DO NOTHING")

"""Attempts of the executor: locked with their calls' facts for a batch, saved as a set."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import assert_never

from consumers.executor import early
from consumers.executor.attempt import Attempt, CallFacts
from consumers.executor.charging import Attempts
from consumers.executor.decide import Heard
from consumers.executor.early import Early
from schemas.events import (
    CallEnded,
    NotificationReceived,
    OrderPlaced,
    TimerFired,
)
from schemas.money_back import (
    CapturePlaced,
    DisputeNotified,
    RefundPlaced,
    VoidPlaced,
)
from topics.runtime.calls.rows import CALLS
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.store import text_array
from topics.runtime.shape.table import Column, Table


def _as_json(order: OrderPlaced) -> bytes:
    return order.model_dump_json().encode()


ATTEMPTS = Table(
    "attempts",
    Column("payment_order_id", "text", "placed.payment_order_id", key=True),
    Column("attempt_no", "int4"),
    Column("call_id", "text"),
    Column("psp", "text"),
    Column("state", "text"),
    Column("cause_event_id", "text", fixed=True),
    Column("created_at", "timestamptz", fixed=True),
    Column("changed_at", "timestamptz"),
    Column("revision", "int4"),
    Column("refusals", "int4"),
    Column("asks", "int4"),
    Column("scheme", "text", null=True),
    Column("psp_reference", "text", null=True),
    Column("code", "text", null=True),
    Column("outcome_event_id", "text", null=True),
    Column("placed", "bytea", fixed=True, write=_as_json),
    Column("checkout_id", "text", "placed.checkout_id", fixed=True),
    Column("gross_minor", "int8", "placed.gross.minor", fixed=True),
    Column("currency", "text", "placed.gross.currency", fixed=True),
)
_INSERT, _UPDATE = ATTEMPTS.insert(), ATTEMPTS.update()

_LOCK_ATTEMPTS = f"""
SELECT {ATTEMPTS.select(Attempt)}
FROM attempts WHERE payment_order_id = ANY(%s::text[]) ORDER BY payment_order_id FOR UPDATE
"""
_LOCK_CALLS = f"SELECT id, {CALLS.select(CallFacts)} FROM calls WHERE id = ANY(%s::text[]) ORDER BY id FOR UPDATE"
_ORDERS_OF = "SELECT subject FROM calls WHERE id = ANY(%s::text[])"


def lock(conn: Connection, events: Sequence[Heard], now: datetime) -> Attempts:
    """Both locked, in sorted order."""
    orders, calls, told = _wanted(events)
    if told:  # a call's order never changes: no lock is needed to read it
        orders |= {row[0] for row in conn.execute(_ORDERS_OF, (text_array(told),))}
        calls |= told
    state = Attempts()
    for placed, *rest in conn.execute(_LOCK_ATTEMPTS, (text_array(orders),), binary=True):
        attempt = Attempt(OrderPlaced.model_validate_json(placed), *rest)
        state.attempts[attempt.key] = attempt
    if calls:
        for call_id, *facts in conn.execute(_LOCK_CALLS, (text_array(calls),), binary=True):
            state.calls[call_id] = CallFacts(*facts)
    return state


def _wanted(events: Sequence[Heard]) -> tuple[set[str], set[str], set[str]]:
    """Orders, calls, and the references of notifications."""
    orders, calls, told = set(), set(), set()
    for event in events:
        match event:
            case OrderPlaced():
                orders.add(event.payment_order_id)
            case CallEnded():
                orders.add(event.payment_order_id)
                calls.add(event.call_id)
            case NotificationReceived():
                told.add(event.reference)
            case CapturePlaced() | VoidPlaced() | RefundPlaced() | DisputeNotified() | TimerFired():
                pass
            case _:
                assert_never(event)
    return orders, calls, told


def save(conn: Connection, changes: Sequence[Attempt | Early]) -> None:
    """New attempts are copied in, others updated; the last of several states of one attempt counts."""
    early.keep(conn, [change for change in changes if isinstance(change, Early)])
    first_revision: dict[str, int] = {}
    last: dict[str, Attempt] = {}
    for attempt in changes:
        if isinstance(attempt, Early):
            continue
        first_revision.setdefault(attempt.key, attempt.revision)
        last[attempt.key] = attempt
    new = [attempt for key, attempt in last.items() if _is_new(attempt, first_revision[key])]
    old = [attempt for key, attempt in last.items() if not _is_new(attempt, first_revision[key])]
    _INSERT.run(conn, new)
    _UPDATE.run(conn, old)


def _is_new(attempt: Attempt, first_revision: int) -> bool:
    return first_revision == 1 or attempt.outcome_event_id == attempt.cause_event_id  # declined as it was placed

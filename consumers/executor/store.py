"""Attempts of the executor: locked with their calls' facts for a batch, saved as a set."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from consumers.executor import early
from consumers.executor.attempt import Attempt, CallFacts, call_key
from consumers.executor.early import Early
from schemas.errors import Permanent
from schemas.events import AnyEvent, CallEnded, NotificationReceived, OrderPlaced
from topics.runtime.shape.consumer import Broken, Connection, State
from topics.runtime.shape.store import insert_rows, int_array, text_array

_LOCK_ATTEMPTS = """
SELECT placed, attempt_no, call_id, psp, state, cause_event_id, created_at, changed_at, revision, refusals, asks,
       scheme, psp_reference, code, outcome_event_id
FROM attempts WHERE payment_order_id = ANY(%s::text[]) ORDER BY payment_order_id FOR UPDATE
"""
_LOCK_CALLS = """
SELECT id, act_no, ever_unknown, first_sent_at, acted_at, sent_until, subject, psp, traceparent
FROM calls WHERE id = ANY(%s::text[]) ORDER BY id FOR UPDATE
"""


_ORDERS_OF = "SELECT subject FROM calls WHERE id = ANY(%s::text[])"


def lock(conn: Connection, events: Sequence[AnyEvent | Broken], now: datetime) -> State:
    """Attempts by payment order; the facts of the calls that came back, or are spoken of, under `call_key`."""
    orders, calls, told = _wanted(events)
    if told:  # a call's order never changes: no lock is needed to read it
        orders |= {row[0] for row in conn.execute(_ORDERS_OF, (text_array(told),))}
        calls |= told
    state: State = {}
    for placed, *rest in conn.execute(_LOCK_ATTEMPTS, (text_array(orders),), binary=True):
        attempt = Attempt(OrderPlaced.model_validate_json(placed), *rest)
        state[attempt.key] = attempt
    if calls:
        for call_id, *facts in conn.execute(_LOCK_CALLS, (text_array(calls),), binary=True):
            state[call_key(call_id)] = CallFacts(*facts)
    return state


def _wanted(events: Sequence[AnyEvent | Broken]) -> tuple[set[str], set[str], set[str]]:
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
            case _:
                raise Permanent("unexpected_event", type(event).__name__)
    return orders, calls, told


_ATTEMPTS = (
    "attempts (payment_order_id, attempt_no, call_id, psp, state, cause_event_id, created_at, changed_at, revision,"
    " refusals, asks, scheme, psp_reference, code, outcome_event_id, placed, checkout_id, gross_minor, currency)",
    (
        *("text", "int4", "text", "text", "text", "text", "timestamptz", "timestamptz", "int4"),
        *("int4", "int4", "text", "text", "text", "text", "bytea", "text", "int8", "text"),
    ),
)
_UPDATE = """
UPDATE attempts SET state = new.state, changed_at = new.changed_at, revision = new.revision, refusals = new.refusals,
                    asks = new.asks, attempt_no = new.attempt_no, call_id = new.call_id, psp = new.psp,
                    scheme = new.scheme, psp_reference = new.psp_reference,
                    code = new.code, outcome_event_id = new.outcome_event_id
FROM unnest(%s::text[], %s::text[], %s::timestamptz[], %s::int[], %s::int[], %s::int[], %s::int[],
            %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
     AS new(payment_order_id, state, changed_at, revision, refusals, asks, attempt_no, call_id, psp, scheme, psp_reference, code,
            outcome_event_id)
WHERE attempts.payment_order_id = new.payment_order_id
"""


def save(conn: Connection, changes: Sequence[Attempt | Early]) -> None:
    """New attempts are copied in, others updated; the last of several states of one attempt counts."""
    kept = [change for change in changes if isinstance(change, Early)]
    if kept:
        early.keep(conn, kept)
    first_revision: dict[str, int] = {}
    last: dict[str, Attempt] = {}
    for attempt in changes:
        if isinstance(attempt, Early):
            continue
        first_revision.setdefault(attempt.key, attempt.revision)
        last[attempt.key] = attempt
    new = [attempt for key, attempt in last.items() if _is_new(attempt, first_revision[key])]
    old = [attempt for key, attempt in last.items() if not _is_new(attempt, first_revision[key])]
    insert_rows(conn, *_ATTEMPTS, [_row(attempt) for attempt in new])
    if old:
        _update(conn, old)


def _is_new(attempt: Attempt, first_revision: int) -> bool:
    return first_revision == 1 or attempt.outcome_event_id == attempt.cause_event_id  # declined as it was placed


def _row(a: Attempt) -> tuple[object, ...]:
    gross = a.placed.gross
    return (
        *(a.key, a.attempt_no, a.call_id, a.psp, a.state, a.cause_event_id, a.created_at, a.changed_at),
        *(a.revision, a.refusals, a.asks, a.scheme, a.psp_reference, a.code, a.outcome_event_id),
        *(a.placed.model_dump_json().encode(), a.placed.checkout_id, gross.minor, gross.currency),
    )


def _update(conn: Connection, attempts: Sequence[Attempt]) -> None:
    columns = (
        text_array(a.key for a in attempts),
        text_array(a.state for a in attempts),
        text_array(a.changed_at.isoformat() for a in attempts),
        int_array(a.revision for a in attempts),
        int_array(a.refusals for a in attempts),
        int_array(a.asks for a in attempts),
        int_array(a.attempt_no for a in attempts),
        text_array(a.call_id for a in attempts),
        text_array(a.psp for a in attempts),
        text_array(a.scheme for a in attempts),
        text_array(a.psp_reference for a in attempts),
        text_array(a.code for a in attempts),
        text_array(a.outcome_event_id for a in attempts),
    )
    conn.execute(_UPDATE, columns)

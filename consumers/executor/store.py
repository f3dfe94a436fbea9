"""The executor's tables ⇄ attempts, operations, disputes and pay-outs: locked for a batch with their calls' facts, saved as
sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import assert_never

from consumers.executor import bank_file_rows, early, repeating
from consumers.executor.attempt import Attempt, CallFacts
from consumers.executor.bank_file import BankFile
from consumers.executor.decide import Heard, OfPayout
from consumers.executor.early import EarlyNotification
from consumers.executor.operation import Check, Dispute, Operation
from consumers.executor.payout import Payout, PayoutCallFacts, call_id_of
from consumers.executor.repeating import Repeat
from consumers.executor.state import Attempts, Change
from schemas.breaks import BreakChanged, BreakOpened, BreakResolved
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
from schemas.payouts import (
    BankFileNotified,
    PayoutCallEnded,
    PayoutNotified,
    PayoutPlaced,
    PayoutReady,
    PayoutRefused,
    PayoutReleased,
    PayoutStatusChanged,
    PayoutWithdrawn,
)
from topics.runtime.calls.rows import CALLS
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.store import text_array
from topics.runtime.shape.table import Column, Table, part_of


def _as_json(event: OrderPlaced | PayoutReady) -> bytes:
    return event.model_dump_json().encode()


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
    Column("expires_at", "timestamptz", null=True),
    Column("operations", "int4"),
    Column("placed", "bytea", fixed=True, write=_as_json),
    Column("checkout_id", "text", "placed.checkout_id", fixed=True),
    Column("gross_minor", "int8", "placed.gross.minor", fixed=True),
    Column("currency", "text", "placed.gross.currency", fixed=True),
)
_INSERT, _UPDATE = ATTEMPTS.insert(), ATTEMPTS.update()

_SETTLED = (  # columns of what is settled and may be checked
    Column("outcome_event_id", "text", null=True),
    Column("outcome_place", "int4", null=True),
    Column("revision", "int4"),
    Column("checks", "int4", "check.number"),
    Column("checking", "text", "check.state", null=True),
    Column("check_asks", "int4", "check.asks"),
)
OPERATIONS = Table(
    "operations",
    Column("payment_order_id", "text", key=True),
    Column("kind", "text", key=True),
    Column("operation_id", "text", key=True),
    Column("seq", "int4", fixed=True),
    Column("amount_minor", "int8"),
    Column("final", "bool", fixed=True),
    Column("state", "text"),
    Column("call_id", "text", fixed=True),
    Column("psp", "text"),
    Column("cause_event_id", "text", fixed=True),
    Column("placed_at", "timestamptz", fixed=True),
    Column("changed_at", "timestamptz"),
    Column("fee_minor", "int8"),
    Column("turn", "int4"),
    Column("refusals", "int4"),
    Column("asks", "int4"),
    Column("code", "text", null=True),
    Column("psp_reference", "text", null=True),
    Column("named_by_persons", "bool"),
    *_SETTLED,
)
DISPUTES = Table(
    "disputes",
    Column("psp", "text", key=True),
    Column("dispute_reference", "text", key=True),
    Column("stage", "int4", key=True),
    Column("dispute_id", "text", fixed=True),
    Column("payment_order_id", "text", fixed=True),
    Column("state", "text"),
    Column("amount_minor", "int8"),
    Column("reason", "text"),
    Column("cause_event_id", "text", fixed=True),
    Column("placed_at", "timestamptz", fixed=True),
    Column("changed_at", "timestamptz"),
    Column("told", "text[]"),
    Column("fee_minor", "int8"),
    Column("dispute_fee_minor", "int8", null=True),
    Column("dispute_fee_currency", "text", null=True),
    Column("due_by", "timestamptz", null=True),
    *_SETTLED,
)
PAYOUTS = Table(
    "payouts",
    Column("payout_id", "text", "key", key=True),
    Column("release_no", "int4", "ready.release_no"),
    Column("call_id", "text"),
    Column("provider", "text", "ready.provider"),
    Column("state", "text"),
    Column("turn", "int4"),
    Column("withdrawn", "bool"),
    Column("ready", "bytea", write=_as_json),
    Column("seller_account", "text", "ready.seller_account", fixed=True),
    Column("owner", "text", "ready.owner", fixed=True),
    Column("bank_account", "text", "ready.bank_account"),
    Column("amount_minor", "int8", "amount.minor", fixed=True),
    Column("currency", "text", "amount.currency", fixed=True),
    Column("sent_minor", "int8", "sent.minor"),
    Column("sent_currency", "text", "sent.currency"),
    Column("cost_minor", "int8", "ready.conversion", null=True, write=part_of("cost.minor")),
    Column("returned_minor", "int8", null=True),
    Column("refusals", "int4"),
    Column("asks", "int4"),
    Column("code", "text", null=True),
    Column("provider_reference", "text", null=True),
    Column("named_by_persons", "bool"),
    Column("resolution", "text", null=True),
    Column("resolution_code", "text", null=True),
    Column("cause_event_id", "text"),
    Column("created_at", "timestamptz", fixed=True),
    Column("changed_at", "timestamptz"),
    *_SETTLED,
)
_SAVE_OPERATIONS, _SAVE_DISPUTES, _SAVE_PAYOUTS = OPERATIONS.upsert(), DISPUTES.upsert(), PAYOUTS.upsert()

NOBODY = text_array(())

_LOCK_ATTEMPTS = f"""
SELECT {ATTEMPTS.select(Attempt)}
FROM attempts WHERE payment_order_id = ANY(%s::text[]) ORDER BY payment_order_id FOR UPDATE
"""
_LOCK_CALLS = f"SELECT id, {CALLS.select(CallFacts)} FROM calls WHERE id = ANY(%s::text[]) ORDER BY id FOR UPDATE"
_READ_OPERATIONS = f"""
SELECT {OPERATIONS.select(Check, part="check")}, {OPERATIONS.select(Operation, without=("check",))}
FROM operations WHERE payment_order_id = ANY(%s::text[]) ORDER BY payment_order_id, seq
"""
_READ_DISPUTES = f"""
SELECT {DISPUTES.select(Check, part="check")}, {DISPUTES.select(Dispute, without=("check",))}
FROM disputes WHERE payment_order_id = ANY(%s::text[]) ORDER BY placed_at, dispute_reference, stage
"""
_LOCK_PAYOUTS = f"""
SELECT {PAYOUTS.select(Check, part="check")}, {PAYOUTS.select(Payout, without=("check",))}
FROM payouts WHERE payout_id = ANY(%s::text[]) ORDER BY payout_id FOR UPDATE
"""
_LOCK_PAYOUT_CALLS = f"""
SELECT id, {CALLS.select(PayoutCallFacts)} FROM calls WHERE id = ANY(%s::text[]) ORDER BY id FOR UPDATE
"""
_SUBJECTS_OF = "SELECT subject FROM calls WHERE id = ANY(%s::text[])"


def lock(conn: Connection, events: Sequence[Heard], now: datetime) -> Attempts:
    """Lock attempts and read their calls' facts, in sorted order; then pay-outs. The lock covers an attempt's operations and
    disputes, which are read if the attempt has any.
    """
    orders, calls, told, of_payouts = _wanted(events)
    if told:
        orders |= _subjects_of(conn, told)
        calls |= told
    state = Attempts()
    for placed, *rest in conn.execute(_LOCK_ATTEMPTS, (text_array(orders),), binary=True):
        attempt = Attempt(OrderPlaced.model_validate_json(placed), *rest)
        state.attempts[attempt.key] = attempt
    _read_behind(conn, state)
    if calls:
        for call_id, *facts in conn.execute(_LOCK_CALLS, (text_array(calls),), binary=True):
            state.calls[call_id] = CallFacts(*facts)
    if of_payouts:
        _lock_payouts(conn, of_payouts, state)
    return state


def _subjects_of(conn: Connection, calls: Iterable[str]) -> set[str]:
    """Read without a lock: the subject of a call never changes."""
    return {row[0] for row in conn.execute(_SUBJECTS_OF, (text_array(calls),))}


def _lock_payouts(conn: Connection, events: Sequence[OfPayout], state: Attempts) -> None:
    """Lock files for banks and pay-outs, then the calls of their lines and releases and those that the events name: while a
    batch decides about a withdrawal nobody can lease the call.
    """
    told = {event.reference for event in events if isinstance(event, PayoutNotified)}
    payouts = {event.payout_id for event in events if not isinstance(event, PayoutNotified | BankFileNotified)}
    files = [event.reference for event in events if isinstance(event, BankFileNotified)]
    calls = _lock_files(conn, files, state) if files else set()
    calls |= told | {event.call_id for event in events if isinstance(event, PayoutCallEnded)}
    calls |= {call_id_of(each.payout_id, each.release_no) for each in events if isinstance(each, PayoutWithdrawn)}
    if told:
        payouts |= _subjects_of(conn, told)
    for number, checking, asks, ready, *rest in conn.execute(_LOCK_PAYOUTS, (text_array(payouts),), binary=True):
        payout = Payout(PayoutReady.model_validate_json(ready), *rest)
        state.fold(replace(payout, check=Check(number, checking, asks)))
        calls.add(payout.call_id)
    if calls:
        for call_id, *facts in conn.execute(_LOCK_PAYOUT_CALLS, (text_array(calls),), binary=True):
            state.payout_calls[call_id] = PayoutCallFacts(*facts)


def _lock_files(conn: Connection, file_ids: Sequence[str], state: Attempts) -> set[str]:
    """→ the calls that will be answered by what becomes of these files"""
    state.files |= bank_file_rows.lock(conn, file_ids)
    return bank_file_rows.waiting_calls(conn, file_ids)


def _read_behind(conn: Connection, state: Attempts) -> None:
    orders = text_array(attempt.key for attempt in state.attempts.values() if attempt.operations)
    if orders == NOBODY:
        return
    for number, checking, asks, *rest in conn.execute(_READ_OPERATIONS, (orders,), binary=True):
        state.fold(replace(Operation(*rest), check=Check(number, checking, asks)))
    for number, checking, asks, *rest in conn.execute(_READ_DISPUTES, (orders,), binary=True):
        dispute = Dispute(*rest)
        state.fold(replace(dispute, told=tuple(dispute.told), check=Check(number, checking, asks)))


def _wanted(events: Sequence[Heard]) -> tuple[set[str], set[str], set[str], list[OfPayout]]:
    """The ids of orders and calls, and the references of notifications, that the events name; and those about pay-outs."""
    orders, calls, told, of_payouts = set(), set(), set(), []
    for event in events:
        match event:
            case OrderPlaced():
                orders.add(event.payment_order_id)
            case CallEnded():
                orders.add(event.payment_order_id)
                calls.add(event.call_id)
            case NotificationReceived() | DisputeNotified():
                told.add(event.reference)
            case CapturePlaced() | VoidPlaced() | RefundPlaced():
                orders.add(event.payment_order_id)
            case TimerFired():
                orders.add(event.timer_key)
            case PayoutReady() | PayoutWithdrawn() | PayoutNotified() | BankFileNotified() | PayoutCallEnded():
                of_payouts.append(event)
            case PayoutPlaced() | PayoutReleased() | PayoutStatusChanged() | PayoutRefused():
                pass
            case BreakOpened() | BreakChanged() | BreakResolved():
                pass
            case _:
                assert_never(event)
    return orders, calls, told, of_payouts


def save(conn: Connection, changes: Sequence[Change]) -> None:
    """Insert new attempts and update others. Of several states of one attempt the last is saved."""
    first_revision: dict[str, int] = {}
    last: dict[str, Attempt] = {}
    others: list[Operation | Dispute | Payout | BankFile | EarlyNotification | Repeat] = []
    for change in changes:
        if isinstance(change, Attempt):
            first_revision.setdefault(change.key, change.revision)
            last[change.key] = change
        else:
            others.append(change)
    _INSERT.run(conn, [attempt for key, attempt in last.items() if _is_new(attempt, first_revision[key])])
    _UPDATE.run(conn, [attempt for key, attempt in last.items() if not _is_new(attempt, first_revision[key])])
    if others:
        _save_behind(conn, others)


def _save_behind(
    conn: Connection, others: Sequence[Operation | Dispute | Payout | BankFile | EarlyNotification | Repeat]
) -> None:
    repeating.keep(conn, [each for each in others if isinstance(each, Repeat)])
    early.keep(conn, [each for each in others if isinstance(each, EarlyNotification)])
    operations = {(each.payment_order_id, each.key): each for each in others if isinstance(each, Operation)}
    _SAVE_OPERATIONS.run(conn, list(operations.values()))
    disputes = {(each.psp, each.key): each for each in others if isinstance(each, Dispute)}
    _SAVE_DISPUTES.run(conn, list(disputes.values()))
    _SAVE_PAYOUTS.run(conn, list({each.key: each for each in others if isinstance(each, Payout)}.values()))
    for file in {each.file_id: each for each in others if isinstance(each, BankFile)}.values():
        bank_file_rows.settle(conn, file)


def _is_new(attempt: Attempt, first_revision: int) -> bool:
    """Whether the attempt is new. Its first revision is 1; 2 if the order is declined when it is placed."""
    return first_revision == 1 or (first_revision == 2 and attempt.outcome_event_id == attempt.cause_event_id)

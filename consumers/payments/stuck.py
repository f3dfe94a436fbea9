"""Payments that are not done → those with an order past a limit, and the next step of each; and the captures, voids, refunds
and disputes past a limit, also of payments that are done."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import groupby
from typing import NamedTuple

from schemas.money import Money, sums
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.limits import StuckLimits
from topics.runtime.shape.stuck import FOUND_MAX, Stuck, age_s

ROOM = "payments"
_EXECUTES = "goes on when the executor says what the PSP did: tally show {}"


class Open(NamedTuple):
    """An order of a payment that is not done, with its payment's status and times."""

    checkout_id: str
    payment_status: str
    received_at: datetime
    deadline: datetime
    payment_order_id: str
    gross: int
    currency: str
    status: str
    detail: str
    wallet_updated: bool
    ledger_updated: bool
    captured_at: datetime | None
    psp: str | None


_OPEN = """
WITH undecided AS (
    SELECT checkout_id FROM open_payment_view
    WHERE status IN ('received', 'in_review') AND received_at <= %(seen)s ORDER BY received_at LIMIT %(most)s
), executing AS (
    SELECT checkout_id FROM open_order_view
    WHERE payment_order_status = 'EXECUTING' AND detail = '' AND received_at <= %(seen)s ORDER BY received_at LIMIT %(most)s
), unbooked AS (
    SELECT checkout_id FROM open_order_view
    WHERE payment_order_status = 'SUCCESS' AND captured_at <= %(seen)s AND NOT (wallet_updated AND ledger_updated)
      AND detail <> 'partly_captured'
    ORDER BY captured_at LIMIT %(most)s
), oldest AS (TABLE undecided UNION TABLE executing UNION TABLE unbooked)
SELECT o.checkout_id, o.status, o.received_at, o.deadline, o.payment_order_id, o.gross, o.currency,
       o.payment_order_status, o.detail, o.wallet_updated, o.ledger_updated, o.captured_at, o.psp
FROM oldest JOIN open_order_view o USING (checkout_id) ORDER BY o.received_at, o.checkout_id, o.position
"""

# What the executor has spoken of it tells itself, and what waits for the charge is told with the charge.
_BEHIND = """
(SELECT kind, operation_id, payment_order_id, checkout_id, psp, 'executing', amount, currency, requested_at, false, false
   FROM open_operation_view
  WHERE status = 'processing' AND detail = '' AND is_charged AND requested_at <= %(executing)s
  ORDER BY requested_at LIMIT %(most)s)
UNION ALL
(SELECT kind, operation_id, payment_order_id, checkout_id, psp, 'booking', amount, currency, changed_at, wallet_updated,
        ledger_updated
   FROM open_operation_view WHERE status IN ('succeeded', 'reversed') AND NOT told_by_order AND changed_at <= %(booking)s
  ORDER BY changed_at LIMIT %(most)s)
UNION ALL
(SELECT 'dispute', dispute_id || ' stage ' || stage, payment_order_id, checkout_id, psp, 'booking', amount, currency,
        changed_at, wallet_updated, ledger_updated
   FROM open_dispute_view WHERE status IN ('opened', 'won', 'lost') AND changed_at <= %(booking)s
  ORDER BY changed_at LIMIT %(most)s)
ORDER BY 9, 3
"""


def stuck(conn: Connection, limits: StuckLimits, now: datetime) -> list[Stuck]:
    """What is stuck, oldest first. `now` is business time. The oldest of each kind are found separately, so that many orders at
    a PSP do not hide those that wait for a room.
    """
    shortest = timedelta(seconds=min(limits.risk_s, limits.executing_s, limits.booking_s))
    found = conn.execute(_OPEN, {"seen": now - shortest, "most": FOUND_MAX})
    return past_limits(map(Open._make, found), limits, now) + _behind(conn, limits, now)


def past_limits(orders: Iterable[Open], limits: StuckLimits, now: datetime) -> list[Stuck]:
    """The orders past a limit; `orders` of one payment stand together. Pending, unknown and unresolved orders are the
    executor's to report; an order that waits for a request to capture is not stuck.
    """
    found: list[Stuck] = []
    for _, group in groupby(orders, key=lambda order: order.checkout_id):
        payment = list(group)
        if payment[0].payment_status in ("received", "in_review"):
            found += _undecided(payment, limits, now)
        else:
            found += [one for order in payment if (one := _order(order, limits, now)) is not None]
    return found


def _undecided(payment: list[Open], limits: StuckLimits, now: datetime) -> list[Stuck]:
    head = payment[0]
    age = age_s(head.received_at, now)
    amounts = sums(Money(order.gross, order.currency) for order in payment)
    if head.payment_status == "in_review":
        return [Stuck(ROOM, head.checkout_id, head.checkout_id, None, "review", amounts, age, "a person must decide")]
    if age < limits.risk_s:
        return []
    asks = "goes on when risk answers (tally status, tally dlq list --room risk)"
    waits = f"{asks}; ends expired if that is after its deadline, {head.deadline:%Y-%m-%d %H:%M:%S %Z}"
    return [Stuck(ROOM, head.checkout_id, head.checkout_id, None, "risk", amounts, age, waits)]


def _order(order: Open, limits: StuckLimits, now: datetime) -> Stuck | None:
    if order.status == "EXECUTING" and order.detail == "":
        since, limit, state = order.received_at, limits.executing_s, "executing"
        waits = _EXECUTES.format(order.payment_order_id)
    elif order.detail == "partly_captured":
        return None
    elif order.status == "SUCCESS" and order.captured_at and not (order.wallet_updated and order.ledger_updated):
        since, limit, state = order.captured_at, limits.booking_s, "booking"
        waits = _owed(order.wallet_updated, order.ledger_updated)
    else:
        return None
    age = age_s(since, now)
    if age < limit:
        return None
    amounts = (Money(order.gross, order.currency),)
    return Stuck(ROOM, order.payment_order_id, order.checkout_id, order.psp, state, amounts, age, waits)


def _owed(wallet_updated: bool, ledger_updated: bool) -> str:
    owing = [("wallet", wallet_updated), ("ledger", ledger_updated)]
    rooms = " and ".join(room for room, said in owing if not said)
    return f"ends when {rooms} has booked it (tally status, tally dlq list)"


def _behind(conn: Connection, limits: StuckLimits, now: datetime) -> list[Stuck]:
    """Operations that the executor has not spoken of, and what it has said that wallet or ledger have not booked."""
    executing, booking = (timedelta(seconds=limit) for limit in (limits.executing_s, limits.booking_s))
    values = {"executing": now - executing, "booking": now - booking, "most": FOUND_MAX}
    return [
        Stuck(
            ROOM,
            order,
            checkout,
            psp,
            state,
            (Money(minor, currency),) if minor is not None else (),  # a void has no amount before it is done
            age_s(since, now),
            f"{kind} {id_}: {_owed(*booked) if state == 'booking' else _EXECUTES.format(order)}",
        )
        for kind, id_, order, checkout, psp, state, minor, currency, since, *booked in conn.execute(_BEHIND, values)
    ]

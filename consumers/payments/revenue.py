"""Captured orders of hours that are over, and lines of revenue behind orders → their sums by day, each once.

An hour is closed first and summed afterwards, in transactions of their own: closing waits for the batches that are on
their way and makes the next ones wait, so it must be short. An order that is captured later with a time of a closed
hour (by a clock that is behind, or a process that slept) gets a row in `revenue_late`, from where it is added. A line of revenue
has the mark `summed` itself, so it may come as late as it likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import psycopg

from consumers.payments.payment import Fact
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.limits import Retention
from topics.runtime.shape.store import text_array

OVER_AFTER = timedelta(minutes=5)  # so that few orders are late
WAIT_FOR_BATCHES = "SET LOCAL lock_timeout = '250ms'"  # a process that hangs in one must not hold up all others

_CLOSE = "UPDATE revenue_closed SET until = %s WHERE until < %s"

# A transaction with the first lock sees an open hour as open until its end; closing takes the second, which conflicts.
_HOLD_OPEN = "LOCK TABLE revenue_closed IN ROW SHARE MODE"
_HOLD_ALL = "LOCK TABLE revenue_closed IN EXCLUSIVE MODE"

_LATE = """
INSERT INTO revenue_late (payment_order_id, captured_at)
SELECT id, at FROM unnest(%s::text[], %b::timestamptz[]) AS n (id, at) WHERE at < (SELECT until FROM revenue_closed)
"""

_ADD = """
INSERT INTO revenue_days AS d
       (day, owner, currency, seller_account, psp, orders, gross, fee, net, refunded, charged_back, fee_returned)
SELECT day, owner, currency, seller_account, psp, sum(orders), sum(gross), sum(fee), sum(net),
       sum(refunded), sum(charged_back), sum(fee_returned)
  FROM ({parts}) AS part GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 3, 4, 5, 2
ON CONFLICT (day, currency, seller_account, psp, owner) DO UPDATE
   SET orders = d.orders + excluded.orders, gross = d.gross + excluded.gross,
       fee = d.fee + excluded.fee, net = d.net + excluded.net, refunded = d.refunded + excluded.refunded,
       charged_back = d.charged_back + excluded.charged_back, fee_returned = d.fee_returned + excluded.fee_returned
"""

# An order with manual capture is summed by its lines of revenue, capture by capture.
_ORDERS = """
SELECT (captured_at AT TIME ZONE 'UTC')::date AS day, owner, currency, seller_account, psp, 1 AS orders, gross, fee, net,
       0 AS refunded, 0 AS charged_back, 0 AS fee_returned
  FROM {orders} WHERE capture IS NULL AND {which}
"""

# A late order is added by `_ADD_LATE` alone, also if it came before the hour was summed.
_ADD_HOURS = _ADD.format(
    parts=_ORDERS.format(
        orders="orders",
        which="status = 'SUCCESS' AND captured_at >= %s AND captured_at < %s"
        " AND payment_order_id NOT IN (SELECT payment_order_id FROM revenue_late)",
    )
)
_ADD_LATE = "WITH late AS (DELETE FROM revenue_late WHERE captured_at < %s RETURNING payment_order_id)" + _ADD.format(
    parts=_ORDERS.format(orders="late JOIN orders USING (payment_order_id)", which="true")
)
_ADD_LINES = (
    "WITH line AS (UPDATE revenue_lines SET summed = true WHERE NOT summed AND at < %s RETURNING payment_order_id, kind, part)"
    + _ADD.format(parts="SELECT * FROM line JOIN revenue_line_view USING (payment_order_id, kind, part)")
)


def note_late(conn: Connection, facts: Sequence[Fact]) -> None:
    """Note the orders that were captured in a closed hour. The hours of the others stay open until this transaction ends."""
    captured = [fact for fact in facts if fact.captured_at is not None]
    if captured:
        conn.execute(_HOLD_OPEN)
        ids = text_array([fact.payment_order_id for fact in captured])
        conn.execute(_LATE, [ids, [fact.captured_at for fact in captured]])


def sum_up(conn: Connection, retention: Retention, now: datetime) -> int:
    """Close the hours that are over, or else sum the closed ones. → 0 if nothing was to be done, or another process does it."""
    return _close(conn, now) or _sum(conn)


def _close(conn: Connection, now: datetime) -> int:
    until = (now.astimezone(UTC) - OVER_AFTER).replace(minute=0, second=0, microsecond=0)
    if not conn.execute("SELECT 1 FROM revenue_closed WHERE until < %s", [until]).fetchone():
        return 0
    try:
        with conn.transaction():
            conn.execute(WAIT_FOR_BATCHES)
            conn.execute(_HOLD_ALL)
            return conn.execute(_CLOSE, [until, until]).rowcount
    except psycopg.errors.LockNotAvailable:
        return 0


def _sum(conn: Connection) -> int:
    """Sum the hours from `revenue_summed` to `revenue_closed` as it is now; hours closed meanwhile are summed the next time."""
    row = conn.execute("SELECT until FROM revenue_summed FOR UPDATE SKIP LOCKED").fetchone()
    if row is None:
        return 0
    (since,) = row
    until, late = conn.execute(
        "SELECT until, EXISTS (SELECT FROM revenue_late l WHERE l.captured_at < c.until)"
        " OR EXISTS (SELECT FROM revenue_lines l WHERE NOT l.summed AND l.at < c.until) FROM revenue_closed c"
    ).fetchone() or (since, False)
    if since >= until and not late:
        return 0
    conn.execute(_ADD_HOURS, [since, until])
    conn.execute(_ADD_LATE, [until])
    conn.execute(_ADD_LINES, [until])
    return conn.execute("UPDATE revenue_summed SET until = %s", [until]).rowcount

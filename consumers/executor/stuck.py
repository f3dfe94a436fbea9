"""Open calls, unresolved orders and notifications without a call → what is past its limit, and what happens to it next.

Read from the room's views, so that `tally stuck` may do it by the role that only reads.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from schemas.money import Money
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.limits import StuckLimits
from topics.runtime.shape.stuck import FOUND_MAX, Stuck, age_s

ROOM = "executor"

_ORDERS = """
WITH open AS (
    SELECT * FROM call_view WHERE state = 'due'
    UNION ALL SELECT * FROM call_view WHERE state IN ('sending', 'answered')
    UNION ALL SELECT * FROM call_view WHERE outcome = 'unresolved'
)
SELECT a.payment_order_id, a.checkout_id, a.psp, a.state, a.gross_minor, a.currency, a.created_at,
       c.state, c.act, c.due_at, c.lease_until
FROM open c JOIN attempt_view a ON a.payment_order_id = c.payment_order_id AND a.call_id = c.call_id
WHERE a.created_at < CASE a.state WHEN 'calling' THEN %(calling)s WHEN 'unknown' THEN %(unknown)s
                                  WHEN 'pending' THEN %(pending)s WHEN 'unresolved' THEN %(now)s END::timestamptz
ORDER BY a.created_at, a.payment_order_id LIMIT %(most)s
"""
_NOTIFICATIONS = """
SELECT reference, psp, amount, currency, received_at FROM notification_view
WHERE taken_at IS NULL AND received_at < %s ORDER BY received_at LIMIT %s
"""


def stuck(conn: Connection, limits: StuckLimits, now: datetime) -> list[Stuck]:
    """Oldest first. `now` is business time."""
    limits_at = {
        "now": now,
        "most": FOUND_MAX,
        "calling": now - timedelta(seconds=limits.calling_s),
        "unknown": now - timedelta(seconds=limits.unknown_s),
        "pending": now - timedelta(seconds=limits.pending_s),
    }
    found = [
        Stuck(ROOM, order, checkout, psp, state, (Money(minor, currency),), age_s(since, now), _next(now, state, *call))
        for order, checkout, psp, state, minor, currency, since, *call in conn.execute(_ORDERS, limits_at)
    ]
    early = conn.execute(_NOTIFICATIONS, [now - timedelta(seconds=limits.notification_s), FOUND_MAX])
    return found + [
        Stuck(
            ROOM,
            reference,
            None,
            psp,
            "notification",
            (Money.from_wire(amount, currency),),
            age_s(received, now),
            "nothing: no call of ours has this reference; a person must look",
        )
        for reference, psp, amount, currency, received in early
    ]


def _next(now: datetime, state: str, call: str, act: str, due_at: datetime, lease_until: datetime | None) -> str:
    if state == "unresolved":
        return "ends only by a late yes or no of the PSP: have it send its webhook again"
    match call:
        case "due" if due_at > now:
            return f"{'asks the PSP' if act == 'ask' else 'sends again'} at {due_at:%Y-%m-%d %H:%M:%S %Z}"
        case "due":
            return f"{act}s as soon as the PSP's breaker and rate let it (due since {due_at:%Y-%m-%d %H:%M:%S %Z})"
        case "sending":
            return f"waits for the PSP's answer until {lease_until:%H:%M:%S %Z}, then asks"
        case _:
            return "the PSP's answer is applied"

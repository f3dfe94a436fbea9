"""Open calls, unresolved orders and notifications without a call → what is past its limit, and what happens to it next.

Read from the room's views, by the caller for metrics and log, by `tally stuck` for people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from prometheus_client import Gauge

from schemas.money import Money
from topics.runtime.consumer import Connection
from topics.settings import StuckLimits

log = structlog.get_logger()

LOGGED_MAX = 20  # of each look

ORDERS = Gauge("tally_stuck_orders", "Orders at a PSP past their limit, by state", ["psp", "state"])
OLDEST_S = Gauge("tally_stuck_oldest_seconds", "Age of the oldest of them", ["psp", "state"])
MINOR = Gauge("tally_stuck_minor_units", "Their amounts, in minor units", ["psp", "state", "currency"])


@dataclass(frozen=True, slots=True)
class Stuck:
    """One thing past its limit. `id` is the payment order's, or a notification's reference."""

    id: str
    checkout_id: str | None
    psp: str
    state: str  # calling | unknown | pending | unresolved | notification
    amount: Money
    age_s: int
    next: str


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
ORDER BY a.created_at, a.payment_order_id
"""
_NOTIFICATIONS = """
SELECT reference, psp, amount, currency, received_at FROM notification_view
WHERE taken_at IS NULL AND received_at < %s ORDER BY received_at
"""


def stuck(conn: Connection, limits: StuckLimits, now: datetime) -> list[Stuck]:
    """Oldest first. `now` is business time."""
    since = {
        "now": now,
        "calling": now - timedelta(seconds=limits.calling_s),
        "unknown": now - timedelta(seconds=limits.unknown_s),
        "pending": now - timedelta(seconds=limits.pending_s),
    }
    found = [
        Stuck(order_id, checkout, psp, state, Money(minor, currency), _age_s(created, now), _next(now, state, *call))
        for order_id, checkout, psp, state, minor, currency, created, *call in conn.execute(_ORDERS, since)
    ]
    early = conn.execute(_NOTIFICATIONS, [now - timedelta(seconds=limits.notification_s)])
    return found + [
        Stuck(
            reference,
            None,
            psp,
            "notification",
            Money.from_wire(amount, currency),
            _age_s(received, now),
            "nothing: no call of ours has this reference; a person must look",
        )
        for reference, psp, amount, currency, received in early
    ]


def _age_s(since: datetime, now: datetime) -> int:
    return int((now - since).total_seconds())


def _next(now: datetime, state: str, call: str, act: str, due_at: datetime, lease_until: datetime | None) -> str:
    if state == "unresolved":
        return "a person or a settlement line must say; a late word of the PSP is still taken"
    match call:
        case "due" if due_at > now:
            return f"{'asks the PSP' if act == 'ask' else 'sends again'} at {due_at:%Y-%m-%d %H:%M:%S %Z}"
        case "due":
            return f"{act}s as soon as the PSP's breaker and rate let it (due since {due_at:%Y-%m-%d %H:%M:%S %Z})"
        case "sending":
            return f"waits for the PSP's answer until {lease_until:%H:%M:%S %Z}, then asks"
        case _:
            return "the PSP's answer is applied"


class Watch:
    """Gauges of what is stuck, and a line in the log for each when it becomes so."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str]] = set()
        self._labels: set[tuple[str, ...]] = set()

    def look(self, found: Sequence[Stuck]) -> None:
        fresh = [one for one in found if (one.id, one.state) not in self._known]
        for one in fresh[:LOGGED_MAX]:
            facts = {"id": one.id, "psp": one.psp, "state": one.state, "age_s": one.age_s, "amount": str(one.amount)}
            log.warning("stuck", action="alert", **facts, next=one.next)
        if len(fresh) > LOGGED_MAX:
            log.warning("more are stuck", action="alert", orders=len(fresh) - LOGGED_MAX)
        self._known = {(one.id, one.state) for one in found}
        self._measure(found)

    def _measure(self, found: Sequence[Stuck]) -> None:
        numbers = Counter((one.psp, one.state) for one in found)
        minor: Counter[tuple[str, str, str]] = Counter()
        oldest: dict[tuple[str, str], int] = {}
        for one in found:
            minor[one.psp, one.state, one.amount.currency] += one.amount.minor
            oldest[one.psp, one.state] = max(one.age_s, oldest.get((one.psp, one.state), 0))
        self._labels |= {*numbers, *minor}  # what is not stuck any more is said to be none
        for labels in self._labels:
            if len(labels) == 3:
                MINOR.labels(*labels).set(minor[labels[0], labels[1], labels[2]])
            else:
                ORDERS.labels(*labels).set(numbers[labels[0], labels[1]])
                OLDEST_S.labels(*labels).set(oldest.get((labels[0], labels[1]), 0))

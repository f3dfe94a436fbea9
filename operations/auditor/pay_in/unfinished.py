"""Calls and payments that are not over → is each worked at, and younger than its limit?"""

from __future__ import annotations

from datetime import datetime, timedelta

from operations.auditor.engine.stores import Stores
from operations.auditor.engine.unfinished import LEASE_S, OVERDUE, Look, Seen

# From the last question of the ladder (5 s … 6 h, 24 h: 31 h 13 min) after a payment's deadline, with room to spare.
ENDED_AFTER = timedelta(hours=36)


def calls(stores: Stores, now: datetime) -> Seen:
    """Every call that is not ended is being worked at."""
    seen = Seen(stores.one("executor", "SELECT count(*) FROM call_view")[0])
    open_ = stores.one("executor", "SELECT count(*) FROM call_view WHERE state <> 'ended'")[0]
    seen.aside.append(f"{open_} at a PSP" if open_ else "")
    rows = stores.rows(
        "executor",
        "SELECT call_id, payment_order_id, state, CASE WHEN deadline < %s THEN 'its deadline was ' || deadline"
        " WHEN state = 'due' THEN 'due since ' || due_at ELSE 'its lease ended ' || lease_until END FROM call_view"
        " WHERE state <> 'ended' AND (deadline < %s OR (state = 'due' AND due_at < %s)"
        f" OR (state <> 'due' AND lease_until < clock_timestamp() - interval '{LEASE_S} seconds')) LIMIT 100",
        [now - ENDED_AFTER, now - ENDED_AFTER, now - OVERDUE],
    )
    seen.wrong = {call_id: f"{state} for {order_id}: {why}" for call_id, order_id, state, why in rows}
    unresolved = stores.one("executor", "SELECT count(*) FROM attempt_view WHERE state = 'unresolved'")[0]
    seen.aside.append(f"{unresolved} unresolved: a person must say" if unresolved else "")
    return seen


def payments(stores: Stores, now: datetime) -> Seen:
    """Every payment ends within its deadline and the time that asking may take, unless it waits for a person."""
    seen = Seen(stores.one("payments", "SELECT count(*) FROM payment_view")[0])
    open_ = stores.one("payments", "SELECT count(*) FROM payment_view WHERE NOT is_payment_done")[0]
    seen.aside.append(f"{open_} not done yet" if open_ else "")
    rows = stores.rows(
        "payments",
        "SELECT checkout_id, status, deadline::text FROM payment_view p WHERE NOT is_payment_done AND deadline < %s"
        " AND NOT EXISTS (SELECT 1 FROM order_view o WHERE o.checkout_id = p.checkout_id AND o.detail = 'unresolved')"
        " ORDER BY deadline LIMIT 100",
        [now - ENDED_AFTER],
    )
    seen.wrong = {checkout_id: f"{status}, and its deadline was {deadline}" for checkout_id, status, deadline in rows}
    return seen


LOOKS: dict[str, Look] = {"calls_young": calls, "payments_end": payments}

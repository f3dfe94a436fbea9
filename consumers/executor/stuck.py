"""Open calls and pay-outs, waiting and unresolved operations, notifications without a call → those past a limit, and their
next step.

Read from the room's views, so that `tally stuck` can use the reading role.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from schemas.money import Money
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.limits import StuckLimits
from topics.runtime.shape.stuck import FOUND_MAX, Stuck, age_s

ROOM = "executor"

_OPEN = """
WITH open AS (
    SELECT * FROM call_view WHERE state = 'due'
    UNION ALL SELECT * FROM call_view WHERE state IN ('sending', 'answered')
    UNION ALL SELECT * FROM call_view WHERE outcome = 'unresolved'
)
"""
_PAST_ITS_LIMIT = """
CASE {state} WHEN 'calling' THEN %(calling)s WHEN 'unknown' THEN %(unknown)s WHEN 'waiting' THEN %(unknown)s
             WHEN 'pending' THEN %(pending)s WHEN 'unresolved' THEN %(now)s END::timestamptz
"""
_ORDERS = f"""{_OPEN}
SELECT a.payment_order_id, a.checkout_id, a.psp, a.state, a.gross_minor, a.currency, a.created_at,
       c.state, c.act, c.due_at, c.lease_until
FROM open c JOIN attempt_view a ON a.payment_order_id = c.payment_order_id AND a.call_id = c.call_id
WHERE a.created_at < {_PAST_ITS_LIMIT.format(state="a.state")}
  AND (a.state <> 'pending' OR coalesce(a.expires_at < %(now)s, true))
ORDER BY a.created_at, a.payment_order_id LIMIT %(most)s
"""
_OPERATIONS = f"""{_OPEN}
SELECT o.kind, o.operation_id, o.payment_order_id, o.checkout_id, o.psp, o.state, o.amount_minor, o.currency,
       o.placed_at, c.state, c.act, c.due_at, c.lease_until
FROM open c JOIN operation_view o ON o.payment_order_id = c.payment_order_id AND o.call_id = c.call_id
WHERE o.seq > 0 AND o.placed_at < {_PAST_ITS_LIMIT.format(state="o.state")}
UNION ALL
SELECT kind, operation_id, payment_order_id, checkout_id, psp, state, amount_minor, currency, placed_at,
       'waiting', 'send', placed_at, NULL
FROM operation_view WHERE state = 'waiting' AND placed_at < %(unknown)s
ORDER BY 9, 3 LIMIT %(most)s
"""
_UNANSWERED = """
SELECT kind, operation_id, payment_order_id, checkout_id, psp, amount_minor, currency, changed_at
FROM operation_view WHERE checking = 'unanswered' AND state <> 'unresolved'
UNION ALL
SELECT 'dispute', dispute_id, payment_order_id, checkout_id, psp, amount_minor, currency, changed_at
FROM dispute_view WHERE checking = 'unanswered'
ORDER BY 8, 3 LIMIT %(most)s
"""
# Amounts that the buyer has got twice: by a refund and by a chargeback.
_DOUBLE_RETURNS = """
SELECT d.payment_order_id, a.checkout_id, a.psp, d.disputed + o.refunded - o.captured, a.currency, d.since
FROM (SELECT payment_order_id, sum(amount_minor)::bigint AS disputed, max(changed_at) AS since FROM dispute_view
      WHERE state IN ('opened', 'lost') GROUP BY payment_order_id ORDER BY since LIMIT %(most)s) d
JOIN attempt_view a USING (payment_order_id),
LATERAL (SELECT coalesce(sum(amount_minor) FILTER (WHERE kind = 'refund' AND state = 'done'), 0)::bigint AS refunded,
                coalesce(sum(amount_minor) FILTER (WHERE kind = 'capture' AND state = 'done'),
                         CASE WHEN a.expires_at IS NULL AND a.state = 'captured'
                                   AND NOT coalesce(bool_or(kind = 'capture'), false)
                              THEN a.gross_minor ELSE 0 END)::bigint AS captured
         FROM operation_view WHERE payment_order_id = d.payment_order_id) o
WHERE d.disputed + o.refunded > o.captured ORDER BY d.since, d.payment_order_id
"""
# Since its present release; one for a bank since its cut-off, and at the bank nobody is asked. A check asks where the
# release's own call has ended.
_PAYOUTS = """
SELECT p.payout_id, p.provider, p.state, p.checking = 'unanswered', p.amount_minor, p.currency, s.since, a.act,
       a.due_at, EXISTS (SELECT 1 FROM bank_file_line_view l WHERE l.call_id = p.call_id)
FROM payout_view p JOIN call_view c ON c.call_id = p.call_id,
LATERAL (SELECT greatest(c.created_at, CASE c.send_no WHEN 0 THEN c.due_at END) AS since) s,
LATERAL (SELECT min(act) AS act, min(due_at) AS due_at FROM call_view
         WHERE payout_id = p.payout_id AND state <> 'ended') a
WHERE (p.state IN ('calling', 'unknown', 'unresolved', 'submitted') OR p.checking = 'unanswered')
  AND (p.checking = 'unanswered' OR s.since < CASE p.state
       WHEN 'calling' THEN %(calling)s WHEN 'unknown' THEN %(unknown)s WHEN 'unresolved' THEN %(now)s
       WHEN 'submitted' THEN %(submitted)s END::timestamptz)
ORDER BY s.since, p.payout_id LIMIT %(most)s
"""
_FILES = """
SELECT file_id, provider, total_minor, currency, changed_at FROM bank_file_view WHERE state = 'unresolved'
ORDER BY changed_at, file_id LIMIT %s
"""
_NOTIFICATIONS = """
SELECT reference, psp, amount, currency, received_at FROM notification_view
WHERE taken_at IS NULL AND received_at < %s ORDER BY received_at LIMIT %s
"""


def stuck(conn: Connection, limits: StuckLimits, now: datetime) -> list[Stuck]:
    """What is stuck, oldest first. `now` is business time."""
    limits_at = {
        "now": now,
        "most": FOUND_MAX,
        "calling": now - timedelta(seconds=limits.calling_s),
        "unknown": now - timedelta(seconds=limits.unknown_s),
        "pending": now - timedelta(seconds=limits.pending_s),
        "submitted": now - timedelta(seconds=limits.submitted_s),
    }
    found = [
        Stuck(ROOM, order, checkout, psp, state, (Money(minor, currency),), age_s(since, now), _next(now, state, *call))
        for order, checkout, psp, state, minor, currency, since, *call in conn.execute(_ORDERS, limits_at)
    ]
    found += _behind(conn, limits_at, now) + _payouts(conn, limits_at, now)
    return found + _files(conn, now) + _notifications(conn, limits, now)


def _behind(conn: Connection, limits_at: Mapping[str, object], now: datetime) -> list[Stuck]:
    """Captures, voids and refunds past their limits; checks without an answer; amounts returned twice."""
    found = [
        Stuck(
            ROOM,
            order,
            checkout,
            psp,
            state,
            _amounts(minor, of),
            age_s(at, now),
            f"{kind} {id_}: {_next(now, state, *call)}",
        )
        for kind, id_, order, checkout, psp, state, minor, of, at, *call in conn.execute(_OPERATIONS, limits_at)
    ]
    found += [
        Stuck(ROOM, order, checkout, psp, "check", _amounts(minor, of), age_s(at, now), f"{kind} {id_}: {_ASKED}")
        for kind, id_, order, checkout, psp, minor, of, at in conn.execute(_UNANSWERED, limits_at)
    ]
    return found + [
        Stuck(ROOM, order, checkout, psp, "double_return", _amounts(minor, of), age_s(at, now), _RETURNED_TWICE)
        for order, checkout, psp, minor, of, at in conn.execute(_DOUBLE_RETURNS, limits_at)
    ]


_ASKED = "the PSP said otherwise than before, and no question told which is so; a person must look"
_RETURNED_TWICE = "the buyer has this much by refund and by chargeback; a person must contest the dispute"


def _payouts(conn: Connection, limits_at: Mapping[str, object], now: datetime) -> list[Stuck]:
    """Pay-outs past their limits, and those about which no question to their provider told which of two words is so."""
    return [
        Stuck(
            ROOM,
            payout,
            None,
            provider,
            "check" if is_unanswered else state,
            (Money(minor, currency),),
            age_s(since, now),
            _next_of_doubt(state) if is_unanswered else _next_of_payout(state, act, due_at, is_filed),
        )
        for payout, provider, state, is_unanswered, minor, currency, since, act, due_at, is_filed in conn.execute(
            _PAYOUTS, limits_at
        )
    ]


def _next_of_doubt(state: str) -> str:
    doubt = "the provider said otherwise than before, and no question told which is so"
    if state in ("submitted", "paid"):
        return f"{doubt}; a person must look"
    return f"{doubt}; two persons must say it: `tally resolve` (a release that waits for it is then replayed)"


def _next_of_payout(state: str, act: str | None, due_at: datetime | None, is_filed: bool) -> str:
    if is_filed:
        waits = "a status file of its bank" if state == "submitted" else "what becomes of its bank file"
        return f"waits for {waits} (`tally payouts files`)"
    if state == "unresolved" and act is None:
        return "ends only by a late word of the provider, or by two persons: `tally resolve`"
    if act is None or due_at is None:
        return "the provider was asked for ten days; ends only by its late word: have it send its webhook again"
    at = f"{due_at:%Y-%m-%d %H:%M:%S %Z}"
    return f"{'asks the provider' if act == 'ask' else 'is sent'} at {at}, or as soon as its breaker and rate let it"


def _files(conn: Connection, now: datetime) -> list[Stuck]:
    """Bank files of which nobody knows whether the bank has them."""
    return [
        Stuck(
            ROOM,
            file_id,
            None,
            provider,
            "file_unresolved",
            (Money(minor, currency),),
            age_s(since, now),
            f"a pain.002 of the bank ends it, or two persons: `tally resolve {file_id} --outcome delivered | not_delivered`",
        )
        for file_id, provider, minor, currency, since in conn.execute(_FILES, [FOUND_MAX])
    ]


def _amounts(minor: int, currency: str) -> tuple[Money, ...]:
    return (Money(minor, currency),) if minor else ()  # a void has no amount until it is done


def _notifications(conn: Connection, limits: StuckLimits, now: datetime) -> list[Stuck]:
    early = conn.execute(_NOTIFICATIONS, [now - timedelta(seconds=limits.notification_s), FOUND_MAX])
    return [
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
        return (
            "ends by a late yes or no of the PSP, or by two persons: `tally resolve CALL` (`tally show` names the call)"
        )
    match call:
        case "waiting":
            return "waits for what is before it, or for its capture"
        case "due" if due_at > now:
            return f"{'asks the PSP' if act == 'ask' else 'sends again'} at {due_at:%Y-%m-%d %H:%M:%S %Z}"
        case "due":
            return f"{act}s as soon as the PSP's breaker and rate let it (due since {due_at:%Y-%m-%d %H:%M:%S %Z})"
        case "sending":
            return f"waits for the PSP's answer until {lease_until:%H:%M:%S %Z}, then asks"
        case _:
            return "the PSP's answer is applied"

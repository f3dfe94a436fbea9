"""Open calls, payments and screenings → those past their limit."""

from __future__ import annotations

from datetime import datetime, timedelta

from operations.auditor.engine.stores import Stores
from operations.auditor.engine.unfinished import LEASE_S, OVERDUE, Look, LookResult

# From the last question of the ladder (5 s … 6 h, 24 h: 31 h 13 min) after a payment's deadline, with room to spare.
ENDED_AFTER = timedelta(hours=36)
# A provider is asked for ten days whether a transfer that it has accepted is paid.
PAYOUT_ENDED_AFTER = timedelta(days=12)


def calls(stores: Stores, now: datetime) -> LookResult:
    """Each open call is leased or due."""
    seen = LookResult(stores.one("executor", "SELECT count(*) FROM call_view")[0])
    open_ = stores.one("executor", "SELECT count(*) FROM call_view WHERE state <> 'ended'")[0]
    seen.aside.append(f"{open_} at a PSP" if open_ else "")
    rows = stores.rows(
        "executor",
        "SELECT call_id, coalesce(payment_order_id, payout_id), state, CASE WHEN is_old THEN 'its deadline was ' || deadline"
        " WHEN state = 'due' THEN 'due since ' || due_at ELSE 'its lease ended ' || lease_until END FROM call_view,"
        " LATERAL (SELECT deadline < CASE WHEN payout_id IS NULL THEN %s ELSE %s END AS is_old) AS old"
        " WHERE state <> 'ended' AND (is_old OR (state = 'due' AND due_at < %s)"
        f" OR (state <> 'due' AND lease_until < clock_timestamp() - interval '{LEASE_S} seconds')) LIMIT 100",
        [now - ENDED_AFTER, now - PAYOUT_ENDED_AFTER, now - OVERDUE],
    )
    seen.wrong = {call_id: f"{state} for {order_id}: {why}" for call_id, order_id, state, why in rows}
    unresolved = stores.one("executor", "SELECT count(*) FROM attempt_view WHERE state = 'unresolved'")[0]
    seen.aside.append(f"{unresolved} unresolved: a person must say" if unresolved else "")
    return seen


def payments(stores: Stores, now: datetime) -> LookResult:
    """Each payment ends within its deadline and the time of the ask ladder, unless it waits for a person."""
    seen = LookResult(stores.one("payments", "SELECT count(*) FROM payment_view")[0])
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


def reviews(stores: Stores, now: datetime) -> LookResult:
    """Each screening that is held stands for review, and is open or has exactly one review that counts: its first."""
    seen = LookResult(stores.one("risk", "SELECT count(*) FROM hold_view")[0])
    open_ = stores.one("risk", "SELECT count(*) FROM hold_view WHERE decision IS NULL")[0]
    seen.aside.append(f"{open_} wait for a person" if open_ else "")
    for statement in (_NOT_FOR_REVIEW, _PAYOUT_NOT_FOR_REVIEW, _MISCOUNTED, _NOT_FIRST):
        seen.wrong |= dict(stores.rows("risk", f"{statement} LIMIT 100"))
    return seen


_NOT_FOR_REVIEW = """
SELECT 'payment ' || coalesce(s.checkout_id, h.subject),
       CASE WHEN h.subject IS NULL THEN 'held, and not for review' ELSE 'for review, and no screening of it is held' END
  FROM (SELECT checkout_id FROM screening_view WHERE outcome = 'held') s
  FULL JOIN (SELECT subject FROM hold_view WHERE about = 'payment') h ON h.subject = s.checkout_id
 WHERE s.checkout_id IS NULL OR h.subject IS NULL"""
# A pay-out's screening that was cleared may be held by a list that came later; one that was refused never is.
_PAYOUT_NOT_FOR_REVIEW = """
SELECT 'pay-out ' || coalesce(s.payout_id, h.subject) || ', screening ' || coalesce(s.screen_no, h.screen_no),
       CASE WHEN h.subject IS NULL THEN 'held, and not for review' ELSE 'for review, and no such screening of it is held' END
  FROM payout_screening_view s
  FULL JOIN (SELECT subject, screen_no FROM hold_view WHERE about = 'payout') h
    ON h.subject = s.payout_id AND h.screen_no = s.screen_no
 WHERE s.payout_id IS NULL OR (h.subject IS NULL AND s.outcome = 'held') OR (h.subject IS NOT NULL AND s.outcome = 'refused')"""
_MISCOUNTED = """
SELECT r.about || ' ' || r.subject || ', screening ' || r.screen_no, count(*) FILTER (WHERE r.counts) || ' of its reviews count'
  FROM review_view r GROUP BY r.about, r.subject, r.screen_no HAVING count(*) FILTER (WHERE r.counts) <> 1"""
_NOT_FIRST = """
SELECT r.about || ' ' || r.subject || ', screening ' || r.screen_no, 'the review that counts was not its first'
  FROM review_view r JOIN review_view o USING (about, subject, screen_no)
 WHERE r.counts AND NOT o.counts AND o.reviewed_at < r.reviewed_at"""

LOOKS: dict[str, Look] = {"calls_young": calls, "payments_end": payments, "reviews_counted": reviews}

"""Pay-outs that have not ended → those past the limit of where they stand, and what each waits for.

Read from the room's views, so that `tally stuck` can use the reading role.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from schemas.money import Money
from schemas.payouts import PayoutStatus
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.limits import StuckLimits
from topics.runtime.shape.stuck import FOUND_MAX, Stuck, age_s

ROOM = "payouts"
# Of each status the oldest, so that many that wait for a person do not hide those that wait for a room. A release of which
# nothing is known is the executor's to report; one for a bank waits until its cut-off.
_STUCK = """
SELECT p.payout_id, p.status, p.detail, p.amount, p.currency, p.since
FROM unnest(%s::text[], %s::timestamptz[]) AS w (status, since)
CROSS JOIN LATERAL (
    SELECT payout_id, status, detail, amount, currency, greatest(changed_at, cut_off) AS since
    FROM payout_view LEFT JOIN LATERAL (
        SELECT cut_off FROM release_view r WHERE payout_view.status = 'processing'
               AND r.payout_id = payout_view.payout_id AND r.release_no = payout_view.release_no) AS release ON true
    WHERE ended IS NULL AND status = w.status AND changed_at <= w.since AND doubt IS NULL
          AND (cut_off IS NULL OR cut_off <= w.since) ORDER BY changed_at LIMIT %s) AS p
ORDER BY p.since, p.payout_id
"""


def stuck(conn: Connection, limits: StuckLimits, now: datetime) -> list[Stuck]:
    """What is stuck, oldest first. `now` is business time."""
    waits = _limits(limits)
    since = [now - timedelta(seconds=limit) for limit in waits.values()]
    return [
        Stuck(
            ROOM, payout, None, None, status, _amounts(minor, currency), age_s(at, now), _next(payout, status, detail)
        )
        for payout, status, detail, minor, currency, at in conn.execute(_STUCK, [list(waits), since, FOUND_MAX])
    ]


def _limits(limits: StuckLimits) -> Mapping[PayoutStatus, int]:
    return {
        "screening": limits.risk_s,
        "in_review": 0,
        "reserving": limits.booking_s,
        "awaiting_approval": limits.approval_s,
        "on_hold": limits.hold_s,
        "processing": limits.executing_s,
    }


def _amounts(minor: int | None, currency: str) -> tuple[Money, ...]:
    return () if minor is None else (Money(minor, currency),)  # all: the wallet has not said how much


def _next(payout_id: str, status: PayoutStatus, code: str | None) -> str:
    match status:
        case "screening":
            return "goes on when risk answers (tally status, tally dlq list --room risk)"
        case "in_review":
            return "a person must decide (tally risk list)"
        case "reserving":
            return "goes on when the wallet has reserved or refused it (tally status, tally dlq list --room wallet)"
        case "awaiting_approval":
            return f"a person must approve or reject it (tally payouts show {payout_id}); ends expired if nobody does"
        case "on_hold" if code == "no_rate":
            return "goes on when TALLY_FX has a rate for its currencies; looks every hour"
        case "on_hold" if code == "no_provider":
            return "goes on when TALLY_PAYOUT_PROVIDERS has one for its currency and country; looks every hour"
        case "on_hold" if code == "open_break":
            return "goes on when wallet and ledger agree about its seller (tally recon sellers)"
        case "on_hold":
            return "goes on when its seller is active again (tally sellers thaw)"
        case _:
            return f"goes on when the executor says what the provider did: tally show {payout_id}"

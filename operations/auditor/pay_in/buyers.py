"""Each buyer's totals in the wallet ⇄ the sums of the buyer's movements, with the gross amounts of payments."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from operations.auditor.engine.report import Check, judged
from operations.auditor.engine.stores import Stores, slices

CHECK = "buyers_paid"
AT_ONCE = 1000  # buyers of one look
Side = tuple[str, str]  # buyer, currency

_STORED = "SELECT buyer_account, currency, orders, gross_total, refunded_total FROM buyer_view"
_ADDED = """
SELECT buyer_account, currency, count(*), sum(gross), 0::bigint FROM order_view WHERE wallet_updated GROUP BY 1, 2"""
# Behind whose charge something lies, they are added up part by part.
_IN_PARTS = """
SELECT DISTINCT o.buyer_account, o.currency FROM operation_view JOIN order_view o USING (payment_order_id)"""
# What a movement of that kind and part adds to its buyer's totals. The wallet knows no gross amounts: payments does.
_EFFECTS = """
SELECT buyer_account, currency, payment_order_id, 'captured', '', gross, 0::bigint FROM order_view
WHERE buyer_account = ANY(%(buyers)s)
UNION ALL
SELECT o.buyer_account, o.currency, o.payment_order_id, e.kind, CASE WHEN p.asked THEN p.operation_id ELSE '' END,
    p.amount * e.paid, p.amount * e.refunded
FROM order_view o JOIN operation_view p USING (payment_order_id)
JOIN (VALUES ('capture', 'captured', 1, 0), ('capture', 'capture_reversed', -1, 0), ('refund', 'refunded', 0, 1),
    ('refund', 'refund_reversed', 0, -1)) AS e (of, kind, paid, refunded) ON e.of = p.kind
WHERE o.buyer_account = ANY(%(buyers)s) AND (p.asked OR e.kind <> 'captured') AND p.amount IS NOT NULL"""
# One statement, so one snapshot of the wallet room: what it added up, and the movements that it added.
_BOTH = """
SELECT coalesce(b.buyer_account, o.buyer), coalesce(b.currency, o.currency), coalesce(b.orders, 0),
    coalesce(b.gross_total, 0), coalesce(b.refunded_total, 0), coalesce(o.orders, 0), coalesce(o.gross, 0),
    coalesce(o.refunded, 0)
FROM (SELECT * FROM buyer_view WHERE buyer_account = ANY(%(buyers)s)) b
FULL JOIN (SELECT u.buyer, u.currency, sum(u.gross) AS gross, sum(u.refunded) AS refunded,
        count(DISTINCT u.id) FILTER (WHERE u.kind = 'captured') AS orders
    FROM unnest(%(of)s::text[], %(currencies)s::text[], %(ids)s::text[], %(kinds)s::text[], %(parts)s::text[],
        %(gross)s::bigint[], %(refunded)s::bigint[]) AS u (buyer, currency, id, kind, part, gross, refunded)
    JOIN movement_view m ON m.payment_order_id = u.id AND m.kind = u.kind AND split_part(m.part, '#', 1) = u.part
    GROUP BY 1, 2) o
ON o.buyer = b.buyer_account AND o.currency = b.currency"""


def check_totals(stores: Stores, pauses_s: Sequence[float], expected: bool) -> Check:
    """Compare; differing buyers again, since an order that is credited between two reads differs once."""
    stored = {(buyer, currency): told for buyer, currency, *told in stores.rows("wallet", _STORED)}
    added = {(buyer, currency): told for buyer, currency, *told in stores.rows("payments", _ADDED)}
    suspects = {side for side in stored.keys() | added.keys() if stored.get(side) != added.get(side)}
    suspects |= {(buyer, currency) for buyer, currency in stores.rows("payments", _IN_PARTS)}
    wrong: dict[Side, str] = dict.fromkeys(suspects, "")
    for pause_s in pauses_s:
        if not wrong:
            break
        wrong = {side: why for some in slices(sorted(wrong), AT_ONCE) for side, why in _again(stores, some).items()}
        time.sleep(pause_s if wrong else 0)
    told = [f"{buyer} {currency}: {why}" for (buyer, currency), why in sorted(wrong.items())]
    return judged(CHECK, len(stored), told, expected=expected)


def _again(stores: Stores, suspects: Collection[Side]) -> dict[Side, str]:
    buyers = sorted({buyer for buyer, _ in suspects})
    effects = stores.rows("payments", _EFFECTS, {"buyers": buyers})
    columns = ("of", "currencies", "ids", "kinds", "parts", "gross", "refunded")
    values = {name: [row[place] for row in effects] for place, name in enumerate(columns)}
    return {
        (buyer, currency): f"{_told(*totals[:3])} stored, {_told(*totals[3:])} by the movements"
        for buyer, currency, *totals in stores.rows("wallet", _BOTH, {"buyers": buyers, **values})
        if (buyer, currency) in suspects and totals[:3] != totals[3:]
    }


def _told(orders: int, paid: int, refunded: int) -> str:
    return f"{orders} orders of {paid} in all, {refunded} refunded"

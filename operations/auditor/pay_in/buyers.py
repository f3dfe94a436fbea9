"""What each buyer paid in all (the wallet room's sums) ⇄ the orders that were credited, at what payments says they cost."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from operations.auditor.engine.report import Check, judged
from operations.auditor.engine.stores import Stores, slices

CHECK = "buyers_paid"
AT_ONCE = 1000  # buyers of one look
Side = tuple[str, str]  # buyer, currency

_STORED = "SELECT buyer_account, currency, orders, gross_total FROM buyer_view"
_ADDED = """
SELECT buyer_account, currency, count(*), sum(gross) FROM order_view WHERE wallet_updated GROUP BY 1, 2"""
_ORDERS = "SELECT buyer_account, currency, payment_order_id, gross FROM order_view WHERE buyer_account = ANY(%s)"
# One statement, so one snapshot of the wallet room: what it added up, and the movements that it added.
_BOTH = """
SELECT coalesce(b.buyer_account, o.buyer), coalesce(b.currency, o.currency),
    coalesce(b.orders, 0), coalesce(b.gross_total, 0), coalesce(o.orders, 0), coalesce(o.gross, 0)
FROM (SELECT * FROM buyer_view WHERE buyer_account = ANY(%(buyers)s)) b
FULL JOIN (SELECT u.buyer, u.currency, count(*) AS orders, sum(u.gross) AS gross
    FROM unnest(%(of)s::text[], %(currencies)s::text[], %(ids)s::text[], %(gross)s::bigint[])
        AS u (buyer, currency, id, gross)
    JOIN movement_view m ON m.payment_order_id = u.id AND m.kind = 'captured' GROUP BY 1, 2) o
ON o.buyer = b.buyer_account AND o.currency = b.currency"""


def check_totals(stores: Stores, pauses_s: Sequence[float], expected: bool) -> Check:
    """Whoever does not agree is looked at again: an order that was credited between two readings looks wrong once."""
    stored = {(buyer, currency): told for buyer, currency, *told in stores.rows("wallet", _STORED)}
    added = {(buyer, currency): told for buyer, currency, *told in stores.rows("payments", _ADDED)}
    suspects = {side for side in stored.keys() | added.keys() if stored.get(side) != added.get(side)}
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
    orders = stores.rows("payments", _ORDERS, [buyers])
    of, currencies, ids, gross = ([row[place] for row in orders] for place in range(4))
    values = {"buyers": buyers, "of": of, "currencies": currencies, "ids": ids, "gross": gross}
    rows = stores.rows("wallet", _BOTH, values)
    return {
        (buyer, currency): f"{count} orders of {total} in all stored, {orders_} of {sum_} credited"
        for buyer, currency, count, total, orders_, sum_ in rows
        if (buyer, currency) in suspects and (count, total) != (orders_, sum_)
    }

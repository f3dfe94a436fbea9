"""Sums in the stores that the pay-in alone moves, one statement each."""

from __future__ import annotations

from operations.auditor.engine.sums import Sum

SUMS = (
    Sum(
        "buyers_totals",
        "wallet",
        "SELECT count(*) FROM buyer_view",
        "SELECT 'all buyers', b.orders || ' orders', m.orders || ' movements' FROM"
        " (SELECT coalesce(sum(orders), 0) AS orders FROM buyer_view) b,"
        " (SELECT count(*) FILTER (WHERE part = '') + (SELECT count(DISTINCT payment_order_id) FROM movement_view"
        " WHERE kind = 'captured' AND part <> '' AND NOT starts_with(part, '#')) AS orders FROM movement_view"
        " WHERE kind = 'captured') m WHERE b.orders <> m.orders",
    ),
    Sum(
        "order_versions",
        "payments",
        "SELECT count(*) FROM order_view",
        "SELECT o.payment_order_id, 'version ' || o.version, 1 + coalesce(h.steps, 0) + o.wallet_updated::int"
        " + o.ledger_updated::int || ' changes' FROM order_view o LEFT JOIN (SELECT payment_order_id, count(*) AS steps"
        " FROM history_view WHERE payment_order_id IS NOT NULL GROUP BY 1) h USING (payment_order_id)"
        " WHERE o.version <> 1 + coalesce(h.steps, 0) + o.wallet_updated::int + o.ledger_updated::int",
    ),
    Sum(
        "revenue",
        "payments",
        "SELECT count(*) FROM revenue_view",
        "SELECT concat_ws(' ', day, owner, seller_account, psp, currency),"
        " concat(coalesce(r.orders, 0), ' orders of ', coalesce(r.gross, 0), ' gross, ', coalesce(r.fee, 0), ' fee, ',"
        " coalesce(r.refunded, 0), ' refunded, ', coalesce(r.charged_back, 0), ' charged back'),"
        " concat(coalesce(o.orders, 0), ' of ', coalesce(o.gross, 0), ', ', coalesce(o.fee, 0), ', ',"
        " coalesce(o.refunded, 0), ', ', coalesce(o.charged_back, 0))"
        " FROM revenue_view r FULL JOIN (SELECT day, owner, currency, seller_account, psp, sum(orders) AS orders,"
        " sum(gross) AS gross, sum(fee) AS fee, sum(net) AS net, sum(refunded) AS refunded, sum(charged_back)"
        " AS charged_back, sum(fee_returned) AS fee_returned FROM (SELECT (captured_at AT TIME ZONE 'UTC')::date AS day,"
        " owner, currency, seller_account, psp, 1 AS orders, gross, fee, net, 0 AS refunded, 0 AS charged_back,"
        " 0 AS fee_returned FROM order_view WHERE payment_order_status = 'SUCCESS' AND capture IS NULL UNION ALL"
        " SELECT day, owner, currency, seller_account, psp, orders, gross, fee, net, refunded, charged_back,"
        " fee_returned FROM revenue_line_view) each GROUP BY 1, 2, 3, 4, 5) o USING (day, owner, currency,"
        " seller_account, psp) WHERE (r.orders, r.gross, r.fee, r.net, r.refunded, r.charged_back, r.fee_returned)"
        " IS DISTINCT FROM (o.orders, o.gross, o.fee, o.net, o.refunded, o.charged_back, o.fee_returned)",
    ),
    Sum(
        "payments_done",
        "payments",
        "SELECT count(*) FROM payment_view",
        "SELECT p.checkout_id, p.status || CASE WHEN p.is_payment_done THEN ', done' ELSE ', not done' END,"
        " o.through || ' of ' || o.orders || ' orders through' FROM payment_view p JOIN (SELECT checkout_id,"
        " count(*) AS orders, count(*) FILTER (WHERE payment_order_status = 'FAILED' OR (payment_order_status = 'SUCCESS'"
        " AND wallet_updated AND ledger_updated)) AS through, count(*) FILTER (WHERE payment_order_status = 'SUCCESS')"
        " AS succeeded, count(*) FILTER (WHERE payment_order_status = 'FAILED') AS failed FROM order_view GROUP BY 1) o"
        " USING (checkout_id) WHERE p.is_payment_done <> (o.through = o.orders) OR p.status <> CASE"
        " WHEN p.status = 'refused' AND o.failed = o.orders THEN 'refused'"
        " WHEN p.status = 'received' AND o.failed + o.succeeded = 0 THEN 'received'"
        " WHEN o.succeeded = o.orders THEN 'succeeded' WHEN o.failed = o.orders THEN 'failed'"
        " WHEN o.failed + o.succeeded = o.orders THEN 'partially_succeeded' ELSE 'executing' END",
    ),
)

"""Statements of pay-outs, as the wallet's movements add up → does each one tie?"""

from __future__ import annotations

from operations.auditor.engine.sums import Sum

# The opening balance is what the reservation before has left: where all movements up to this one add up to what this one has
# left, and it is the pay-out's amount that this one has taken, the statement ties.
TIE = Sum(
    "statements_tie",
    "wallet",
    "SELECT count(*) FROM movement_view WHERE kind = 'reserved'",
    "SELECT m.payment_order_id, concat_ws(' after ', -m.changed, m.available_after), concat_ws(' after ', r.amount, m.summed)"
    " FROM (SELECT *, amount - to_pending - to_reserved AS changed, sum(amount - to_pending - to_reserved)"
    " OVER (PARTITION BY seller_account, currency ORDER BY wallet_version) AS summed FROM movement_view"
    " WHERE (seller_account, currency) IN (SELECT seller_account, currency FROM reservation_view)) m"
    " LEFT JOIN reservation_view r ON r.payout_id = m.payment_order_id"
    " WHERE m.kind = 'reserved' AND (m.summed <> m.available_after OR -m.changed IS DISTINCT FROM r.amount)",
)

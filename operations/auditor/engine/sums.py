"""Balances, versions and totals of one store → where they are not what their rows add up to.

Each is one statement, so one snapshot: exact however fast the room goes on.
"""

from __future__ import annotations

from dataclasses import dataclass

from operations.auditor.engine.report import Check, judged
from operations.auditor.pay_in.books import Stores

FEW = 50  # rows of what is wrong


@dataclass(frozen=True, slots=True)
class Sum:
    """`wrong` gives (key, what is stored, what it adds up to)."""

    name: str
    room: str
    count: str
    wrong: str


SUMS = (
    Sum(
        "ledger_balances",
        "ledger",
        "SELECT count(*) FROM account_view",
        "SELECT coalesce(account, '?') || ' ' || currency, debits || ' debits and ' || credits || ' credits',"
        " entry_debits || ' and ' || entry_credits FROM wrong_balance_view",
    ),
    Sum(
        "trial_balance",
        "ledger",
        "SELECT count(*) FROM trial_balance_view",
        "SELECT currency, debits || ' debits', credits || ' credits' FROM trial_balance_view WHERE debits <> credits",
    ),
    Sum(
        "wallet_balances",
        "wallet",
        "SELECT count(*) FROM wallet_view",
        "SELECT coalesce(w.seller_account, m.seller_account) || ' ' || coalesce(w.currency, m.currency),"
        " (w.available + w.pending + w.reserved)::text, m.amount::text"
        " FROM wallet_view w FULL JOIN (SELECT seller_account, currency, sum(amount) AS amount FROM movement_view"
        " GROUP BY 1, 2) m ON m.seller_account = w.seller_account AND m.currency = w.currency"
        " WHERE w.available + w.pending + w.reserved IS DISTINCT FROM coalesce(m.amount, 0)",
    ),
    Sum(
        "wallet_versions",
        "wallet",
        "SELECT count(*) FROM wallet_view",
        "SELECT coalesce(w.seller_account, m.seller_account) || ' ' || coalesce(w.currency, m.currency),"
        " 'version ' || w.version, m.movements || ' movements, the last of version ' || m.last"
        " FROM wallet_view w FULL JOIN (SELECT seller_account, currency, count(*) AS movements,"
        " max(wallet_version) AS last FROM movement_view GROUP BY 1, 2) m"
        " ON m.seller_account = w.seller_account AND m.currency = w.currency"
        " WHERE w.version IS DISTINCT FROM coalesce(m.movements, 0) OR w.version IS DISTINCT FROM coalesce(m.last, 0)",
    ),
    Sum(
        "wallet_steps",
        "wallet",
        "SELECT count(*) FROM movement_view",
        "SELECT seller_account || ' ' || currency || ' version ' || wallet_version, after::text, (before + amount)::text"
        " FROM (SELECT seller_account, currency, wallet_version, amount,"
        " available_after + pending_after + reserved_after AS after,"
        " coalesce(lag(available_after + pending_after + reserved_after) OVER w, 0) AS before"
        " FROM movement_view WINDOW w AS (PARTITION BY seller_account, currency ORDER BY wallet_version)) m"
        " WHERE after <> before + amount",
    ),
    Sum(
        "buyers_totals",
        "wallet",
        "SELECT count(*) FROM buyer_view",
        "SELECT 'all buyers', b.orders || ' orders', m.orders || ' movements' FROM"
        " (SELECT coalesce(sum(orders), 0) AS orders FROM buyer_view) b,"
        " (SELECT count(*) AS orders FROM movement_view) m WHERE b.orders <> m.orders",
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
        " concat(coalesce(r.orders, 0), ' orders of ', coalesce(r.gross, 0), ' gross, ', coalesce(r.fee, 0), ' fee'),"
        " concat(coalesce(o.orders, 0), ' of ', coalesce(o.gross, 0), ' and ', coalesce(o.fee, 0))"
        " FROM revenue_view r FULL JOIN (SELECT (captured_at AT TIME ZONE 'UTC')::date AS day, owner, currency,"
        " seller_account, psp, count(*) AS orders, sum(gross) AS gross, sum(fee) AS fee, sum(net) AS net FROM order_view"
        " WHERE payment_order_status = 'SUCCESS' GROUP BY 1, 2, 3, 4, 5) o USING (day, owner, currency, seller_account,"
        " psp) WHERE (r.orders, r.gross, r.fee, r.net) IS DISTINCT FROM (o.orders, o.gross, o.fee, o.net)",
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


def check_sums(stores: Stores, *, expected: bool) -> list[Check]:
    """`expected`: orders have been booked, so every table has rows."""
    return [_check(stores, each, expected) for each in SUMS]


def _check(stores: Stores, each: Sum, expected: bool) -> Check:
    rows = stores.rows(each.room, f"{each.wrong} LIMIT {FEW}")
    wrong = [f"{key}: {stored} stored, {added} by its rows" for key, stored, added in rows]
    return judged(each.name, stores.one(each.room, each.count)[0], wrong, expected=expected)

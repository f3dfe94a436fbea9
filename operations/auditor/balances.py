"""Accounts and wallets → their sums within each store, and the latest record of each, whichever flow moved them."""

from __future__ import annotations

from collections.abc import Collection

from operations.auditor.engine.latest import Balance
from operations.auditor.engine.report import Check, judged
from operations.auditor.engine.stores import Stores
from operations.auditor.engine.sums import Sum
from schemas.money import Money
from topics import catalog

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
)

BALANCES = (
    Balance(
        "wallet_balances_said",
        catalog.WALLET_BALANCES,
        "SELECT seller_account || ':' || currency, version, currency, available, pending, reserved FROM wallet_view"
        " WHERE version > 0",
        ("available", "pending", "reserved"),
    ),
    Balance(
        "account_balances_said",
        catalog.ACCOUNT_BALANCES,
        "SELECT account || ':' || currency, version, currency, debits, credits FROM account_view WHERE version > 0",
        ("debits", "credits"),
    ),
)

KINDS = "kinds_audited"
DEBTS = "wallets_below_zero"


def check_kinds(stores: Stores, audited: Collection[str], *, expected: bool) -> Check:
    """Check that each kind of movement and journal is compared with its causes by a page."""
    found = stores.rows("wallet", "SELECT 'movements', kind, count(*) FROM movement_view GROUP BY kind")
    found += stores.rows("ledger", "SELECT 'journals', template, count(*) FROM journal_view GROUP BY template")
    wrong = [
        f"{count} {what} of kind {kind}, which nothing audits" for what, kind, count in found if kind not in audited
    ]
    return judged(KINDS, sum(count for *_, count in found), wrong, expected=expected)


def check_debts(stores: Stores) -> Check:
    """Report wallets below zero, by refunds and chargebacks above the balance. Not a failure."""
    examined = stores.one("wallet", "SELECT count(*) FROM wallet_view")[0]
    owed = stores.rows(
        "wallet",
        "SELECT currency, count(*), sum(available)::bigint FROM wallet_view WHERE available < 0 GROUP BY 1 ORDER BY 1",
    )
    notes = [f"{number} of them, {Money(minor, currency)} in all" for currency, number, minor in owed]
    return judged(DEBTS, examined, [], expected=False, aside=notes)

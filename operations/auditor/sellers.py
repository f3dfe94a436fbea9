"""Sellers' terms as doors keep them → has payments heard them, and heard the same?"""

from __future__ import annotations

from datetime import datetime

from operations.auditor.engine.stores import Stores, scan
from operations.auditor.engine.unfinished import OVERDUE, Look, LookResult
from schemas.sellers import FOR_PAYOUTS

CHECK = "sellers_said"
_KEYS = {"seller_account", "owner", "seller_revision"}


def said(stores: Stores, now: datetime) -> LookResult:
    """What was set longer ago than any way takes is what orders are taken by; and nothing that nobody set is."""
    seen = LookResult()
    heard = dict(_heard(stores))
    rows = scan(
        stores,
        "doors",
        "SELECT seller_account, owner, revision, terms, changed_at FROM seller_view",
        "seller_account",
        "",
    )
    for seller, owner, revision, settings, changed_at in rows:
        seen.examined += 1
        terms = {name: value for name, value in settings.items() if name not in FOR_PAYOUTS}
        found = heard.pop(seller, None)
        if found is not None and found[1] > revision:
            seen.wrong[seller] = f"payments has revision {found[1]}, and the doors have said {revision}"
        elif changed_at < now - OVERDUE and found != (owner, revision, terms):
            seen.wrong[seller] = f"revision {revision} of {owner} is {terms}, and payments has {found}"
    seen.wrong |= {seller: f"payments has {found}, and no door knows the seller" for seller, found in heard.items()}
    return seen


def _heard(stores: Stores) -> list[tuple[str, tuple[str, int, dict[str, object]]]]:
    """The latest revision of each seller: (owner, revision, terms)."""
    rows = stores.rows(
        "payments",
        "SELECT DISTINCT ON (seller_account) seller_account, owner, revision, said FROM seller_view"
        " ORDER BY seller_account, revision DESC",
    )
    return [
        (seller, (owner, revision, {name: value for name, value in told.items() if name not in _KEYS}))
        for seller, owner, revision, told in rows
    ]


def heard_by_payouts(stores: Stores, now: datetime) -> LookResult:
    """As `said`, of the revision by which pay-outs are decided: a freeze is one."""
    seen = LookResult()
    select = "SELECT seller_account, owner, revision FROM seller_view"
    heard = {seller: (owner, revision) for seller, owner, revision in stores.rows("payouts", select)}
    set_by = "SELECT seller_account, owner, revision, changed_at FROM seller_view"
    for seller, owner, revision, changed_at in scan(stores, "doors", set_by, "seller_account", ""):
        seen.examined += 1
        found = heard.pop(seller, None)
        if changed_at < now - OVERDUE and found != (owner, revision):
            seen.wrong[seller] = f"revision {revision} of {owner}, and payouts has {found}"
    seen.wrong |= {seller: f"payouts has {found}, and no door knows the seller" for seller, found in heard.items()}
    return seen


LOOKS: dict[str, Look] = {CHECK: said, "sellers_heard_by_payouts": heard_by_payouts}

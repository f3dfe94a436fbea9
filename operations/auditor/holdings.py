"""What wallets hold back → is it what their holdings add up to, do movements follow from it, and does it end in time?"""

from __future__ import annotations

from datetime import datetime, timedelta

from operations.auditor.engine.stores import Stores
from operations.auditor.engine.sums import Sum
from operations.auditor.engine.unfinished import OVERDUE, Look, LookResult

KINDS = ("available",)  # movements from pending to available
_OF_WALLETS = (
    "SELECT coalesce(w.seller_account, h.seller_account) || ' ' || coalesce(w.currency, h.currency),"
    " coalesce(w.pending, 0) || ' pending', coalesce(h.remaining, 0)::text"
)

SUMS = (
    Sum(
        "wallet_pending_held",
        "wallet",
        "SELECT count(*) FROM wallet_view",
        f"{_OF_WALLETS} FROM wallet_view w FULL JOIN (SELECT seller_account, currency, sum(remaining) AS remaining"
        " FROM holding_view WHERE released_by IS NULL GROUP BY 1, 2) h"
        " ON h.seller_account = w.seller_account AND h.currency = w.currency"
        " WHERE coalesce(w.pending, 0) <> coalesce(h.remaining, 0)",
    ),
    Sum(
        "wallet_pockets_step",
        "wallet",
        "SELECT count(*) FROM movement_view",
        "SELECT seller_account || ' ' || currency || ' version ' || wallet_version,"
        " concat_ws(', ', available_after, pending_after, reserved_after),"
        " concat_ws(', ', available + amount - to_pending - to_reserved, pending + to_pending, reserved + to_reserved)"
        " FROM (SELECT *, coalesce(lag(available_after) OVER w, 0) AS available,"
        " coalesce(lag(pending_after) OVER w, 0) AS pending, coalesce(lag(reserved_after) OVER w, 0) AS reserved"
        " FROM movement_view WINDOW w AS (PARTITION BY seller_account, currency ORDER BY wallet_version)) m"
        " WHERE (available_after, pending_after, reserved_after)"
        " <> (available + amount - to_pending - to_reserved, pending + to_pending, reserved + to_reserved)",
    ),
)
# Beside the others of a store's rows: there need be none of these, however much was paid.
RELEASES = Sum(
    "releases_held",
    "wallet",
    "SELECT count(*) FROM movement_view WHERE kind = 'available'",
    "SELECT coalesce(m.movement_id, h.released_by)::text, coalesce(-m.to_pending, 0)::text, coalesce(h.remaining, 0)::text"
    " FROM (SELECT movement_id, to_pending FROM movement_view WHERE kind = 'available') m"
    " FULL JOIN (SELECT released_by, sum(remaining) AS remaining FROM holding_view WHERE released_by IS NOT NULL"
    " GROUP BY 1) h ON h.released_by = m.movement_id WHERE coalesce(-m.to_pending, 0) <> coalesce(h.remaining, 0)",
)


def released(stores: Stores, now: datetime) -> LookResult:
    """No holding is pending longer than to its full hour."""
    open_ = "FROM holding_view WHERE released_by IS NULL AND remaining > 0"
    result = LookResult(stores.one("wallet", f"SELECT count(*) {open_}")[0])
    rows = stores.rows(
        "wallet",
        f"SELECT movement_id::text, share, seller_account, available_on {open_} AND available_on < %s"
        " ORDER BY available_on LIMIT 100",
        [now - OVERDUE - timedelta(hours=1)],
    )
    result.wrong = {f"{id_} {share}": f"of {seller}, available on {on}" for id_, share, seller, on in rows}
    return result


LOOKS: dict[str, Look] = {"holdings_released": released}

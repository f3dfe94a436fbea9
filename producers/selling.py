"""doors' and payments' views → whether a seller, and the money in its wallet, is a caller's and nobody else's."""

from __future__ import annotations

from typing import LiteralString

from producers.doors.sellers import SELECT, Seller, seller_of
from producers.house import House
from producers.key_ring import Caller
from producers.problems import Problem

_SELLS: LiteralString = "SELECT 1 FROM order_place_view WHERE seller_account = %(seller)s AND owner = %(owner)s LIMIT 1"
# Two looks into `orders_by_seller`, however many orders the owner has.
_OTHERS: LiteralString = """
(SELECT 1 FROM order_place_view WHERE seller_account = %(seller)s AND owner < %(owner)s LIMIT 1)
UNION ALL
(SELECT 1 FROM order_place_view WHERE seller_account = %(seller)s AND owner > %(owner)s LIMIT 1)
"""


async def registered(house: House, seller_account: str) -> Seller | None:
    rows = await house.doors.rows(SELECT + " WHERE seller_account = %s", [seller_account])
    return seller_of(rows[0]) if rows else None


async def own_money(house: House, seller_account: str, caller: Caller) -> Seller | None:
    """The caller's seller; None if nobody has registered it and the caller alone sells for it. Errors: Problem `not_found`."""
    seller = await registered(house, seller_account)
    if seller is None:
        is_own = await _sells(house, seller_account, caller) and not await others_sell(house, seller_account, caller)
    else:
        is_own = seller.owner == caller.owner
    if not is_own:
        raise Problem("not_found")
    return seller


async def _sells(house: House, seller_account: str, caller: Caller) -> bool:
    return bool(await house.payments.rows(_SELLS, {"seller": seller_account, "owner": caller.owner}))


async def others_sell(house: House, seller_account: str, caller: Caller) -> bool:
    return bool(await house.payments.rows(_OTHERS, {"seller": seller_account, "owner": caller.owner}))

"""Why each cent of a seller is paid out now or not: the wallet's and payouts' views, and the terms that the doors keep."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from producers import paging, replies, seller_replies
from producers.doors.sellers import SELECT, said_of, seller_of
from producers.house import House, house_of, needs
from producers.key_ring import Caller
from producers.payability import payability
from producers.payability_rows import PAYOUTS, WALLET, books_of, reserved_in, rules_of, shown
from producers.problems import Problem
from producers.reading import Row
from topics.runtime.shape.clock import Clock

router = APIRouter(tags=["sellers"])


@router.get(
    "/v1/sellers/{seller_account}/payability", response_model=seller_replies.Payability, operation_id="payability"
)
async def why_not_paid(request: Request, seller_account: str, caller: Caller = needs("wallets:read")) -> Response:
    """Currency by currency what can be paid out now, when more can, and for every cent of the wallet why, until when, and whose
    turn it is. The lines add up to the total exactly.
    """
    house, account = house_of(request), paging.storable(seller_account)
    registered = await house.doors.rows(SELECT + " WHERE seller_account = %s", [account])
    if registered and registered[0]["owner"] != caller.owner:
        raise Problem("not_found")
    wallet = await house.wallet.rows(WALLET, {"seller": account})
    if not registered and not wallet:
        raise Problem("not_found")
    payouts = await _payouts(house, account, wallet)
    seller = said_of(seller_of(registered[0])) if registered else None
    now = Clock(house.settings.clock_file).now()
    found = payability(seller, books_of(wallet, payouts), rules_of(house.settings), now)
    return replies.json({"seller_account": account, "currencies": [shown(each) for each in found]})


async def _payouts(house: House, account: str, wallet: list[Row]) -> list[Row]:
    return await house.payouts.rows(PAYOUTS, {"seller": account, "reserved": reserved_in(wallet)})

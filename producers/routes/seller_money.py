"""Why each cent of a seller is paid out now or not, and statements: the wallet's and payouts' views, and the doors' terms."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from producers import paging, replies, seller_replies, statements
from producers.doors.sellers import said_of
from producers.house import House, house_of, needs
from producers.key_ring import Caller
from producers.payability import payability
from producers.payability_rows import PAYOUTS, WALLET, books_of, reserved_in, rules_of, shown
from producers.problems import Problem
from producers.reading import Row
from producers.selling import own_money
from schemas.requests import FieldError
from schemas.times import Moment
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
    registered = await own_money(house, account, caller)
    wallet = await house.wallet.rows(WALLET, {"seller": account})
    if registered is None and not wallet:
        raise Problem("not_found")
    payouts = await _payouts(house, account, wallet)
    seller = None if registered is None else said_of(registered)
    now = Clock(house.settings.clock_file).now()
    found = payability(seller, books_of(wallet, payouts), rules_of(house.settings), now)
    return replies.json({"seller_account": account, "currencies": [shown(each) for each in found]})


async def _payouts(house: House, account: str, wallet: list[Row]) -> list[Row]:
    return await house.payouts.rows(PAYOUTS, {"seller": account, "reserved": reserved_in(wallet)})


# ── statements ───────────────────────────────────────────────────────────────────────────────────────────────────────


_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


class Period(BaseModel):
    """`from` is inclusive, `to` exclusive and not before it; without them all until now."""

    model_config = ConfigDict(extra="forbid")

    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    since: Moment = Field(default=datetime(1, 1, 2, tzinfo=UTC), alias="from")
    to: Moment | None = None


@router.get(
    "/v1/sellers/{seller_account}/statement",
    response_model=seller_replies.Statement,
    responses=_CSV,
    operation_id="seller_statement",
)
async def seller_statement(
    request: Request, seller_account: str, period: Annotated[Period, Query()], caller: Caller = needs("wallets:read")
) -> Response:
    """What has changed a seller's available balance, and the balance after each. `Accept: text/csv` gives CSV."""
    house, account = house_of(request), paging.storable(seller_account)
    until = period.to or max(period.since, Clock(house.settings.clock_file).now())
    if until < period.since:
        error = FieldError("from", "invalid_parameter", "it is after `to`")
        raise Problem(error.code, f"{error.field}: {error.detail}", [error])
    await own_money(house, account, caller)
    found = await statements.of_period(house.wallet, account, period.currency, period.since, until)
    if found is None:
        raise Problem("not_found")
    return _streamed(request, found)


@router.get(
    "/v1/payouts/{payout_id}/statement",
    response_model=seller_replies.Statement,
    responses=_CSV,
    operation_id="payout_statement",
)
async def payout_statement(request: Request, payout_id: str, caller: Caller = needs("payouts:read")) -> Response:
    """What a pay-out is made of: all that has changed its seller's available balance since the pay-out before was reserved.
    closing = opening + the lines - this pay-out. `Accept: text/csv` gives CSV.
    """
    house, id_ = house_of(request), paging.storable(payout_id)
    own = await house.wallet.rows(
        "SELECT 1 AS own FROM reservation_view WHERE payout_id = %s AND owner = %s", [id_, caller.owner]
    )
    reserved = await house.wallet.rows(statements.RESERVED, [id_]) if own else []
    if not reserved:
        raise Problem("not_found", "There is no such pay-out, or nothing was reserved for it.")
    sent = await house.payouts.rows(statements.SENT, [id_])
    return _streamed(request, statements.of_payout(id_, reserved[0], sent))


def _streamed(request: Request, found: statements.Statement) -> Response:
    wallet = house_of(request).wallet
    if "text/csv" in request.headers.get("accept", ""):
        return StreamingResponse(statements.as_csv(wallet, found), media_type="text/csv; charset=utf-8; header=present")
    return StreamingResponse(statements.as_json(wallet, found), media_type="application/json")

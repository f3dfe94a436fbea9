"""An owner's sellers: terms written here, and who changed what of them; by which of them orders are taken, payments says."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from producers import paging, replies, seller_replies
from producers.bodies import body_of, takes
from producers.doors import sellers
from producers.doors.sellers import SELECT, TAKEN, Changed, Seller, seller_of
from producers.house import House, house_of, needs
from producers.key_ring import Caller
from producers.problems import Problem
from producers.selling import others_sell, registered
from schemas.ids import NEW_ID, is_new_id
from schemas.requests import FieldError
from schemas.sellers import SellerRequest, SellerState

router = APIRouter(tags=["sellers"])

ROOT = "/v1/sellers"
ONE = ROOT + "/{seller_account}"
_LAST_REVISION = 2**31 - 1


@router.put(
    ONE,
    response_model=seller_replies.Seller,
    openapi_extra=takes(SellerRequest),
    responses={201: {"description": "Registered"}},
)
async def put_seller(request: Request, seller_account: str, caller: Caller = needs("sellers:write")) -> Response:
    """Register a seller, or set all of its terms to these. They hold for orders that are asked for once they are in force."""
    if not is_new_id(seller_account):
        raise Problem("invalid_id", f"seller_account: {NEW_ID}", [FieldError("seller_account", "invalid_id", NEW_ID)])
    wanted = await body_of(request, SellerRequest)
    house, by = house_of(request), caller.by
    await _refuse_others(house, seller_account, caller)
    command = sellers.put(caller.owner, seller_account, wanted, by, house.sealing)
    changed: Changed = await house.command_door.submit(command)
    in_force = await _in_force(house, [changed.seller])
    return replies.json(changed.seller.shown(in_force.get(seller_account)), 200 if changed.before else 201)


async def _refuse_others(house: House, seller_account: str, caller: Caller) -> None:
    """A seller without a registration whom others sell for is for an operator to register: its wallet holds their money.

    Errors: Problem `id_taken`.
    """
    if await registered(house, seller_account) is None and await others_sell(house, seller_account, caller):
        raise Problem("id_taken", "seller_account: others sell for it; an operator can register it", TAKEN)


class Page(BaseModel):
    """Which sellers, and how many."""

    model_config = ConfigDict(extra="forbid")

    state: SellerState | None = None
    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = None


@router.get(ROOT, response_model=seller_replies.SellerPage)
async def list_sellers(
    request: Request, page: Annotated[Page, Query()], caller: Caller = needs("sellers:read")
) -> Response:
    """The owner's sellers, by seller_account."""
    house = house_of(request)
    after = str(paging.decode(page.cursor, str)[0]) if page.cursor else ""
    rows = await house.doors.rows(
        SELECT + " WHERE owner = %s AND seller_account > %s AND (%s::text IS NULL OR settings ->> 'state' = %s)"
        " ORDER BY seller_account LIMIT %s",
        [caller.owner, after, page.state, page.state, page.limit + 1],
    )
    found = [seller_of(row) for row in rows[: page.limit]]
    in_force = await _in_force(house, found)
    last = paging.encode(found[-1].seller_account) if len(rows) > page.limit else None
    shown = [seller.shown(in_force.get(seller.seller_account)) for seller in found]
    return replies.json({"sellers": shown, "next_cursor": last})


@router.get(ONE, response_model=seller_replies.Seller)
async def seller(request: Request, seller_account: str, caller: Caller = needs("sellers:read")) -> Response:
    """One seller. `in_force` is the revision by which orders are taken now."""
    house = house_of(request)
    found = await _own(house, seller_account, caller)
    in_force = await _in_force(house, [found])
    return replies.json(found.shown(in_force.get(seller_account)))


class HistoryPage(BaseModel):
    """How much of the history."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = None


@router.get(ONE + "/history", response_model=seller_replies.SellerHistory)
async def history(
    request: Request, seller_account: str, page: Annotated[HistoryPage, Query()], caller: Caller = needs("sellers:read")
) -> Response:
    """Who changed what and when, and what stood before: the newest first."""
    house = house_of(request)
    found = await _own(house, seller_account, caller)
    before = int(paging.decode(page.cursor, int)[0]) if page.cursor else _LAST_REVISION
    if not 0 <= before <= _LAST_REVISION:
        raise Problem("invalid_cursor")
    rows = await house.doors.rows(
        "SELECT revision, changed_by, reason, at, before, after FROM seller_history"
        " WHERE seller_account = %s AND revision < %s ORDER BY revision DESC LIMIT %s",
        [found.seller_account, before, page.limit + 1],
    )
    lines = rows[: page.limit]
    last = paging.encode(lines[-1]["revision"]) if len(rows) > page.limit else None
    return replies.json(
        {"seller_account": seller_account, "history": [_line(row) for row in lines], "next_cursor": last}
    )


def _line(row: dict[str, Any]) -> dict[str, Any]:
    told = {name: row[name] for name in ("revision", "changed_by", "reason", "at")}
    return told | {"changes": sellers.changes(row["before"], row["after"])}


async def _own(house: House, seller_account: str, caller: Caller) -> Seller:
    """Another owner's is as one that does not exist. Errors: Problem `not_found`."""
    given = paging.storable(seller_account)
    rows = await house.doors.rows(SELECT + " WHERE seller_account = %s AND owner = %s", [given, caller.owner])
    if not rows:
        raise Problem("not_found")
    return seller_of(rows[0])


async def _in_force(house: House, found: list[Seller]) -> dict[str, int]:
    """The revisions that payments has heard."""
    rows = await house.payments.rows(
        "SELECT seller_account, max(revision) AS revision FROM seller_view WHERE seller_account = ANY(%s) GROUP BY 1",
        [[each.seller_account for each in found]],
    )
    return {row["seller_account"]: row["revision"] for row in rows}

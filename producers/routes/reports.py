"""payments' revenue view → GET /v1/reports/revenue"""

from __future__ import annotations

from typing import Annotated, Literal, LiteralString

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from producers import paging, replies
from producers.house import house_of, needs
from producers.key_ring import Caller
from schemas.times import Day

router = APIRouter(tags=["reports"])

LINES_MAX = 10_000
AMOUNTS = ("gross", "fee", "net", "refunded", "charged_back", "fee_returned")


class Revenue(BaseModel):
    """Days are UTC; `from` and `to` are both inclusive. Currencies are never added up."""

    model_config = ConfigDict(extra="forbid")

    since: Day | None = Field(default=None, alias="from")
    to: Day | None = None
    currency: paging.Storable | None = None
    seller_account: paging.Storable | None = None
    psp: paging.Storable | None = None
    by: list[Literal["day", "seller", "psp"]] = Field(default=["day", "seller", "psp"])


@router.get("/v1/reports/revenue", response_model=replies.Revenue)
async def revenue(
    request: Request, asked: Annotated[Revenue, Query()], caller: Caller = needs("reports:read")
) -> Response:
    """What was captured, and what went back. A key with `ops:read` sees all owners' payments, any other its own."""
    owner = None if "ops:read" in caller.scopes else caller.owner
    rows = await house_of(request).payments.rows(
        lines_of(asked, owner),
        asked.model_dump() | {"owner": owner, "limit": LINES_MAX + 1},
    )
    lines = [replies.in_decimals(row, AMOUNTS) for row in rows[:LINES_MAX]]
    return replies.json({"lines": lines, "truncated": len(rows) > LINES_MAX})


def lines_of(asked: Revenue, owner: str | None) -> LiteralString:
    """The report's lines; of all owners where `owner` is None."""
    grouped = ("day" in asked.by, "seller" in asked.by, "psp" in asked.by)
    return (
        "SELECT " + _columns(*grouped) + ", sum(orders)::bigint AS orders, sum(gross) AS gross, sum(fee) AS fee,"
        " sum(net) AS net, sum(refunded) AS refunded, sum(charged_back) AS charged_back,"
        " sum(fee_returned) AS fee_returned FROM revenue_part_view WHERE TRUE"
        + _conditions(asked, owner)
        + " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4 LIMIT %(limit)s"
    )


def _columns(by_day: bool, by_seller: bool, by_psp: bool) -> LiteralString:
    return (
        ("day" if by_day else "NULL::date AS day")
        + ", currency, "
        + ("seller_account" if by_seller else "NULL AS seller_account")
        + ", "
        + ("psp" if by_psp else "NULL AS psp")
    )


def _conditions(asked: Revenue, owner: str | None) -> LiteralString:
    """Only the conditions that are asked for: others would keep the planner from choosing the index."""
    wanted: LiteralString = "" if owner is None else " AND owner = %(owner)s"
    if asked.since is not None:
        wanted += " AND day >= %(since)s"
    if asked.to is not None:
        wanted += " AND day <= %(to)s"
    if asked.currency is not None:
        wanted += " AND currency = %(currency)s"
    if asked.seller_account is not None:
        wanted += " AND seller_account = %(seller_account)s"
    if asked.psp is not None:
        wanted += " AND psp = %(psp)s"
    return wanted

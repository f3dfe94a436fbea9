"""payments' revenue view → GET /v1/reports/revenue"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from producers import paging, replies
from producers.house import house_of, needs
from producers.keys import Caller
from schemas.times import Day

router = APIRouter(tags=["reports"])

LINES_MAX = 10_000


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
    """What was captured. A key with `ops:read` sees all owners' payments, any other its own."""
    rows = await house_of(request).payments.rows(
        "SELECT CASE WHEN %(by_day)s THEN day END AS day, currency,"
        " CASE WHEN %(by_seller)s THEN seller_account END AS seller_account, CASE WHEN %(by_psp)s THEN psp END AS psp,"
        " sum(orders)::bigint AS orders, sum(gross) AS gross, sum(fee) AS fee, sum(net) AS net FROM revenue_view"
        " WHERE (%(owner)s::text IS NULL OR owner = %(owner)s)"
        " AND (%(since)s::date IS NULL OR day >= %(since)s) AND (%(to)s::date IS NULL OR day <= %(to)s)"
        " AND (%(currency)s::text IS NULL OR currency = %(currency)s)"
        " AND (%(seller)s::text IS NULL OR seller_account = %(seller)s) AND (%(psp)s::text IS NULL OR psp = %(psp)s)"
        " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4 LIMIT %(limit)s",
        {
            "by_day": "day" in asked.by,
            "by_seller": "seller" in asked.by,
            "by_psp": "psp" in asked.by,
            "owner": None if "ops:read" in caller.scopes else caller.owner,
            "since": asked.since,
            "to": asked.to,
            "currency": asked.currency,
            "seller": asked.seller_account,
            "psp": asked.psp,
            "limit": LINES_MAX + 1,
        },
    )
    lines = [replies.in_decimals(row, ("gross", "fee", "net")) for row in rows[:LINES_MAX]]
    return replies.json({"lines": lines, "truncated": len(rows) > LINES_MAX})

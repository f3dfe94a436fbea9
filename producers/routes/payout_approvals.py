"""Pay-outs as operators see them, and a person's decision about one: a key with `payouts:approve`, in the name of its owner."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, LiteralString

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from producers import paging, payout_replies, replies
from producers.bodies import REPLAYED, body_of, takes
from producers.doors.payouts import ApprovalSubmission
from producers.house import House, house_of, needs
from producers.key_ring import Caller
from producers.payable import ENDED, approval_refusal
from producers.problems import Problem
from producers.reading import Row
from producers.routes.payouts import COLUMNS
from producers.routes.reviews import REASON_MAX, printable
from schemas.payouts import PayoutStatus

router = APIRouter(tags=["operators"])

ROOT = "/v1/ops/payouts"


class ApprovalRequest(BaseModel):
    """What a person decides about which contents of a pay-out, and why; the reason is kept for ever."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    decision: Literal["approved", "rejected"]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    reason: Annotated[str, Field(min_length=1, max_length=REASON_MAX), AfterValidator(printable)]


BODIES: tuple[type[BaseModel], ...] = (ApprovalRequest,)


class PayoutsAsked(BaseModel):
    """Which pay-outs. Without `status`: those that wait for approval."""

    model_config = ConfigDict(extra="forbid")

    status: PayoutStatus = "awaiting_approval"
    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = None


@router.get(ROOT, response_model=payout_replies.PayoutsToApprove, operation_id="list_payouts_to_approve")
async def list_payouts(
    request: Request, asked: Annotated[PayoutsAsked, Query()], caller: Caller = needs("payouts:approve")
) -> Response:
    """Pay-outs of every owner, newest first, with what was said of each."""
    house = house_of(request)
    at, id_ = paging.newest_first(asked.cursor)
    rows = await house.payouts.rows(
        page_of(asked.status), {"status": asked.status, "at": at, "id": id_, "limit": asked.limit + 1}
    )
    shown, more = paging.cut(rows, asked.limit, "received_at", "payout_id")
    said = await _approvals(house, [row["payout_id"] for row in shown])
    payouts = [payout_replies.to_approve(row, said.get(row["payout_id"], [])) for row in shown]
    return replies.json({"payouts": payouts, "next_cursor": more})


def page_of(status: PayoutStatus) -> LiteralString:
    """Those that have not ended are few, and have an index of their own."""
    wanted: LiteralString = f"SELECT {COLUMNS} FROM payout_view WHERE status = %(status)s"
    wanted += " AND (received_at, payout_id) < (%(at)s, %(id)s)"
    wanted += "" if status in ENDED else " AND ended IS NULL"
    return wanted + " ORDER BY received_at DESC, payout_id DESC LIMIT %(limit)s"


@router.post(
    ROOT + "/{payout_id}/approvals",
    status_code=202,
    response_model=payout_replies.Decided,
    responses=REPLAYED,
    openapi_extra=takes(ApprovalRequest),
    operation_id="decide_payout",
)
async def decide(request: Request, payout_id: str, caller: Caller = needs("payouts:approve")) -> Response:
    """Approve or reject a pay-out. What counts already is answered the same again, with `Idempotent-Replayed: true`."""
    wanted = await body_of(request, ApprovalRequest)
    house = house_of(request)
    rows = await house.payouts.rows(
        f"SELECT {COLUMNS} FROM payout_view WHERE payout_id = %s", [paging.storable(payout_id)]
    )
    if not rows:
        raise Problem("not_found")
    asked = ApprovalSubmission(
        payout_id, wanted.decision, caller.owner, wanted.sha256, wanted.reason, requested_at=rows[0]["received_at"]
    )
    said = (await _approvals(house, [payout_id])).get(payout_id, [])
    same = asked.same(said)
    again = any(one["why_not"] is None for one in same)
    if not again:
        if why := approval_refusal(asked, rows[0], said):
            raise why
        await house.door.submit(replace(asked, earlier=len(same)))
    headers = {"Idempotent-Replayed": "true"} if again else {}
    answer = wanted.model_dump() | {"payout_id": payout_id, "approver": caller.owner}
    return Response(replies.json(answer).body, 202, headers, media_type="application/json")


async def _approvals(house: House, payout_ids: list[str]) -> dict[str, list[Row]]:
    rows = await house.payouts.rows(
        "SELECT payout_id, approver, decision, sha256, reason, at, why_not FROM approval_view"
        " WHERE payout_id = ANY(%s) ORDER BY payout_id, at, event_id",
        [payout_ids],
    )
    said: dict[str, list[Row]] = {}
    for row in rows:
        said.setdefault(row.pop("payout_id"), []).append(row)
    return said

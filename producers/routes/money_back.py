"""Requests for captures, voids and refunds → their door; payments' views → refunds and disputes.

Refusals by amount are a courtesy to the caller, and only for new ids: the rooms decide.
"""

from __future__ import annotations

from typing import Annotated, Any, LiteralString
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from producers import paging, replies
from producers.bodies import REPLAYED, body_of, takes
from producers.doors.operation_ids import IS_KNOWN
from producers.doors.operations import OperationRequest, OperationSubmission
from producers.doors.submission import Answer
from producers.house import House, house_of, needs
from producers.key_ring import Caller
from producers.problems import Problem
from producers.reading import Row
from producers.refundable import refusal
from producers.source import claim_of
from schemas.events import OperationKind
from schemas.money_back import DisputeStatus, OperationStatus
from schemas.requests import CaptureRequest, RefundRequest, VoidRequest
from schemas.times import Moment

router = APIRouter(tags=["money back"])

BODIES: tuple[type[BaseModel], ...] = (CaptureRequest, VoidRequest, RefundRequest)


@router.post(
    "/v1/payments/{checkout_id}/captures",
    status_code=202,
    response_model=replies.Capture,
    responses=REPLAYED,
    openapi_extra=takes(CaptureRequest),
    operation_id="request_capture",
)
async def capture(request: Request, checkout_id: str, caller: Caller = needs("payments:write")) -> Response:
    """Ask for a capture of what is authorised. The same again answers the same, with `Idempotent-Replayed: true`."""
    return await _ask(request, caller, "capture", await body_of(request, CaptureRequest), checkout_id)


@router.post(
    "/v1/payments/{checkout_id}/voids",
    status_code=202,
    response_model=replies.Void,
    responses=REPLAYED,
    openapi_extra=takes(VoidRequest),
    operation_id="request_void",
)
async def void(request: Request, checkout_id: str, caller: Caller = needs("payments:write")) -> Response:
    """Ask that what is authorised and not captured be given up."""
    return await _ask(request, caller, "void", await body_of(request, VoidRequest), checkout_id)


@router.post(
    "/v1/refunds",
    status_code=202,
    response_model=replies.Refund,
    responses=REPLAYED,
    openapi_extra=takes(RefundRequest),
    operation_id="request_refund",
)
async def refund(request: Request, caller: Caller = needs("payments:write")) -> Response:
    """Ask that money go back to the buyer: a part of what was captured, or all of it."""
    return await _ask(request, caller, "refund", await body_of(request, RefundRequest), None)


async def _ask(
    request: Request, caller: Caller, kind: OperationKind, wanted: OperationRequest, checkout_id: str | None
) -> Response:
    house = house_of(request)
    order = await _order(house, caller, wanted.payment_order_id, checkout_id)
    asked = OperationSubmission(
        owner=caller.owner,
        request=wanted,
        traceparent=request.headers.get("traceparent", ""),
        kind=kind,
        checkout_id=order["checkout_id"] if order else checkout_id or "",
    )
    why = refusal(wanted, order)
    if why is not None and not await _is_known(house, asked):
        raise why
    answer: Answer = await house.door.submit(asked)
    headers = {"Location": asked.location} | ({"Idempotent-Replayed": "true"} if answer.replayed else {})
    return Response(answer.reply, 202, headers, media_type="application/json")


async def _is_known(house: House, asked: OperationSubmission) -> bool:
    """Whether the operation was accepted before: then the order's present state does not refuse it."""
    return bool(await house.doors.rows(IS_KNOWN, list(asked.key)))


async def _order(house: House, caller: Caller, payment_order_id: str, checkout_id: str | None) -> Row | None:
    """The caller's order from payments' view; from the door's own table if payments has not consumed it yet."""
    rows = await house.payments.rows(
        "SELECT o.checkout_id, o.payment_order_status, o.detail, o.currency, o.gross, a.capture, a.amount_captured,"
        " a.amount_capturable, a.amount_refund_taken, a.amount_disputed"
        " FROM order_view o JOIN order_amount_view a USING (payment_order_id)"
        " WHERE o.payment_order_id = %s AND o.owner = %s",
        [payment_order_id, caller.owner],
    )
    if not rows:
        rows = await house.doors.rows(
            "SELECT checkout_id FROM order_ids WHERE payment_order_id = %s AND owner = %s",
            [payment_order_id, caller.owner],
        )
    return next((row for row in rows if checkout_id in (None, row["checkout_id"])), None)


# ── refunds ──────────────────────────────────────────────────────────────────────────────────────────────────────────


_REFUND: LiteralString = (
    "SELECT kind, operation_id, payment_order_id, checkout_id, amount, currency, final, reason, status, detail, code,"
    " wallet_updated, ledger_updated, requested_at, event_id FROM operation_view WHERE kind = 'refund' AND owner = %(owner)s"
)
# The doors know what such a refund asked for.
_REFUSED: LiteralString = (
    "SELECT kind, operation_id, payment_order_id, checkout_id, NULL::bigint AS amount, NULL AS currency, false AS final,"
    " NULL AS reason, 'refused' AS status, '' AS detail, code, false AS wallet_updated, false AS ledger_updated, requested_at,"
    " event_id FROM (SELECT *, at AS requested_at FROM operation_refusal_view) AS r"
    " WHERE kind = 'refund' AND owner = %(owner)s"
    " AND NOT EXISTS (SELECT FROM operation_view o WHERE o.kind = r.kind AND o.operation_id = r.operation_id)"
)


@router.get("/v1/refunds/{refund_id}", response_model=replies.Refund, operation_id="refund")
async def one_refund(request: Request, refund_id: str, caller: Caller = needs("payments:read")) -> Response:
    """Where one refund stands."""
    house = house_of(request)
    id_ = paging.storable(refund_id)
    rows = await house.payments.rows(_REFUND + " AND operation_id = %(id)s", {"owner": caller.owner, "id": id_})
    return replies.json(replies.operation(rows[0]) if rows else await _not_yet(house, caller, id_))


async def _not_yet(house: House, caller: Caller, refund_id: str) -> dict[str, Any]:
    """A refund that is not in payments' view: it was refused, is not consumed yet, or does not exist."""
    accepted = await house.doors.rows(
        "SELECT reply, event_id::text FROM operation_ids WHERE kind = 'refund' AND id = %s AND owner = %s",
        [refund_id, caller.owner],
    )
    if not accepted:
        raise Problem("not_found")
    refused = await house.payments.rows(
        "SELECT code FROM operation_refusal_view WHERE event_id = %s::uuid", [claim_of(accepted[0]["event_id"])]
    )
    return replies.not_yet(bytes(accepted[0]["reply"]), refused[0]["code"] if refused else None)


class RefundFilters(BaseModel):
    """All that are given must hold. `from` is inclusive, `to` exclusive."""

    model_config = ConfigDict(extra="forbid")

    payment_order_id: paging.Storable | None = None
    checkout_id: paging.Storable | None = None
    status: OperationStatus | None = None
    since: Moment | None = Field(default=None, alias="from")
    to: Moment | None = None
    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = None


@router.get("/v1/refunds", response_model=replies.RefundPage, operation_id="list_refunds")
async def list_refunds(
    request: Request, filters: Annotated[RefundFilters, Query()], caller: Caller = needs("payments:read")
) -> Response:
    """The owner's refunds, newest first, with those that payments refused after their 202. One that was accepted a moment ago
    may come a moment later.
    """
    at, id_ = paging.newest_first(filters.cursor)
    house = house_of(request)
    rows = await house.payments.rows(
        refunds_of(filters),
        filters.model_dump() | {"owner": caller.owner, "at": at, "id": id_, "limit": filters.limit + 1},
    )
    shown, more = paging.cut(rows, filters.limit, "requested_at", "operation_id")
    asked = await _asked(house, caller, [row for row in shown if row["status"] == "refused"])
    refunds = [asked.get(row["event_id"]) or replies.operation(row) for row in shown]
    return replies.json({"refunds": refunds, "next_cursor": more})


async def _asked(house: House, caller: Caller, refused: list[Row]) -> dict[UUID, dict[str, Any]]:
    """Claim → the refused refund as the door accepted it. One that came over Kafka is not here."""
    if not refused:
        return {}
    accepted = await house.doors.rows(
        "SELECT id, reply, event_id::text FROM operation_ids WHERE kind = 'refund' AND id = ANY(%s) AND owner = %s",
        [[row["operation_id"] for row in refused], caller.owner],
    )
    codes = {row["event_id"]: row["code"] for row in refused}
    found = {UUID(claim_of(row["event_id"])): bytes(row["reply"]) for row in accepted}
    return {claim: replies.not_yet(reply, codes[claim]) for claim, reply in found.items() if claim in codes}


def refunds_of(filters: RefundFilters) -> LiteralString:
    """The statement of a page of refunds, with the conditions that are asked for."""
    newest: LiteralString = " ORDER BY requested_at DESC, operation_id DESC LIMIT %(limit)s"
    wanted = _conditions(filters)
    known = "(" + _REFUND + wanted + ("" if filters.status is None else " AND status = %(status)s") + newest + ")"
    refused = "(" + _REFUSED + wanted + newest + ")"
    if filters.status is None:
        return known + " UNION ALL " + refused + newest
    return refused if filters.status == "refused" else known


def _conditions(filters: RefundFilters) -> LiteralString:
    wanted: LiteralString = " AND (requested_at, operation_id) < (%(at)s, %(id)s)"
    if filters.payment_order_id is not None:
        wanted += " AND payment_order_id = %(payment_order_id)s"
    if filters.checkout_id is not None:
        wanted += " AND checkout_id = %(checkout_id)s"
    if filters.since is not None:
        wanted += " AND requested_at >= %(since)s"
    if filters.to is not None:
        wanted += " AND requested_at < %(to)s"
    return wanted


# ── disputes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


_DISPUTE: LiteralString = (
    "SELECT d.dispute_id, d.stage, d.payment_order_id, d.checkout_id, d.status, d.amount, d.currency, d.fee, d.fee_currency,"
    " d.reason, d.due_by, d.wallet_updated, d.ledger_updated, d.opened_at, d.changed_at"
    " FROM dispute_view d WHERE d.owner = %(owner)s"
)
_LAST_STAGE: LiteralString = (
    " AND NOT EXISTS (SELECT FROM dispute_view l WHERE l.dispute_id = d.dispute_id AND l.stage > d.stage)"
)


@router.get("/v1/disputes/{dispute_id}", response_model=replies.DisputeShown, operation_id="dispute")
async def one_dispute(request: Request, dispute_id: str, caller: Caller = needs("disputes:read")) -> Response:
    """Where one dispute stands, and each of its stages."""
    rows = await house_of(request).payments.rows(
        _DISPUTE + " AND d.dispute_id = %(id)s ORDER BY d.stage",
        {"owner": caller.owner, "id": paging.storable(dispute_id)},
    )
    if not rows:
        raise Problem("not_found")
    stages = [replies.dispute(row) for row in rows]
    return replies.json(stages[-1] | {"stages": stages})


class DisputeFilters(BaseModel):
    """All that are given must hold. `from` is inclusive, `to` exclusive."""

    model_config = ConfigDict(extra="forbid")

    payment_order_id: paging.Storable | None = None
    status: DisputeStatus | None = None
    since: Moment | None = Field(default=None, alias="from")
    to: Moment | None = None
    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = None


@router.get("/v1/disputes", response_model=replies.DisputePage, operation_id="list_disputes")
async def list_disputes(
    request: Request, filters: Annotated[DisputeFilters, Query()], caller: Caller = needs("disputes:read")
) -> Response:
    """The owner's disputes by their last stage, newest first."""
    at, id_ = paging.newest_first(filters.cursor)
    rows = await house_of(request).payments.rows(
        disputes_of(filters),
        filters.model_dump() | {"owner": caller.owner, "at": at, "id": id_, "limit": filters.limit + 1},
    )
    shown, more = paging.cut(rows, filters.limit, "opened_at", "dispute_id")
    return replies.json({"disputes": [replies.dispute(row) for row in shown], "next_cursor": more})


def disputes_of(filters: DisputeFilters) -> LiteralString:
    """The statement of a page of disputes, with the conditions that are asked for."""
    wanted = _DISPUTE + _LAST_STAGE + " AND (d.opened_at, d.dispute_id) < (%(at)s, %(id)s)"
    if filters.payment_order_id is not None:
        wanted += " AND d.payment_order_id = %(payment_order_id)s"
    if filters.status is not None:
        wanted += " AND d.status = %(status)s"
    if filters.since is not None:
        wanted += " AND d.opened_at >= %(since)s"
    if filters.to is not None:
        wanted += " AND d.opened_at < %(to)s"
    return wanted + " ORDER BY d.opened_at DESC, d.dispute_id DESC LIMIT %(limit)s"

"""payments' views, or the door's stored reply until they have the payment → GET /v1/payments and /v1/payment-orders"""

from __future__ import annotations

from typing import Annotated, Any, LiteralString

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from producers import paging, replies
from producers.doors.payments import PaymentSubmission, links
from producers.hot import HotRoute
from producers.house import House, house_of, needs
from producers.key_ring import Caller
from producers.problems import Problem, broken
from producers.reading import Row
from producers.source import claim_of
from schemas.events import PaymentStatus
from schemas.requests import CheckoutSessionRequest, FieldError, PaymentRequest
from schemas.times import Moment
from schemas.urls import is_plain_http

router = APIRouter(tags=["payments"])

ASK = HotRoute(
    path="/v1/payments",
    scope="payments:write",
    body=PaymentRequest,
    make=lambda caller, body, key, trace: PaymentSubmission(caller.owner, body, key, trace),
    reply=replies.Payment,
    tag="payments",
    operation_id="request_payment",
    summary="Ask for a payment",
    description="One checkout with its orders. The same again answers the same, with `Idempotent-Replayed: true`.",
    key_meaning="Stored beside the checkout; with another checkout it is refused.",
)


async def _check_return_url(house: House, caller: Caller, asked: PaymentSubmission) -> None:
    """Errors: Problem `invalid_url`, where only https goes."""
    url = asked.request.payment_method.return_url
    if url and is_plain_http(url) and not house.settings.webhooks.http_allowed:
        raise broken([FieldError("return_url", "invalid_url", "the scheme must be https")])


OPEN_SESSION = HotRoute(
    path="/v1/checkout-sessions",
    scope="payments:write",
    body=CheckoutSessionRequest,
    make=lambda caller, body, key, trace: PaymentSubmission(caller.owner, body.payment(), key, trace),
    check=_check_return_url,
    reply=replies.Payment,
    tag="payments",
    operation_id="open_checkout_session",
    summary="Ask for a page on which the buyer pays",
    description="A checkout of one order. Where the page is stands in the order's `next_action`, by `GET /v1/payments/{id}` or "
    "webhook, once the PSP has said so. The buyer's return to `return_url` is no proof of payment. "
    "The same again answers the same, with `Idempotent-Replayed: true`.",
    key_meaning=ASK.key_meaning,
)

_COLUMNS = (
    " p.checkout_id, p.status, p.is_payment_done, p.buyer_account, p.description, p.metadata, p.deadline, p.received_at,"
    " o.payment_order_id, o.payment_order_status, o.detail, o.decline_code, o.wallet_updated, o.ledger_updated, o.seller_account,"
    " o.currency, o.gross, o.fee"
)

_NEWEST: LiteralString = " ORDER BY received_at DESC, checkout_id DESC LIMIT %(limit)s"
_PLACES: LiteralString = "SELECT received_at, checkout_id FROM payment_place_view p WHERE owner = %(owner)s"
_PLACES_OF_SELLER: LiteralString = (
    "SELECT DISTINCT o.received_at, o.checkout_id FROM order_place_view o JOIN payment_place_view p USING (checkout_id)"
    " WHERE o.owner = %(owner)s AND o.seller_account = %(seller_account)s"
)


class Filters(BaseModel):
    """All that are given must hold. `from` is inclusive, `to` exclusive."""

    model_config = ConfigDict(extra="forbid")

    status: PaymentStatus | None = None
    is_payment_done: bool | None = None
    buyer_account: paging.Storable | None = None
    seller_account: paging.Storable | None = None
    since: Moment | None = Field(default=None, alias="from")
    to: Moment | None = None
    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = None


@router.get("/v1/payments", response_model=replies.PaymentPage)
async def list_payments(
    request: Request, filters: Annotated[Filters, Query()], caller: Caller = needs("payments:read")
) -> Response:
    """The owner's payments, newest first. One that was accepted a moment ago may come a moment later."""
    at, checkout_id = paging.newest_first(filters.cursor)
    rows = await house_of(request).payments.rows(
        page_of(filters),
        filters.model_dump()
        | {"owner": caller.owner, "at": at, "checkout_id": checkout_id, "limit": filters.limit + 1},
    )
    payments = replies.payments(rows)
    shown, more = paging.cut(payments, filters.limit, "received_at", "checkout_id")
    await _add_amounts(house_of(request), [one for payment in shown for one in payment["payment_orders"]], caller.owner)
    return replies.json({"payments": shown, "next_cursor": more})


def page_of(filters: Filters) -> LiteralString:
    """The statement of a page of payments with their orders."""
    return (
        "SELECT" + _COLUMNS + " FROM (" + _places(filters) + ") AS places JOIN payment_view p USING (checkout_id)"
        " JOIN order_view o USING (checkout_id) ORDER BY p.received_at DESC, p.checkout_id DESC, o.position"
    )


def _places(filters: Filters) -> LiteralString:
    """The statement that finds a page's payments, with the conditions that are asked for, so that each kind of list has its plan.

    `status` has no index, because it changes often. Failed payments have an index, open ones are few, and succeeded ones are
    found soon by a scan.
    """
    if filters.seller_account is not None:
        wanted: LiteralString = "" if filters.status is None else " AND p.status = %(status)s"
        return _PLACES_OF_SELLER + _conditions(filters, "o.") + wanted + _NEWEST
    places = _PLACES + _conditions(filters, "p.")
    if filters.status is None:
        return places + _NEWEST
    if filters.status == "succeeded":
        return places + " AND status = 'succeeded'" + _NEWEST
    failed = places + " AND failed = %(status)s" + _NEWEST
    is_open = places + " AND NOT is_payment_done AND status = %(status)s" + _NEWEST
    return "(" + failed + ") UNION ALL (" + is_open + ")" + _NEWEST


def _conditions(filters: Filters, place: LiteralString) -> LiteralString:
    """The conditions. `place` is the alias of the table whose index has received_at and checkout_id."""
    wanted: LiteralString = " AND (" + place + "received_at, " + place + "checkout_id) < (%(at)s, %(checkout_id)s)"
    if filters.since is not None:
        wanted += " AND " + place + "received_at >= %(since)s"
    if filters.to is not None:
        wanted += " AND " + place + "received_at < %(to)s"
    if filters.buyer_account is not None:
        wanted += " AND p.buyer_account = %(buyer_account)s"
    if filters.is_payment_done is not None:
        wanted += " AND p.is_payment_done" if filters.is_payment_done else " AND NOT p.is_payment_done"
    return wanted


@router.get("/v1/payments/{checkout_id}", response_model=replies.Payment)
async def payment(request: Request, checkout_id: str, caller: Caller = needs("payments:read")) -> Response:
    """Where one payment stands, order by order."""
    house = house_of(request)
    rows = await house.payments.rows(
        "SELECT" + _COLUMNS + " FROM payment_view p JOIN order_view o USING (checkout_id)"
        " WHERE p.checkout_id = %s AND p.owner = %s ORDER BY o.position",
        [paging.storable(checkout_id), caller.owner],
    )
    if rows:
        [payment] = replies.payments(rows)
        await _add_amounts(house, payment["payment_orders"], caller.owner)
        return replies.json(payment)
    return await _not_yet(house, checkout_id, caller)


_WITH_REFUSALS: LiteralString = """
SELECT a.*, EXISTS (SELECT FROM operation_refusal_view r WHERE r.payment_order_id = a.payment_order_id
                                                      AND r.owner = %(owner)s) AS refused
  FROM order_amount_view a WHERE a.payment_order_id = ANY(%(orders)s)
"""
_OPERATIONS: LiteralString = """
SELECT kind, operation_id, payment_order_id, checkout_id, amount, currency, final, reason, status, detail, code, wallet_updated,
       ledger_updated, requested_at FROM operation_view
 WHERE payment_order_id = ANY(%(orders)s) AND kind IN ('capture', 'void') AND asked
UNION ALL
SELECT r.kind, r.operation_id, r.payment_order_id, r.checkout_id, NULL, NULL, false, NULL, 'refused', '', r.code, false,
       false, r.at FROM operation_refusal_view r
 WHERE r.payment_order_id = ANY(%(orders)s) AND r.owner = %(owner)s AND r.kind IN ('capture', 'void')
   AND NOT EXISTS (SELECT FROM operation_view o WHERE o.kind = r.kind AND o.operation_id = r.operation_id)
 ORDER BY requested_at, operation_id
"""


async def _add_amounts(house: House, orders: list[dict[str, Any]], owner: str) -> None:
    """Add captured and refunded amounts to these orders, and each capture and void that was asked for."""
    ids = [order["payment_order_id"] for order in orders]
    found = await house.payments.rows(_WITH_REFUSALS, {"orders": ids, "owner": owner})
    amounts = {row["payment_order_id"]: row for row in found}
    asked = [id_ for id_, row in amounts.items() if row["capture"] == "manual" or row["refused"]]
    operations = await house.payments.rows(_OPERATIONS, {"orders": asked, "owner": owner}) if asked else []
    for order in orders:
        order.update(replies.amounts_of(order, amounts[order["payment_order_id"]], operations))
    await _add_pages(house, [order for order in orders if order["detail"] == "action_required"])


async def _add_pages(house: House, orders: list[dict[str, Any]]) -> None:
    """Add the page on which the buyer pays to these orders."""
    ids = [order["payment_order_id"] for order in orders]
    found = (
        await house.payments.rows("SELECT * FROM redirect_view WHERE payment_order_id = ANY(%s)", [ids]) if ids else []
    )
    pages = {row["payment_order_id"]: row for row in found}
    for order in orders:
        order["next_action"] = replies.next_action(pages[order["payment_order_id"]])


async def _not_yet(house: House, checkout_id: str, caller: Caller) -> Response:
    """A payment that is not in payments' view: it was refused, is not consumed yet, or does not exist."""
    accepted = await house.doors.rows(
        "SELECT reply, event_id::text FROM requests WHERE checkout_id = %s AND owner = %s", [checkout_id, caller.owner]
    )
    refusal = await _refusal(house, checkout_id, caller, accepted[0]["event_id"] if accepted else None)
    if refusal:
        return replies.json(replies.refused(refusal, bytes(accepted[0]["reply"]) if accepted else None))
    if not accepted:
        raise Problem("not_found")
    return Response(bytes(accepted[0]["reply"]), media_type="application/json")


async def _refusal(house: House, checkout_id: str, caller: Caller, accepted: str | None) -> Row | None:
    """The refusal of the request that the door has accepted; without one, the first refusal on the owner's own topic."""
    rows = await house.payments.rows(
        "SELECT checkout_id, code, detail, at FROM refusal_view WHERE checkout_id = %s AND owner = %s"
        " AND (%s::uuid IS NULL OR event_id = %s::uuid) ORDER BY at LIMIT 1",
        [checkout_id, caller.owner, *(2 * [accepted and claim_of(accepted)])],
    )
    return rows[0] if rows else None


@router.get("/v1/payment-orders/{payment_order_id}", response_model=replies.OrderOfPayment)
async def payment_order(request: Request, payment_order_id: str, caller: Caller = needs("payments:read")) -> Response:
    """Where one order stands."""
    house = house_of(request)
    rows = await house.payments.rows(
        "SELECT checkout_id, payment_order_id, payment_order_status, detail, decline_code, wallet_updated, ledger_updated,"
        " seller_account, currency, gross, fee, psp, scheme, captured_at FROM order_view"
        " WHERE payment_order_id = %s AND owner = %s",
        [paging.storable(payment_order_id), caller.owner],
    )
    if rows:
        row = rows[0]
        more = {name: row[name] for name in ("checkout_id", "psp", "scheme", "captured_at")}
        order = replies.order(row)
        await _add_amounts(house, [order], caller.owner)
        return replies.json(order | more | {"links": links(row["checkout_id"])})
    return await _order_not_yet(house, payment_order_id, caller)


async def _order_not_yet(house: House, payment_order_id: str, caller: Caller) -> Response:
    rows = await house.doors.rows(
        "SELECT r.checkout_id, r.reply, r.event_id::text FROM order_ids o JOIN requests r USING (checkout_id)"
        " WHERE o.payment_order_id = %s AND o.owner = %s",
        [payment_order_id, caller.owner],
    )
    if not rows:
        raise Problem("not_found")
    checkout_id = rows[0]["checkout_id"]
    asked = replies.order_in_reply(bytes(rows[0]["reply"]), payment_order_id)
    if await _refusal(house, checkout_id, caller, rows[0]["event_id"]):
        asked |= {"payment_order_status": "FAILED", "detail": "refused"}
    more = {"checkout_id": checkout_id, "psp": None, "scheme": None, "captured_at": None}
    return replies.json(asked | more | {"links": links(checkout_id)})

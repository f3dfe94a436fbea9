"""Requests for pay-outs and their cancellation → their door; the views of payouts → where each stands.

Refusals by what the views say are a courtesy to the caller, and only for new ids: the rooms decide.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, LiteralString

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from producers import paging, payout_replies, replies
from producers.bodies import REPLAYED, check_type, parsed, read_body
from producers.doors.operation_ids import IS_KNOWN, IdSubmission
from producers.doors.payouts import ROOT, PayoutCancelRequest, PayoutCancelSubmission, PayoutSubmission
from producers.doors.submission import Answer
from producers.hot import HotRoute
from producers.house import House, house_of, needs
from producers.key_ring import Caller
from producers.payable import ENDED, refusal
from producers.problems import RETRY_SOON, Problem
from producers.reading import Row
from producers.source import claim_of
from schemas.money import Money
from schemas.payouts import PayoutRequest, PayoutStatus
from schemas.times import Moment
from topics.catalog import PAYOUT_REQUESTS
from topics.exchange_rates import RateTable

router = APIRouter(tags=["pay-outs"])

ONE = ROOT + "/{payout_id}"
IN_FORCE_WITHIN_S, ASK_EVERY_MS = 2, 50
BODIES: tuple[type[BaseModel], ...] = (PayoutRequest,)


async def _check(house: House, caller: Caller, asked: PayoutSubmission) -> None:
    """Errors: Problem, where the request is new and the views say that it will be refused."""
    known, seller = await _known_and_seller(house, caller, asked)
    if not known and (why := await _refusal(house, asked.request, seller)):
        raise why


ASK = HotRoute(
    path=ROOT,
    scope="payouts:write",
    body=PayoutRequest,
    make=lambda caller, body, _, trace: PayoutSubmission(
        owner=caller.owner, request=body, traceparent=trace, requested_by=caller.by
    ),
    check=_check,
    reply=payout_replies.Payout,
    tag="pay-outs",
    operation_id="request_payout",
    summary="Request Payout",
    description="Ask that a seller's money go to its destination. The same again answers the same, with"
    " `Idempotent-Replayed: true`.",
)


@router.post(
    ONE + "/cancel",
    status_code=202,
    response_model=payout_replies.Cancellation,
    responses=REPLAYED,
    operation_id="cancel_payout",
)
async def cancel(request: Request, payout_id: str, caller: Caller = needs("payouts:write")) -> Response:
    """Ask that a pay-out be not sent. Until it is `cancelled` it may leave still."""
    house = house_of(request)
    await _nothing(request)
    asked = PayoutCancelSubmission(
        owner=caller.owner,
        request=PayoutCancelRequest(),
        traceparent=request.headers.get("traceparent", ""),
        payout_id=paging.storable(payout_id),
        requested_by=caller.by,
    )
    status = (await _found(house, caller, payout_id))["status"]
    if status in ENDED and status != "cancelled" and not await _is_known(house, asked):
        raise Problem("too_late", f"the pay-out is {status}")
    return await _submit(house, asked)


async def _nothing(request: Request) -> None:
    """Errors: Problem, if a body says anything."""
    length = request.headers.get("content-length")
    if body := await read_body(request.receive, length.encode() if length else None):
        check_type(request.headers.get("content-type", "").encode())
        parsed(PayoutCancelRequest, body)


async def _submit(house: House, asked: IdSubmission[Any]) -> Response:
    answer: Answer = await house.door.submit(asked)
    headers = {"Location": asked.location} | ({"Idempotent-Replayed": "true"} if answer.replayed else {})
    return Response(answer.reply, 202, headers, media_type="application/json")


async def _is_known(house: House, asked: IdSubmission[Any]) -> bool:
    """Whether it was accepted before: then the present state of things does not refuse it."""
    return bool(await house.doors.rows(IS_KNOWN, list(asked.key)))


async def _known_and_seller(house: House, caller: Caller, asked: PayoutSubmission) -> tuple[bool, Row | None]:
    """Whether the request was accepted before, and the caller's seller: one read, since every request waits for it."""
    [found] = await house.doors.rows(
        f"SELECT EXISTS ({IS_KNOWN}) AS known, s.settings, s.revision FROM (VALUES (1)) AS one"
        " LEFT JOIN sellers s ON s.seller_account = %s AND s.owner = %s",
        [*asked.key, asked.request.seller_account, caller.owner],
    )
    return found["known"], found if found["settings"] is not None else None


async def _refusal(house: House, asked: PayoutRequest, seller: Row | None) -> Problem | None:
    """Both views are read at once."""
    wallets, why = await asyncio.gather(
        house.wallet.rows(
            "SELECT available FROM wallet_view WHERE seller_account = %s AND currency = %s",
            [asked.seller_account, asked.currency],
        ),
        _not_in_force(house, asked.seller_account, seller["revision"] if seller else 0),
    )
    if why is not None:
        return why
    available = Money(wallets[0]["available"] if wallets else 0, asked.currency)
    settings = seller["settings"] if seller else None
    least, rates = house.settings.payouts.least(asked.currency), RateTable(house.settings.fx)
    return refusal(asked, settings, available, least, rates)


async def _not_in_force(house: House, seller_account: str, revision: int) -> Problem | None:
    """None once payouts knows the seller as the doors do: else a new seller is unknown, and an old destination is paid. Of a
    seller that the doors do not know, payouts need not know anything.
    """
    until = time.monotonic() + IN_FORCE_WITHIN_S
    while revision:
        heard = await house.payouts.rows("SELECT revision FROM seller_view WHERE seller_account = %s", [seller_account])
        if heard and heard[0]["revision"] >= revision:
            return None
        if time.monotonic() > until:
            return Problem("not_in_force", headers=RETRY_SOON)
        await asyncio.sleep(ASK_EVERY_MS / 1000)
    return None


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


COLUMNS: LiteralString = (
    "payout_id, owner, seller_account, currency, amount, payout_currency, target, rate, description, status,"
    " detail AS code, destination_type, destination_country, destination_masked, destination_fingerprint,"
    " provider_reference, requested_by, destination_changed_by, destination_changers, sha256, approvals_needed,"
    " approvals_given, received_at"
)
_OWN: LiteralString = f"SELECT {COLUMNS} FROM payout_view WHERE owner = %(owner)s"


# The door has taken an id for one owner, and payouts an earlier request of another one's: that one's history is not shown.
_HISTORY: LiteralString = (
    "SELECT h.status, h.detail AS code, h.at FROM history_view h JOIN payout_view p USING (payout_id)"
    " WHERE h.payout_id = %(id)s AND p.owner = %(owner)s ORDER BY h.id"
)


@router.get(ONE, response_model=payout_replies.PayoutWithHistory, operation_id="payout")
async def one_payout(request: Request, payout_id: str, caller: Caller = needs("payouts:read")) -> Response:
    """Where one pay-out stands, and how it came there."""
    house = house_of(request)
    found = await _found(house, caller, payout_id)
    history = await house.payouts.rows(_HISTORY, {"id": payout_id, "owner": caller.owner})
    return replies.json(found | {"history": history})


async def _found(house: House, caller: Caller, payout_id: str) -> dict[str, Any]:
    """The caller's pay-out. Errors: Problem `not_found`."""
    given = {"owner": caller.owner, "id": paging.storable(payout_id)}
    rows = await house.payouts.rows(_OWN + " AND payout_id = %(id)s", given)
    return payout_replies.payout(rows[0]) if rows else await _not_yet(house, given)


async def _not_yet(house: House, given: dict[str, str]) -> dict[str, Any]:
    """A pay-out that is not in the view: it was refused, is not consumed yet, or does not exist."""
    accepted = await house.doors.rows(
        "SELECT reply, event_id::text FROM operation_ids WHERE kind = 'payout' AND id = %(id)s AND owner = %(owner)s",
        given,
    )
    if not accepted:
        raise Problem("not_found")
    refused = await house.payouts.rows(
        "SELECT code FROM refusal_view WHERE event_id = %s::uuid", [claim_of(accepted[0]["event_id"], PAYOUT_REQUESTS)]
    )
    shown: dict[str, Any] = orjson.loads(accepted[0]["reply"])
    return shown | ({"status": "refused", "code": refused[0]["code"]} if refused else {})


class PayoutFilters(BaseModel):
    """All that are given must hold. `from` is inclusive, `to` exclusive."""

    model_config = ConfigDict(extra="forbid")

    seller_account: paging.Storable | None = None
    status: PayoutStatus | None = None
    since: Moment | None = Field(default=None, alias="from")
    to: Moment | None = None
    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = None


@router.get(ROOT, response_model=payout_replies.PayoutPage, operation_id="list_payouts")
async def list_payouts(
    request: Request, filters: Annotated[PayoutFilters, Query()], caller: Caller = needs("payouts:read")
) -> Response:
    """The owner's pay-outs, newest first."""
    at, id_ = paging.newest_first(filters.cursor)
    rows = await house_of(request).payouts.rows(
        _page(filters), filters.model_dump() | {"owner": caller.owner, "at": at, "id": id_, "limit": filters.limit + 1}
    )
    shown, more = paging.cut(rows, filters.limit, "received_at", "payout_id")
    return replies.json({"payouts": [payout_replies.payout(row) for row in shown], "next_cursor": more})


def _page(filters: PayoutFilters) -> LiteralString:
    wanted = _OWN + " AND (received_at, payout_id) < (%(at)s, %(id)s)"
    if filters.seller_account is not None:
        wanted += " AND seller_account = %(seller_account)s"
    if filters.status is not None:
        wanted += " AND status = %(status)s"
    if filters.since is not None:
        wanted += " AND received_at >= %(since)s"
    if filters.to is not None:
        wanted += " AND received_at < %(to)s"
    return wanted + " ORDER BY received_at DESC, payout_id DESC LIMIT %(limit)s"

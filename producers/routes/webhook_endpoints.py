"""Commands about webhook endpoints → their door; the room's views → deliveries and attempts."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from producers import paging, replies
from producers.bodies import json_bytes, takes
from producers.doors import endpoints
from producers.doors.commands import Command
from producers.doors.endpoint_rows import SELECT, Endpoint, endpoint_of
from producers.doors.endpoints import EndpointRequest, EndpointWithSecret, parse
from producers.house import House, house_of, needs
from producers.key_ring import Caller
from producers.problems import Problem
from schemas.envelope import is_event_id
from schemas.ids import NEW_ID, is_new_id
from schemas.requests import FieldError

router = APIRouter(tags=["webhooks"])

ROOT = "/v1/webhook-endpoints"
ONE = ROOT + "/{endpoint_id}"
_ID = re.compile(r"[A-Za-z0-9._~-]{1,64}\Z")
_VERSION = re.compile(r"[1-9][0-9]{0,8}\Z")
_NEWEST = 2**63 - 1
Result = TypeVar("Result")


# ── endpoints ────────────────────────────────────────────────────────────────────────────────────────────────────────


@router.put(
    ONE,
    response_model=replies.EndpointMade,
    openapi_extra=takes(EndpointRequest),
    responses={201: {"description": "Made"}},
)
async def put_endpoint(request: Request, endpoint_id: str, caller: Caller = needs("webhooks:write")) -> Response:
    """Make an endpoint, or change it to this. The `secret` that signs is in the answer that makes it, and nowhere else."""
    if not is_new_id(endpoint_id):
        error = FieldError("endpoint_id", "invalid_id", NEW_ID)
        raise Problem("invalid_id", f"endpoint_id: {error.detail}", [error])
    body = await json_bytes(request)
    wanted = parse(body, house_of(request).settings)
    made: EndpointWithSecret = await _do(
        request, endpoints.put(house_of(request).settings, caller.owner, endpoint_id, wanted)
    )
    return replies.json(made.endpoint.shown() | {"secret": made.secret}, 201 if made.secret else 200)


@router.get(ROOT, response_model=replies.EndpointList)
async def list_endpoints(request: Request, caller: Caller = needs("webhooks:read")) -> Response:
    """The owner's endpoints."""
    rows = await house_of(request).doors.rows(
        SELECT + " WHERE owner = %s AND NOT deleted ORDER BY endpoint_id",
        [caller.owner],
    )
    return replies.json({"webhook_endpoints": [endpoint_of(row).shown() for row in rows]})


@router.get(ONE, response_model=replies.Endpoint)
async def endpoint(request: Request, endpoint_id: str, caller: Caller = needs("webhooks:read")) -> Response:
    """One endpoint, without its secrets."""
    rows = await house_of(request).doors.rows(
        SELECT + " WHERE endpoint_id = %s AND owner = %s AND NOT deleted",
        [_endpoint_id(endpoint_id), caller.owner],
    )
    if not rows:
        raise Problem("not_found")
    return replies.json(endpoint_of(rows[0]).shown())


@router.delete(ONE, status_code=204)
async def delete_endpoint(request: Request, endpoint_id: str, caller: Caller = needs("webhooks:write")) -> Response:
    """Nothing more is sent there, what is still owed to it included."""
    await _do(request, endpoints.delete(caller.owner, _endpoint_id(endpoint_id)))
    return Response(status_code=204)


@router.post(ONE + "/secrets", status_code=201, response_model=replies.EndpointMade)
async def add_secret(request: Request, endpoint_id: str, caller: Caller = needs("webhooks:write")) -> Response:
    """One more secret, shown this once. Webhooks carry a signature of each until the old one is retired."""
    command = endpoints.add_secret(house_of(request).settings, caller.owner, _endpoint_id(endpoint_id))
    made: EndpointWithSecret = await _do(request, command)
    return replies.json(made.endpoint.shown() | {"secret": made.secret}, 201)


@router.delete(ONE + "/secrets/{version}", response_model=replies.Endpoint)
async def retire_secret(
    request: Request, endpoint_id: str, version: str, caller: Caller = needs("webhooks:write")
) -> Response:
    """This secret signs nothing any more. The last one cannot be retired."""
    if not _VERSION.match(version):
        raise Problem("not_found")
    left: Endpoint = await _do(request, endpoints.retire_secret(caller.owner, _endpoint_id(endpoint_id), int(version)))
    return replies.json(left.shown())


@router.post(ONE + "/test", status_code=202, response_model=replies.DeliveryAsked)
async def send_test(request: Request, endpoint_id: str, caller: Caller = needs("webhooks:write")) -> Response:
    """Send a `webhook.test` event there now, whatever its event types are."""
    delivery = await _do(request, endpoints.test(caller.owner, _endpoint_id(endpoint_id)))
    return replies.json({"delivery_id": delivery}, 202)


# ── deliveries ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Page(BaseModel):
    """Which deliveries, and how many."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["due", "waiting", "sending", "delivered", "given_up", "cancelled"] | None = None
    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = None


@router.get(ONE + "/deliveries", response_model=replies.DeliveryPage)
async def deliveries(
    request: Request, endpoint_id: str, page: Annotated[Page, Query()], caller: Caller = needs("webhooks:read")
) -> Response:
    """What was and is to be sent there, newest first."""
    seq = paging.decode(page.cursor, int)[0] if page.cursor else _NEWEST
    if not 0 <= int(seq) <= _NEWEST:
        raise Problem("invalid_cursor")
    rows = await house_of(request).webhooks.rows(
        "SELECT seq, delivery_id::text, endpoint_id, event_id::text, event_type, state, created_at, due_at, attempts,"
        " ended_at FROM delivery_view WHERE endpoint_id = %s AND owner = %s AND seq < %s"
        " AND (%s::text IS NULL OR state = %s) ORDER BY seq DESC LIMIT %s",
        [_endpoint_id(endpoint_id), caller.owner, seq, page.state, page.state, page.limit + 1],
    )
    page_rows = rows[: page.limit]
    last = paging.encode(page_rows[-1]["seq"]) if len(rows) > page.limit else None
    shown = [{name: value for name, value in row.items() if name != "seq"} for row in page_rows]
    return replies.json({"deliveries": shown, "next_cursor": last})


@router.get(ONE + "/deliveries/{delivery_id}", response_model=replies.DeliveryShown)
async def delivery(
    request: Request, endpoint_id: str, delivery_id: str, caller: Caller = needs("webhooks:read")
) -> Response:
    """One delivery: what was sent, and every attempt."""
    house = house_of(request)
    shown = await _delivery(house, endpoint_id, delivery_id, caller)
    attempts = await house.webhooks.rows(
        "SELECT attempt_no, at, took_ms, status, error, reply FROM attempt_view WHERE delivery_id = %s ORDER BY attempt_no",
        [delivery_id],
    )
    return replies.json(shown | {"body": bytes(shown["body"]).decode(), "log": attempts})


@router.post(ONE + "/deliveries/{delivery_id}/resend", status_code=202, response_model=replies.DeliveryAsked)
async def resend(
    request: Request, endpoint_id: str, delivery_id: str, caller: Caller = needs("webhooks:write")
) -> Response:
    """Send it once more, with the same webhook-id. What is on its way already is hurried."""
    await _delivery(house_of(request), endpoint_id, delivery_id, caller)
    await _do(request, endpoints.resend(caller.owner, endpoint_id, delivery_id))
    return replies.json({"delivery_id": delivery_id}, 202)


async def _delivery(house: House, endpoint_id: str, delivery_id: str, caller: Caller) -> dict[str, Any]:
    if not is_event_id(delivery_id):
        raise Problem("not_found")
    rows = await house.webhooks.rows(
        "SELECT delivery_id::text, endpoint_id, event_id::text, event_type, state, created_at, due_at, attempts, ended_at,"
        " body FROM delivery_view WHERE delivery_id = %s AND endpoint_id = %s AND owner = %s",
        [delivery_id, _endpoint_id(endpoint_id), caller.owner],
    )
    if not rows:
        raise Problem("not_found")
    return rows[0]


async def _do(request: Request, command: Command[Any]) -> Any:
    return await house_of(request).command_door.submit(command)


def _endpoint_id(endpoint_id: str) -> str:
    """The id. Errors: Problem `not_found` if the text cannot be one."""
    if not _ID.match(endpoint_id):
        raise Problem("not_found")
    return endpoint_id

"""PSPs' webhooks → their door: the signature is checked, and the webhook stored before the 2xx."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from producers import replies
from producers.bodies import json_bytes
from producers.house import house_of

router = APIRouter(tags=["PSPs"])


@router.post(
    "/v1/psp-notifications/{psp}",
    status_code=202,
    response_model=replies.NotificationStored,
    operation_id="notify",
    openapi_extra={
        "security": [],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
    },
)
async def notify(request: Request, psp: str) -> Response:
    """A webhook of a PSP or pay-out provider, in its own words and signed in its own way with a secret of `TALLY_PSPS` or
    `TALLY_PAYOUT_PROVIDERS`. It may come again.
    """
    body = await json_bytes(request)
    house = house_of(request)
    given = house.notifications.read(psp, request.headers, body)
    await house.notifications.receive(given)
    return replies.json({"stored": True}, 202)

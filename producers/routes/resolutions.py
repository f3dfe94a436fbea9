"""What a PSP could not say of a call, or a bank of a file: one person proposes it, another approves it. Keys with
`calls:resolve`, in the name of their owners.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, LiteralString

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from producers import ops_replies, paging, replies
from producers.bodies import REPLAYED, body_of, takes
from producers.doors import resolutions
from producers.doors.resolutions import CALL, MANUAL, SELECT, OpenCall, Outcome, Proposed, Resolution
from producers.house import House, house_of, needs
from producers.key_ring import Caller
from producers.problems import Problem
from producers.routes.reviews import REASON_MAX, printable
from schemas.times import Instant
from topics.runtime.shape.clock import Clock

router = APIRouter(tags=["operators"])

ROOT = "/v1/ops/resolutions"


Reason = Annotated[str, Field(min_length=1, max_length=REASON_MAX), AfterValidator(printable)]
Reference = Annotated[str, Field(pattern=r"^[!-~]{1,128}$")]


class ResolutionRequest(BaseModel):
    """What has become of a call or bank file, and how the proposer knows: the PSP's dashboard, a letter, a statement's line."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    call_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]  # or a bank file's id
    outcome: Outcome
    evidence: Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(printable)]
    reason: Reason
    psp_reference: Reference | None = None  # needed where it has succeeded and is not known yet
    expires_at: Instant | None = None  # of an authorisation, for a charge that is captured later


class DecisionRequest(BaseModel):
    """Why it is approved or rejected; the reason is kept for ever."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    reason: Reason


BODIES: tuple[type[BaseModel], ...] = (ResolutionRequest, DecisionRequest)


class Resolutions(BaseModel):
    """Which proposals. Without `status`: those that wait."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["waiting", "approved", "rejected", "expired"] = "waiting"
    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = None


@router.get(ROOT, response_model=ops_replies.ResolutionPage, operation_id="list_resolutions")
async def list_resolutions(
    request: Request, asked: Annotated[Resolutions, Query()], caller: Caller = needs("calls:resolve")
) -> Response:
    """Proposals, newest first."""
    at, proposal_id = paging.newest_first(asked.cursor)
    house = house_of(request)
    now = _now(house)
    given = {"at": at, "id": proposal_id, "now": now, "limit": asked.limit + 1}
    rows = await house.doors.rows(_page(asked.status), given)
    page, more = paging.cut(rows, asked.limit, "proposed_at", "proposal_id")
    shown = [resolutions.shown(row, now) for row in page]
    calls = resolutions.asked_about(shown)
    answers = await house.executor.rows(resolutions.ANSWERS, {"calls": calls}) if calls else []
    return replies.json({"resolutions": resolutions.with_answers(shown, answers), "next_cursor": more})


def _page(status: str) -> LiteralString:
    standing: dict[str, LiteralString] = {
        "waiting": "state = 'waiting' AND expires_at > %(now)s",
        "expired": "(state = 'expired' OR (state = 'waiting' AND expires_at <= %(now)s))",
        "approved": "state = 'approved'",
        "rejected": "state = 'rejected'",
    }
    page: LiteralString = (
        " AND (proposed_at, proposal_id) < (%(at)s, %(id)s) ORDER BY proposed_at DESC, proposal_id DESC LIMIT %(limit)s"
    )
    return SELECT + " WHERE " + standing[status] + page


@router.post(
    ROOT,
    status_code=202,
    response_model=ops_replies.Resolution,
    responses=REPLAYED,
    openapi_extra=takes(ResolutionRequest),
    operation_id="propose_resolution",
)
async def propose(request: Request, caller: Caller = needs("calls:resolve")) -> Response:
    """Propose what has become of a call that is unresolved, or, if it has succeeded, unknown; or that an unresolved bank file
    (`call_id` is its id) was `delivered` or `not_delivered`. It waits seven days for another
    person. The same again answers the same, with `Idempotent-Replayed: true`.
    """
    wanted = await body_of(request, ResolutionRequest)
    house = house_of(request)
    said = Resolution(wanted.outcome, wanted.evidence, wanted.reason, wanted.psp_reference, wanted.expires_at)
    command = resolutions.propose(await _call(house, wanted.call_id), said, caller.owner)
    return _answer(await house.command_door.submit(command), _now(house))


@router.post(
    ROOT + "/{proposal_id}/approve",
    status_code=202,
    response_model=ops_replies.Resolution,
    responses=REPLAYED,
    openapi_extra=takes(DecisionRequest),
    operation_id="approve_resolution",
)
async def approve(request: Request, proposal_id: str, caller: Caller = needs("calls:resolve")) -> Response:
    """Another person than the proposer approves it: the executor hears it as it would hear the PSP."""
    return await _decide(request, proposal_id, True, caller)


@router.post(
    ROOT + "/{proposal_id}/reject",
    status_code=202,
    response_model=ops_replies.Resolution,
    responses=REPLAYED,
    openapi_extra=takes(DecisionRequest),
    operation_id="reject_resolution",
)
async def reject(request: Request, proposal_id: str, caller: Caller = needs("calls:resolve")) -> Response:
    """Reject it, or take it back. Another proposal may then be made for the call."""
    return await _decide(request, proposal_id, False, caller)


async def _decide(request: Request, proposal_id: str, approves: bool, caller: Caller) -> Response:
    wanted = await body_of(request, DecisionRequest)
    house = house_of(request)
    rows = await house.doors.rows(SELECT + " WHERE proposal_id = %s", [paging.storable(proposal_id)])
    if not rows:
        raise Problem("not_found")
    call = await _call(house, rows[0]["call_id"])
    command = resolutions.decide(call, proposal_id, approves, caller.owner, wanted.reason)
    return _answer(await house.command_door.submit(command), _now(house))


async def _call(house: House, call_id: str) -> OpenCall:
    """Errors: Problem `not_found`."""
    rows = await house.executor.rows(CALL, {"call_id": call_id})
    if not rows:
        raise Problem("not_found", "There is no such call or bank file.")
    manual = await house.payments.rows(MANUAL, [rows[0]["subject"]])
    return OpenCall(**rows[0], manual=bool(manual and manual[0]["manual"]))


def _answer(proposed: Proposed, now: datetime) -> Response:
    headers = {"Idempotent-Replayed": "true"} if proposed.replayed else {}
    return Response(replies.json(proposed.shown(now)).body, 202, headers, media_type="application/json")


def _now(house: House) -> datetime:
    return Clock(house.settings.clock_file).now()

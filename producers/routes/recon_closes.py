"""Days of reconciliation and who has signed them: keys with `recon:read`, and to propose or sign with `recon:write`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from producers import paging, recon_close_replies, replies
from producers.bodies import body_of, takes
from producers.doors import recon_closes as closes
from producers.doors.recon_closes import Closing
from producers.house import House, house_of, needs
from producers.key_ring import Caller
from producers.problems import Problem
from producers.recon_day_report import Taken, day_report, taken
from producers.routes.recon import walked
from producers.routes.reviews import REASON_MAX, printable
from schemas import times
from schemas.times import Day
from topics.runtime.shape.clock import Clock

router = APIRouter(tags=["reconciliation"])

ROOT = "/v1/recon/closes"


class CloseRequest(BaseModel):
    """A day in UTC, and why. Without `sha256` its report is proposed; with it the report that another person has proposed is
    signed. The reason is kept for ever.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    date: Day
    reason: Annotated[str, Field(min_length=1, max_length=REASON_MAX, strict=True), AfterValidator(printable)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$", strict=True)] | None = None


BODIES: tuple[type[BaseModel], ...] = (CloseRequest,)


class ClosesAsked(BaseModel):
    """Days that are signed or proposed, newest first."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = None


@router.get(ROOT, response_model=recon_close_replies.ClosePage, operation_id="list_closes")
async def list_closes(
    request: Request, asked: Annotated[ClosesAsked, Query()], caller: Caller = needs("recon:read")
) -> Response:
    """How each day stands: signed, or as it was proposed last."""
    house = house_of(request)
    before = "infinity" if asked.cursor is None else _day(str(paging.decode(asked.cursor, str)[0]), "invalid_cursor")
    found = await house.doors.rows(closes.DAYS, {"before": before, "limit": asked.limit + 1})
    page = found[: asked.limit]
    more = paging.encode(page[-1]["day"].isoformat()) if len(found) > len(page) else None
    now = Clock(house.settings.clock_file).now()
    return replies.json({"closes": [closes.shown(row, now) for row in page], "next_cursor": more})


@router.get(ROOT + "/{day}", response_model=recon_close_replies.CloseShown, operation_id="show_close")
async def show_close(request: Request, day: str, caller: Caller = needs("recon:read")) -> Response:
    """A day with all that was decided about it, oldest first, and the report of the last decision."""
    house = house_of(request)
    rows = await house.doors.rows(closes.OF_DAY, {"day": _day(day, "not_found")})
    if not rows:
        raise Problem("not_found")
    now = Clock(house.settings.clock_file).now()
    decisions = [closes.shown(row, now) for row in rows]
    return replies.json(decisions[-1] | {"decisions": decisions, "report": closes.report_of(rows[-1])})


@router.post(
    ROOT,
    status_code=201,
    response_model=recon_close_replies.Close,
    responses={
        200: {
            "model": recon_close_replies.Close,
            "description": "The same was decided before, or the day is signed: nothing is new.",
            "headers": {"Idempotent-Replayed": {"schema": {"type": "string", "enum": ["true"]}}},
        }
    },
    openapi_extra=takes(CloseRequest),
    operation_id="close_day",
)
async def close(request: Request, caller: Caller = needs("recon:write")) -> Response:
    """Propose the report of a day, or sign the one that another person has proposed. Refused while a file is missing, or a case
    of class C has no owner. A day that is signed stays as it is, and is shown.
    """
    wanted = await body_of(request, CloseRequest)
    house = house_of(request)
    command = closes.close(await _taken(house, wanted.date), caller.by, wanted.reason, wanted.sha256)
    done: Closing = await house.command_door.submit(command)
    headers = {"Location": f"{ROOT}/{wanted.date}"} | ({"Idempotent-Replayed": "true"} if done.replayed else {})
    body = replies.json(closes.shown(done.row, Clock(house.settings.clock_file).now())).body
    return Response(body, 200 if done.replayed else 201, headers, media_type="application/json")


async def _taken(house: House, day: Day) -> Taken:
    now = Clock(house.settings.clock_file).now()
    report = await walked(house, day_report(house.settings.settlement_sources, day, now))
    return taken(report, now.date())


def _day(text: str, code: str) -> Day:
    """Errors: Problem of this code."""
    try:
        return times.day(text)
    except ValueError:
        raise Problem(code) from None

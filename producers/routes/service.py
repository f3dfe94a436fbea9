"""Liveness, readiness, metrics, and the page of error codes."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from producers import replies
from producers.house import House, house_of
from producers.problems import Problem, page

router = APIRouter(tags=["service"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", response_model=replies.Ready, responses={503: {"model": replies.Ready}})
async def readyz(request: Request) -> Response:
    """Whether payments can be taken and looked up; says why not."""
    reasons = await _reasons(house_of(request))
    return replies.json({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)


async def _reasons(house: House) -> list[str]:
    door = house.door
    reasons = [door.trouble] if door.trouble else []
    if not door.alive:
        reasons.append("the thread that takes requests has ended")
    if door.publishing_trouble:
        reasons.append(f"kafka: {door.publishing_trouble}")
    for name, reader, to_write in (("doors", house.doors, True), ("payments", house.payments, False)):
        try:
            await reader.reach(to_write=to_write)
        except Problem as problem:
            reasons.append(f"store of {name}: {problem.__cause__ or problem.detail}".splitlines()[0])
    return reasons


@router.get("/metrics", response_class=Response)
async def metrics() -> Response:
    """Prometheus' text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@router.get("/errors", response_class=Response)
async def errors() -> Response:
    """The page of codes behind every problem's `type`."""
    return Response(page(), media_type="text/html; charset=utf-8")

"""Screenings that wait for a person, and that person's decision: a key with `risk:review`, in the name of its owner."""

from __future__ import annotations

from typing import Annotated, Any, Literal, LiteralString

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from producers import ops_replies, paging, replies
from producers.bodies import REPLAYED, body_of, takes
from producers.doors.reviews import HELD, ONE_HELD, About, ReviewSubmission
from producers.house import House, house_of, needs
from producers.key_ring import Caller
from producers.problems import Problem
from producers.reading import Row
from schemas.text import refuse_card_number

router = APIRouter(tags=["operators"])

REASON_MAX = 500
SCREEN_NO_MAX = 2**31 - 1  # as the store counts


def printable(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError("it is blank or holds control characters")
    return refuse_card_number(text)


class ReviewRequest(BaseModel):
    """What the reviewer decides about which screening, and why; the reason is kept for ever."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    about: About = "payment"
    screen_no: Annotated[int, Field(ge=1, le=SCREEN_NO_MAX)]
    decision: Literal["clear", "refuse"]
    reason: Annotated[str, Field(min_length=1, max_length=REASON_MAX), AfterValidator(printable)]


BODIES: tuple[type[BaseModel], ...] = (ReviewRequest,)


class Reviews(BaseModel):
    """Which screenings. Without `status`: those that wait."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["open", "decided"] = "open"
    about: About | None = None
    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = None


@router.get("/v1/ops/reviews", response_model=ops_replies.ReviewPage, operation_id="list_reviews")
async def list_reviews(
    request: Request, asked: Annotated[Reviews, Query()], caller: Caller = needs("risk:review")
) -> Response:
    """Screenings that wait for a person, or were decided by one; newest first, of every owner."""
    rows = await house_of(request).risk.rows(
        _page(asked), {"about": asked.about, "limit": asked.limit + 1, **_before(asked.cursor)}
    )
    shown, more = paging.cut(rows, asked.limit, "held_at", "subject", "about", "screen_no")
    return replies.json({"reviews": [_shown(row) for row in shown], "next_cursor": more})


def _before(cursor: str | None) -> dict[str, object]:
    """The screening before which a page begins. Errors: Problem `invalid_cursor`."""
    last = paging.decode(cursor, str, str, str, int) if cursor else (paging.NEWEST.isoformat(), "", "", 0)
    return dict(zip(("at", "subject", "last_about", "screen_no"), (paging.instant(last[0]), *last[1:]), strict=True))


def _page(asked: Reviews) -> LiteralString:
    """A payment and its buyer, or two screenings of one pay-out, may be held at one moment."""
    wanted = HELD + " WHERE (held_at, subject, about, screen_no) < (%(at)s, %(subject)s, %(last_about)s, %(screen_no)s)"
    wanted += " AND decision IS NULL" if asked.status == "open" else " AND decision IS NOT NULL"
    if asked.about is not None:
        wanted += " AND about = %(about)s"
    return wanted + " ORDER BY held_at DESC, subject DESC, about DESC, screen_no DESC LIMIT %(limit)s"


@router.post(
    "/v1/ops/reviews/{subject}",
    status_code=202,
    response_model=ops_replies.Reviewed,
    responses=REPLAYED,
    openapi_extra=takes(ReviewRequest),
    operation_id="review",
)
async def review(request: Request, subject: str, caller: Caller = needs("risk:review")) -> Response:
    """Clear or refuse what a screening holds. The same again answers the same, with `Idempotent-Replayed: true`."""
    wanted = await body_of(request, ReviewRequest)
    house = house_of(request)
    held = await _held(house, wanted.about, paging.storable(subject), wanted.screen_no)
    asked = ReviewSubmission(
        wanted.about, subject, wanted.screen_no, wanted.decision, caller.owner, wanted.reason, held["held_at"]
    )
    again = _is_decided(held, asked)
    if not again:
        await house.door.submit(asked)
    headers = {"Idempotent-Replayed": "true"} if again else {}
    answer = wanted.model_dump() | {"subject": subject, "actor": caller.owner}
    return Response(replies.json(answer).body, 202, headers, media_type="application/json")


async def _held(house: House, about: str, subject: str, screen_no: int) -> Row:
    rows = await house.risk.rows(ONE_HELD, [about, subject, screen_no])
    if not rows:
        raise Problem("not_found")
    return rows[0]


def _is_decided(held: Row, asked: ReviewSubmission) -> bool:
    """Whether this very review counts already. Errors: Problem `not_waiting`, where another one does."""
    if held["decision"] is None:
        return False
    if (held["decision"], held["actor"], held["reason"]) == (asked.decision, asked.actor, asked.reason):
        return True
    raise Problem("not_waiting", f"decided by {held['actor']}: {held['decision']}")


def _shown(row: Row) -> dict[str, Any]:
    return {"status": "open" if row["decision"] is None else "decided"} | row

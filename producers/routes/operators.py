"""Dead letters, stopped rooms and the audit over HTTP: `ops:read` looks, `ops:act` acts, in the name of the key's owner."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Annotated, Any, Literal, TypeVar

import orjson
import psycopg
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from producers import ops_replies, replies
from producers.bodies import body_of, takes
from producers.house import house_of, needs
from producers.key_ring import Caller
from producers.problems import RETRY_SOON, Problem, broken
from schemas.requests import FieldError
from schemas.text import refuse_card_number
from schemas.times import Moment
from topics.catalog import CONSUMERS
from topics.runtime.dead_letters import acts as operators
from topics.runtime.dead_letters import index as letter_index
from topics.runtime.dead_letters import listing as dead_letters
from topics.runtime.dead_letters import pacing
from topics.runtime.dead_letters.acts import ActRefused, AuditNote, WayOut
from topics.runtime.dead_letters.listing import Filter, NoSuchLetter, NoSuchRoom, State
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.store import error_kind
from topics.settings import Settings

router = APIRouter(tags=["operators"])

LETTERS = "/v1/ops/letters"
ONE = LETTERS + "/{room}/{letter_id}"
AT_ONCE_MAX = 1000
PACED_S_MAX = 20  # of one request
LINES = 100  # of an export, read at a time
TRIED_WITHIN_S = 10  # a replayed letter, with `stop_on_error` or `rate`
Result = TypeVar("Result")


# ── what is asked ────────────────────────────────────────────────────────────────────────────────────────────────────


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it holds control characters")
    return refuse_card_number(text)


Text = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_printable)]
Reason = Annotated[str, Field(min_length=1, max_length=operators.REASON_MAX), AfterValidator(_printable)]


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LetterFilter(_Query):
    """Letters whose last failure fits. `from` is inclusive, `to` exclusive."""

    code: Text | None = None
    topic: Text | None = None
    key: Text | None = None
    since: Moment | None = Field(default=None, alias="from")
    until: Moment | None = Field(default=None, alias="to")

    def wanted(self) -> Filter:
        return Filter(self.code, self.topic, self.key, self.since, self.until)


class ListQuery(LetterFilter):
    """Dead letters, and parked ones that are tried again by themselves, of one room or all."""

    room: Text | None = None
    state: list[State] = Field(default=["dead", "parked"])
    limit: int = Field(default=100, ge=1, le=AT_ONCE_MAX)


class GroupQuery(LetterFilter):
    room: Text | None = None


class ExportQuery(LetterFilter):
    room: Text | None = None
    state: list[State] = Field(default=["dead"])


class _Body(BaseModel):
    """A strict JSON body: `"no"` is no truth value, and `true` no number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ReasonBody(_Body):
    """The reason of an act, kept for ever in ops_audit beside the owner of the key."""

    reason: Reason


class ResumeRequest(ReasonBody):
    """`begin` is the way out of a stop that has several; without it they are named (409)."""

    begin: WayOut | None = None


class ActRequest(_Body):
    """Either `letters`, or a `filter` over the room's dead letters, `{}` being all of them. `max` are done at once. A
    `dry_run` needs no `reason`."""

    reason: Reason | None = None
    room: Text
    letters: list[Text] | None = Field(default=None, min_length=1, max_length=AT_ONCE_MAX)
    filter: LetterFilter | None = None
    max: int = Field(default=AT_ONCE_MAX, ge=1, le=AT_ONCE_MAX)
    dry_run: bool = False


class ReplayRequest(ActRequest):
    """`force` replays also what was replayed three times already. `rate` is letters a second. With `stop_on_error` they are
    replayed one after the other, up to the first that fails again."""

    force: bool = False
    rate: int | None = Field(default=None, ge=1, le=100_000)
    stop_on_error: bool = False


class EditRequest(ReasonBody):
    """The corrected value, whole."""

    value: JsonValue


class ApproveRequest(ReasonBody):
    """The `sha256` of the edit that was looked at."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


_LINES_OF_JSON = {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}
BODIES = (ActRequest, ReplayRequest, EditRequest, ApproveRequest, ResumeRequest)


async def _do(request: Request, work: Callable[[Settings, datetime], Result], *, long: bool = False) -> Result:
    """Run blocking work in a thread; `long` in one of the few threads for work that takes seconds. Errors: Problem."""
    house = house_of(request)
    act = partial(work, house.settings, Clock(house.settings.clock_file).now())
    try:
        return await (house.pools.for_long(act) if long else house.pools.for_operator(act))
    except (NoSuchLetter, NoSuchRoom) as error:
        raise Problem("not_found", str(error)) from None
    except ActRefused as refused:
        raise Problem("refused", str(refused)) from None
    except psycopg.Error as error:
        if error_kind(error) != "away":
            raise
        raise Problem("unavailable", headers=RETRY_SOON) from error


def _by(caller: Caller, asked: ReasonBody) -> AuditNote:
    return _by_reason(caller, asked.reason)


def _by_unless_dry(caller: Caller, asked: ActRequest) -> AuditNote | None:
    """The audit note; None for a dry run. Errors: Problem if an act has no reason."""
    if asked.dry_run:
        return None
    if asked.reason is None:
        raise broken([FieldError("reason", "missing_field", "this field is required for anything but a dry run")])
    return _by_reason(caller, asked.reason)


def _by_reason(caller: Caller, reason: str) -> AuditNote:
    try:
        return AuditNote(caller.owner, reason)
    except ActRefused as refused:
        raise Problem("refused", str(refused)) from None


# ── look ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@router.get(LETTERS, response_model=ops_replies.LetterList)
async def list_letters(
    request: Request, asked: Annotated[ListQuery, Query()], caller: Caller = needs("ops:read")
) -> Response:
    """One object for each letter, oldest first, without contents; `truncated` where there are more than `limit`."""
    found = await _do(
        request,
        lambda settings, _: dead_letters.list_letters(
            settings, asked.room, asked.state, asked.limit + 1, wanted=asked.wanted()
        ),
    )
    shown = [asdict(letter) for letter in found[: asked.limit]]
    return replies.json({"letters": shown, "truncated": len(found) > asked.limit})


@router.get(LETTERS + "/groups", response_model=ops_replies.GroupList)
async def group_letters(
    request: Request, asked: Annotated[GroupQuery, Query()], caller: Caller = needs("ops:read")
) -> Response:
    """By consumer, error code and age, with counts and the newest example."""
    found = await _do(
        request, lambda settings, now: dead_letters.group_letters(settings, now, asked.room, asked.wanted())
    )
    return replies.json({"groups": [asdict(group) for group in found]})


@router.get(LETTERS + "/export", response_class=Response, responses={200: _LINES_OF_JSON})
async def export_letters(
    request: Request, asked: Annotated[ExportQuery, Query()], caller: Caller = needs("ops:read")
) -> Response:
    """JSON lines with contents, oldest first."""
    lines = await _do(request, lambda settings, _: _lines(settings, asked))
    return StreamingResponse(_pieces(request, lines), media_type="application/x-ndjson")


async def _pieces(request: Request, lines: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The lines in pieces of LINES, read in operators' threads."""
    while piece := await house_of(request).pools.for_operator(lambda: b"".join(islice(lines, LINES))):
        yield piece


def _lines(settings: Settings, asked: ExportQuery) -> Iterator[bytes]:
    dead_letters.rooms_named(asked.room)  # checked first: an unknown name is a 404, and not an answer that breaks off
    rows = letter_index.export(settings, asked.room, asked.wanted(), asked.state)
    return (orjson.dumps(row, option=orjson.OPT_UTC_Z) + b"\n" for row in rows)


@router.get(ONE, response_model=ops_replies.LetterShown)
async def show_letter(request: Request, room: str, letter_id: str, caller: Caller = needs("ops:read")) -> Response:
    """One letter in full; the id may be cut short to eight digits."""
    found = await _do(request, lambda settings, _: _details(settings, room, letter_id))
    told = asdict(found)
    contents = letter_index.as_text("value", told.pop("value")) | letter_index.as_text("edit", told.pop("edit"))
    return replies.json(told.pop("letter") | told | contents)


def _details(settings: Settings, room: str, given: str) -> dead_letters.LetterDetails:
    return dead_letters.details(settings, *_resolved(settings, room, given))


def _resolved(settings: Settings, room: str, given: str) -> tuple[str, str]:
    if "/" in given or not given.isprintable():
        raise NoSuchLetter("no such letter")
    dead_letters.rooms_named(room)
    return dead_letters.resolve(settings, given, room)


@router.get("/v1/ops/rooms", response_model=ops_replies.RoomList)
async def rooms(request: Request, caller: Caller = needs("ops:read")) -> Response:
    """Every room, and why it has stopped, if it has."""

    def stops(settings: Settings, _: datetime) -> list[dict[str, object]]:
        found = [(room.name, dead_letters.open_stop(settings, room.name)) for room in CONSUMERS]
        return [{"room": name, "stopped": asdict(stop) if stop else None} for name, stop in found]

    return replies.json({"rooms": await _do(request, stops)})


@router.get("/v1/ops/rooms/{room}/audit", response_model=ops_replies.ActList)
async def audit(
    request: Request, room: str, limit: Annotated[int, Query(ge=1, le=1000)] = 100, caller: Caller = needs("ops:read")
) -> Response:
    """What operators did to a room's letters and stops, newest first; `truncated` where there are more than `limit`."""

    def rows(settings: Settings, _: datetime) -> list[dict[str, Any]]:
        dead_letters.rooms_named(room)
        return dead_letters.audit(settings, room, limit + 1)

    acts = await _do(request, rows)
    return replies.json({"acts": acts[:limit], "truncated": len(acts) > limit})


# ── act ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@router.post("/v1/ops/replays", response_model=ops_replies.Acted | ops_replies.Plan, openapi_extra=takes(ReplayRequest))
async def replay(request: Request, caller: Caller = needs("ops:act")) -> Response:
    """Make dead letters due again. Sent twice it changes nothing more; `left` says how many there still are.

    With `rate` or `stop_on_error` a request ends after 20 s at the latest, or with the letter that it is at: send it again
    while `left` is above 0. `stopped` says what failed again.
    """
    asked = await body_of(request, ReplayRequest)
    by = _by_unless_dry(caller, asked)

    def work(settings: Settings, now: datetime) -> dict[str, object]:
        ids, left = _ids(settings, asked)
        if by is None:
            return {"planned": [asdict(p) for p in dead_letters.plan(settings, asked.room, ids, force=asked.force)]}
        chosen = asked.filter.wanted() if asked.filter else None

        def act(some: Sequence[str]) -> operators.ActResult:
            return operators.replay(settings, asked.room, some, by, now, chosen, asked.force)

        if asked.rate is None and not asked.stop_on_error:
            return _acted(act(ids), left)
        return _paced(settings, asked, ids, left, act)

    long = not asked.dry_run and (asked.rate is not None or asked.stop_on_error)
    return replies.json(await _do(request, work, long=long))


@router.post("/v1/ops/discards", response_model=ops_replies.Acted | ops_replies.Plan, openapi_extra=takes(ActRequest))
async def discard(request: Request, caller: Caller = needs("ops:act")) -> Response:
    """Give dead letters up for good; what waits behind them goes on."""
    asked = await body_of(request, ActRequest)
    by = _by_unless_dry(caller, asked)

    def work(settings: Settings, now: datetime) -> dict[str, object]:
        ids, left = _ids(settings, asked)
        if by is None:
            return {"planned": [asdict(p) for p in dead_letters.plan(settings, asked.room, ids, discards=True)]}
        chosen = asked.filter.wanted() if asked.filter else None
        return _acted(operators.discard(settings, asked.room, ids, by, now, chosen), left)

    return replies.json(await _do(request, work))


def _ids(settings: Settings, asked: ActRequest) -> tuple[list[str], int]:
    """The letters to act on now, and how many more the filter finds."""
    dead_letters.rooms_named(asked.room)
    if (asked.letters is None) == (asked.filter is None):
        raise ActRefused("give either letters or a filter")
    if asked.letters is not None:
        return [_resolved(settings, asked.room, given)[1] for given in asked.letters][: asked.max], 0
    assert asked.filter is not None
    found = dead_letters.matching_ids(settings, asked.room, asked.filter.wanted())
    return found[: asked.max], len(found[asked.max :])


def _paced(
    settings: Settings, asked: ReplayRequest, ids: Sequence[str], left: int, act: pacing.Act
) -> dict[str, object]:
    """Act slice by slice, for PACED_S_MAX at most. Each slice is committed, so a lost answer loses nothing."""
    changed: list[str] = []
    unchanged: dict[str, str] = {}

    def remembered(some: Sequence[str]) -> operators.ActResult:
        acted = act(some)
        changed.extend(acted.changed)
        unchanged.update(acted.unchanged)
        return acted

    if asked.stop_on_error:
        steps = pacing.replay_one_by_one(settings, asked.room, ids, remembered, asked.rate, TRIED_WITHIN_S)
    else:
        steps = pacing.paced(ids, remembered, asked.rate)
    until, stopped = time.monotonic() + PACED_S_MAX, None
    try:
        for _ in steps:
            if time.monotonic() > until:
                break
    except pacing.ReplayFailed as failure:
        stopped = str(failure)
    left += len(ids) - len(changed) - len(unchanged)
    return {"changed": changed, "unchanged": unchanged, "left": left, "stopped": stopped}


def _acted(acted: operators.ActResult, left: int) -> dict[str, object]:
    return {"changed": list(acted.changed), "unchanged": dict(acted.unchanged), "left": left}


@router.put(ONE + "/edit", response_model=ops_replies.Proposed, openapi_extra=takes(EditRequest))
async def edit(request: Request, room: str, letter_id: str, caller: Caller = needs("ops:act")) -> Response:
    """Propose a corrected value. It is tried once the holder of another owner's key has approved its `sha256`."""
    asked = await body_of(request, EditRequest)
    by = _by(caller, asked)

    def work(settings: Settings, now: datetime) -> operators.Edit:
        try:
            value = orjson.dumps(asked.value)
        except orjson.JSONEncodeError as error:  # a number beyond 64 bits
            raise ActRefused(f"the value cannot be stored: {error}") from None
        name, resolved = _resolved(settings, room, letter_id)
        return operators.propose(settings, name, resolved, value, by, now)

    proposed = await _do(request, work)
    return replies.json({"sha256": proposed.sha256, "edited_by": proposed.edited_by, "state": "proposed"})


@router.post(ONE + "/approval", response_model=ops_replies.Approved, openapi_extra=takes(ApproveRequest))
async def approve(request: Request, room: str, letter_id: str, caller: Caller = needs("ops:act")) -> Response:
    """Replay the letter with the edit that another proposed."""
    asked = await body_of(request, ApproveRequest)
    by = _by(caller, asked)

    def work(settings: Settings, now: datetime) -> None:
        name, resolved = _resolved(settings, room, letter_id)
        operators.approve(settings, name, resolved, asked.sha256, by, now)

    await _do(request, work)
    state: Literal["approved"] = "approved"
    return replies.json({"sha256": asked.sha256, "approved_by": by.actor, "state": state})


@router.post("/v1/ops/rooms/{room}/resume", response_model=ops_replies.RoomState, openapi_extra=takes(ResumeRequest))
async def resume(request: Request, room: str, caller: Caller = needs("ops:act")) -> Response:
    """Let a stopped room go on; `stopped` is null where it had not stopped."""
    asked = await body_of(request, ResumeRequest)
    by = _by(caller, asked)

    def work(settings: Settings, _: datetime) -> dead_letters.Stop | None:
        dead_letters.rooms_named(room)
        return operators.resume(settings, room, by, asked.begin)

    lifted = await _do(request, work)
    return replies.json({"room": room, "stopped": asdict(lifted) if lifted else None})

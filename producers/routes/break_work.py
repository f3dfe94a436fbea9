"""What persons do about breaks: keys with `recon:act`, in the name of their owners. Reconciliation decides, and answers
each action in the break's history.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from producers import paging, recon_replies, recon_reports, recon_work, replies
from producers.bodies import REPLAYED, body_of, takes
from producers.doors import break_work
from producers.doors.break_work import ASKED, Asked
from producers.house import House, house_of, needs
from producers.key_ring import Caller
from producers.problems import Problem
from producers.routes.recon import ROOT, walked
from producers.routes.reviews import printable
from schemas.break_work import ITEM_MAX, BreakAction, BreakWorked
from schemas.corrections import ENTRIES_MAX, REASON_MAX, CaseId
from schemas.ids import NewOperationId
from schemas.journals import LedgerEntry
from schemas.money import Money
from schemas.repairs import ITEMS_MAX, NotPossible
from schemas.settlements import Sha256

router = APIRouter(tags=["reconciliation"])

ONE = ROOT + "/breaks/{break_id}/work"
ActionName = Literal[
    "assign", "note", "write-off", "map", "propose", "match", "undo", "resolve", "approve", "reject", "reopen"
]
Text = Annotated[str, Field(min_length=1, max_length=REASON_MAX), AfterValidator(printable)]
Name = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(printable)]
Item = Annotated[str, Field(min_length=1, max_length=ITEM_MAX)]
Account = Annotated[Item, AfterValidator(printable)]


class EntryRequest(BaseModel):
    """One line of a journal."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    account: Account
    direction: Literal["debit", "credit"]
    amount: Money


class BreakWorkRequest(BaseModel):
    """Why, and what for. `operation_id` names this action: the same again is that action. `assignee` is of assign, `account` of
    write-off and map, `items` of these and match and propose (without them: all open items of the break), `expectations` of
    match, `correction_id` of undo, `entries` of propose. `sha256` is of what a dry run has shown; approve needs it.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    operation_id: NewOperationId
    reason: Text
    assignee: Name | None = None
    account: Account | None = None
    items: Annotated[tuple[Item, ...], Field(min_length=1, max_length=ITEMS_MAX)] | None = None
    expectations: Annotated[tuple[Item, ...], Field(min_length=1, max_length=12)] | None = None
    correction_id: CaseId | None = None
    entries: Annotated[tuple[EntryRequest, ...], Field(min_length=2, max_length=ENTRIES_MAX)] | None = None
    sha256: Sha256 | None = None

    def event(self, break_id: str, action: BreakAction, actor: str) -> BreakWorked:
        named = {name: getattr(self, name) for name in type(self).model_fields if name != "entries"}
        entries = (
            None
            if self.entries is None
            else tuple(LedgerEntry(each.account, each.direction, each.amount) for each in self.entries)
        )
        return BreakWorked(subject=break_id, action=action, actor=actor, entries=entries, **named)


BODIES: tuple[type[BaseModel], ...] = (BreakWorkRequest, EntryRequest)


class WorkAsked(BaseModel):
    """`dry_run`: nothing is done; the answer says what would be."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = False


@router.post(
    ONE + "/{action}",
    status_code=202,
    response_model=recon_replies.BreakWork,
    responses=REPLAYED
    | {200: {"model": recon_replies.BreakWorkPreview, "description": "Of a dry run: what would be done."}},
    openapi_extra=takes(BreakWorkRequest),
    operation_id="work_break",
)
async def work(
    request: Request,
    break_id: str,
    action: ActionName,
    asked: Annotated[WorkAsked, Query()],
    caller: Caller = needs("recon:act"),
) -> Response:
    """Assign a break, repair it, or say that nothing is to be done. Above `second_approval_above` of the settings a repair is
    proposed, and another person approves it with its `sha256`. What became of it says `GET …/work/{operation_id}`, soon after.
    """
    wanted = await body_of(request, BreakWorkRequest)
    house = house_of(request)
    if not recon_reports.is_key(break_id) or not await walked(house, recon_work.is_break(break_id)):
        raise Problem("not_found")
    name: BreakAction = action.replace("-", "_")  # type: ignore[assignment]
    event = wanted.event(break_id, name, caller.by)
    if unknown := await walked(house, recon_work.unknown_sellers(event)):
        raise Problem("unknown_seller", f"entries: {unknown[0]} has no wallet")
    if asked.dry_run:
        return await _previewed(house, event)
    done: Asked = await house.command_door.submit(break_work.ask(event))
    headers = {"Location": f"{ROOT}/breaks/{break_id}/work/{event.operation_id}"}
    headers |= {"Idempotent-Replayed": "true"} if done.replayed else {}
    answer = dict(done.row) | await walked(house, recon_work.outcome(event.operation_id))
    return Response(replies.json(answer).body, 202, headers, media_type="application/json")


async def _previewed(house: House, event: BreakWorked) -> Response:
    """Errors: Problem `refused`, with the code that reconciliation would answer."""
    try:
        told = await walked(house, recon_work.preview(event, house.settings.breaks))
    except NotPossible as why:
        raise Problem("refused", str(why)) from None
    return replies.json(told)


@router.get(ONE + "/{operation_id}", response_model=recon_replies.BreakWork, operation_id="show_break_work")
async def shown(request: Request, break_id: str, operation_id: str, caller: Caller = needs("recon:read")) -> Response:
    """What became of an action: `waiting` until reconciliation has decided, then `done`, `proposed`, or `refused` with a code."""
    house = house_of(request)
    rows = await house.doors.rows(ASKED, {"operation_id": paging.storable(operation_id)})
    if not rows or rows[0]["break_id"] != break_id:
        raise Problem("not_found")
    row = {name: rows[0][name] for name in ("operation_id", "break_id", "asked_by", "asked_at")}
    row["action"] = rows[0]["asked"]["action"]
    return replies.json(row | await walked(house, recon_work.outcome(operation_id)))

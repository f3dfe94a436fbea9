"""Reconciliation's and ledger's views → the reports of finance: keys with `recon:read`."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from producers import paging, recon_explained, recon_replies, recon_reports, replies
from producers.house import House, house_of, needs
from producers.key_ring import Caller
from producers.problems import Problem
from producers.recon_reports import Answer, BreaksAsked, Report
from schemas.times import Day
from topics.runtime.shape.clock import Clock

router = APIRouter(tags=["reconciliation"])

ROOT = "/v1/recon"


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DayAsked(_Asked):
    """Without `date`: today. Days are UTC."""

    date: Day | None = None


class SettlementsAsked(_Asked):
    source: paging.Storable | None = None
    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = None


class ClearingAsked(_Asked):
    psp: paging.Storable | None = None


class ExplainAsked(_Asked):
    """A settlement is "<source>/<its reference>", a key 32 hex digits."""

    of: Annotated[paging.Storable, Field(min_length=1, max_length=300)]


class BreaksQuery(_Asked):
    """Which breaks. Without `state`: open ones."""

    state: Literal["open", "closed"] = "open"
    code: paging.Storable | None = None
    psp: paging.Storable | None = None
    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = None


@router.get(ROOT, response_model=recon_replies.ReconDay, operation_id="recon_day")
async def day(request: Request, asked: Annotated[DayAsked, Query()], caller: Caller = needs("recon:read")) -> Response:
    """The day on one screen: files, settlements that do not tie, what is still out, the proof, open breaks."""
    house = house_of(request)
    of = asked.date or Clock(house.settings.clock_file).now().date()
    return replies.json(await answer(house, recon_reports.day(house.settings.settlement_sources, of)))


@router.get(ROOT + "/settlements", response_model=recon_replies.SettlementPage, operation_id="recon_settlements")
async def settlements(
    request: Request, asked: Annotated[SettlementsAsked, Query()], caller: Caller = needs("recon:read")
) -> Response:
    """What PSPs have totalled and banks have stated, newest first: does it tie, is it booked, has the money arrived."""
    house = house_of(request)
    before = None if asked.cursor is None else int(paging.decode(asked.cursor, int)[0])
    found = (await answer(house, recon_reports.settlements(asked.source, before, asked.limit)))["settlements"]
    page = found[: asked.limit]
    told = await answer(house, recon_reports.at_the_bank(page, house.settings.settlement_sources))
    more = paging.encode(page[-1]["settlement_no"]) if len(found) > len(page) else None
    return replies.json(told | {"next_cursor": more})


@router.get(ROOT + "/clearing", response_model=recon_replies.ClearingReport, operation_id="recon_clearing")
async def clearing(
    request: Request, asked: Annotated[ClearingAsked, Query()], caller: Caller = needs("recon:read")
) -> Response:
    """What is still out, by how many days it is late; plus and minus apart."""
    house = house_of(request)
    return replies.json(
        await answer(house, recon_reports.clearing(asked.psp, Clock(house.settings.clock_file).now().date()))
    )


@router.get(ROOT + "/proof", response_model=recon_replies.ProofReport, operation_id="recon_proof")
async def proof(request: Request, caller: Caller = needs("recon:read")) -> Response:
    """The equations: each account's balance, and what facts, files and statements explain of it."""
    house = house_of(request)
    return replies.json(await answer(house, recon_reports.proof(house.settings.settlement_sources)))


@router.get(ROOT + "/breaks", response_model=recon_replies.BreakPage, operation_id="recon_breaks")
async def breaks(
    request: Request, asked: Annotated[BreaksQuery, Query()], caller: Caller = needs("recon:read")
) -> Response:
    """Breaks, newest first."""
    at, id_ = paging.newest_first(asked.cursor)
    report = recon_reports.breaks(
        BreaksAsked(asked.state, asked.code, asked.psp, at if asked.cursor else None, id_, asked.limit)
    )
    found = (await answer(house_of(request), report))["breaks"]
    page, more = paging.cut(found, asked.limit, "opened_at", "break_id")
    return replies.json({"breaks": page, "next_cursor": more})


@router.get(ROOT + "/breaks/{break_id}", response_model=recon_replies.BreakShown, operation_id="recon_break")
async def one_break(request: Request, break_id: str, caller: Caller = needs("recon:read")) -> Response:
    """A break with its items, open ones first, and its history."""
    if not recon_reports.is_key(break_id):
        raise Problem("not_found")
    found = await answer(house_of(request), recon_reports.one_break(break_id))
    if not found:
        raise Problem("not_found")
    return replies.json(found)


@router.get(ROOT + "/explain", response_model=recon_replies.Explained, operation_id="recon_explain")
async def explain(
    request: Request, asked: Annotated[ExplainAsked, Query()], caller: Caller = needs("recon:read")
) -> Response:
    """Of a settlement what it is made of; of an order, pay-out or key what was expected, and each line that has come."""
    house = house_of(request)
    told: Answer = {"settlements": [], "tallies": []}
    if recon_explained.is_settlement(asked.of):
        told |= await answer(house, recon_explained.settlement(asked.of))
    else:
        keys = [asked.of]
        if not recon_reports.is_key(asked.of):
            keys = (await answer(house, recon_explained.calls(asked.of)))["keys"]
        told |= await answer(house, recon_explained.tallies(keys))
    if not told["settlements"] and not told["tallies"]:
        raise Problem("not_found")
    return replies.json(told)


async def answer(house: House, report: Report) -> Answer:
    readers = {"reconciliation": house.reconciliation, "ledger": house.ledger, "executor": house.executor}
    return report.shape(
        {name: await readers[ask.room].rows(ask.statement, ask.values) for name, ask in report.asks.items()}
    )

"""Reconciliation's and ledger's views → the reports of finance: keys with `recon:read`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from producers import (
    paging,
    recon_explained,
    recon_fees,
    recon_lines,
    recon_replies,
    recon_reports,
    recon_suggestions,
    replies,
)
from producers.house import House, house_of, needs
from producers.key_ring import Caller
from producers.problems import Problem
from producers.reading import Reader
from producers.recon_lines import LinesAsked
from producers.recon_reports import Answer, BreaksAsked, Report, Rows
from producers.recon_steps import Ended, Found, Steps, step
from schemas.times import Day
from topics.runtime.shape.clock import Clock

router = APIRouter(tags=["reconciliation"])

ROOT = "/v1/recon"
FEE_LINES_MAX = 1_000_000  # that one request adds up


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
    """A settlement ("<source>/<its reference>"), a line ("<file id>:<record>"), an id of ours, a key (32 hex digits), or the
    reference that a PSP or a bank has given.
    """

    of: Annotated[paging.Storable, Field(min_length=1, max_length=300)]


class LinesQuery(_Asked):
    """Of a settlement, "<source>/<its reference>", or of a file: its id, or at least six digits of its beginning."""

    of: Annotated[paging.Storable, Field(min_length=6, max_length=300)]
    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = None


class FeesAsked(_Asked):
    """`month`: of the lines' value days, "2026-01"."""

    psp: paging.Storable
    month: Annotated[str, Field(pattern=r"^2[0-9]{3}-(0[1-9]|1[0-2])$")]


class BreaksQuery(_Asked):
    """Which breaks. Without `state`: open ones. `mine`: assigned to the key's owner."""

    state: Literal["open", "closed"] = "open"
    code: paging.Storable | None = None
    psp: paging.Storable | None = None
    mine: bool = False
    unassigned: bool = False
    overdue: bool = False
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


@router.get(ROOT + "/sellers", response_model=recon_replies.HeldSellers, operation_id="recon_sellers")
async def sellers(request: Request, caller: Caller = needs("recon:read")) -> Response:
    """Sellers whose pay-outs wait, since wallet and ledger do not agree about them."""
    return replies.json(await answer(house_of(request), recon_reports.held_sellers()))


@router.get(ROOT + "/breaks", response_model=recon_replies.BreakPage, operation_id="recon_breaks")
async def breaks(
    request: Request, asked: Annotated[BreaksQuery, Query()], caller: Caller = needs("recon:read")
) -> Response:
    """Breaks, newest first."""
    at, id_ = paging.newest_first(asked.cursor)
    house = house_of(request)
    before = at if asked.cursor else None
    mine = caller.owner if asked.mine else None
    overdue_at = Clock(house.settings.clock_file).now() if asked.overdue else None
    wanted = BreaksAsked(
        asked.state, asked.code, asked.psp, before, id_, asked.limit, mine, asked.unassigned, overdue_at
    )
    found = (await answer(house, recon_reports.breaks(wanted, house.settings.stuck.breaks)))["breaks"]
    page, more = paging.cut(found, asked.limit, "opened_at", "break_id")
    return replies.json({"breaks": page, "next_cursor": more})


@router.get(ROOT + "/breaks/{break_id}", response_model=recon_replies.BreakShown, operation_id="recon_break")
async def one_break(request: Request, break_id: str, caller: Caller = needs("recon:read")) -> Response:
    """A break with its items, open ones first, its history, what is proposed, and what may be done about it."""
    if not recon_reports.is_key(break_id):
        raise Problem("not_found")
    house = house_of(request)
    found = await answer(house, recon_reports.one_break(break_id, house.settings.stuck.breaks))
    if not found:
        raise Problem("not_found")
    return replies.json(found | {"suggestions": await walked(house, recon_suggestions.suggestions(found))})


@router.get(ROOT + "/explain", response_model=recon_replies.Explained, operation_id="recon_explain")
async def explain(
    request: Request, asked: Annotated[ExplainAsked, Query()], caller: Caller = needs("recon:read")
) -> Response:
    """Of a settlement what it is made of; of an order, refund, dispute, pay-out or key what was expected, and each line that
    has come, down to the bytes of its file.
    """
    house = house_of(request)
    told = await walked(house, recon_explained.explained(asked.of, house.settings.settlement_sources))
    if not any(told.values()):
        raise Problem("not_found")
    return replies.json(told)


@router.get(ROOT + "/lines", response_model=recon_replies.FileLinePage, operation_id="recon_lines")
async def lines(
    request: Request, asked: Annotated[LinesQuery, Query()], caller: Caller = needs("recon:read")
) -> Response:
    """The lines of a settlement or of a file, in the order of files and records."""
    after = (0, 0, 0) if asked.cursor is None else map(int, paging.decode(asked.cursor, int, int, int))
    page = await walked(house_of(request), recon_lines.lines(LinesAsked(asked.of, asked.limit, *after)))
    if not page.known:
        raise Problem("not_found")
    more = None if page.rest is None else paging.encode(*page.rest)
    return replies.json({"lines": page.lines, "next_cursor": more})


@router.get(ROOT + "/fees", response_model=recon_replies.FeeReport, operation_id="recon_fees")
async def fees(
    request: Request, asked: Annotated[FeesAsked, Query()], caller: Caller = needs("recon:read")
) -> Response:
    """What a PSP has charged in a month, part by part, and what the fee schedule lets it charge."""
    return replies.json(await walked(house_of(request), recon_fees.fees(asked.psp, asked.month, FEE_LINES_MAX)))


async def walked(house: House, steps: Steps[Found]) -> Found:
    """What the steps come to. They unpack thousands of lines: beside the event loop."""
    rows: Rows | None = None
    while True:
        asked = await asyncio.to_thread(step, steps, rows)
        if isinstance(asked, Ended):
            found: Found = asked.found
            return found
        rows = await _reader(house, asked.room).rows(asked.statement, asked.values)


def _reader(house: House, room: str) -> Reader:
    reader = getattr(house, room)
    assert isinstance(reader, Reader)
    return reader


async def answer(house: House, report: Report) -> Answer:
    asks = report.asks.items()
    return report.shape({name: await _reader(house, ask.room).rows(ask.statement, ask.values) for name, ask in asks})

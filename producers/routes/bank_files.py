"""Banks' reports about our files → their door; the files as operators see them."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, LiteralString

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from producers import bank_file_replies, paging, replies
from producers.bodies import REPLAYED
from producers.doors import bank_status_files
from producers.doors.bank_status_files import FILE, LINES, Taken, lines_of
from producers.house import House, house_of, needs
from producers.key_ring import Caller
from producers.problems import Problem
from psp.pain002 import BYTES_MAX

router = APIRouter(tags=["operators"])

ROOT = "/v1/ops/bank-files"
TOO_LARGE = "A status file has at most 10 MB."
_XML = {
    "requestBody": {
        "required": True,
        "content": {"application/xml": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_FILES: LiteralString = (
    "SELECT file_id, provider, bank_account, currency, cut_off, transactions, total_minor, state, code, sha256, bytes,"
    " closed_at, changed_at FROM bank_file_view"
)
_COUNTS: LiteralString = (
    "SELECT file_id, state, count(*) AS lines FROM bank_file_line_view WHERE file_id = ANY(%s) GROUP BY file_id, state"
)
_PAGE: LiteralString = (
    "SELECT position, call_id, payout_id, amount_minor, currency, state, code FROM bank_file_line_view"
    " WHERE file_id = %s AND position > %s ORDER BY position LIMIT %s"
)
_REPORTS: LiteralString = (
    "SELECT sha256, group_status, lines, matched, odd, stored_by, received_at FROM bank_status_file_view"
    " WHERE file_id = %s ORDER BY received_at, sha256"
)


class BankFiles(BaseModel):
    """Which files. Without `state`: all."""

    model_config = ConfigDict(extra="forbid")

    state: bank_file_replies.FileState | None = None
    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = None


class BankFileLines(BaseModel):
    """Which lines of a file."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=100, ge=1, le=500)
    after: int = Field(default=0, ge=0)  # a position


@router.post(
    "/v1/bank-status-files/{provider}",
    status_code=202,
    response_model=bank_file_replies.StatusFileTaken,
    responses=REPLAYED,
    openapi_extra=_XML,
    operation_id="store_bank_status_file",
)
async def store(request: Request, provider: str, caller: Caller = needs("recon:write")) -> Response:
    """What a bank tells of a file of ours: ISO 20022 pain.002, up to 10 MB. `matched` lines are told on; `unknown` ones are
    kept and move nothing. The same bytes again answer the same, with `Idempotent-Replayed: true`.
    """
    house = house_of(request)
    with house.pools.upload_place():
        taken = await take(house, provider, await _body(request), caller.by)
    headers = {"Idempotent-Replayed": "true"} if taken.replayed else {}
    body = replies.json({"file_id": taken.file_id, "matched": taken.matched, "unknown": taken.unknown}).body
    return Response(body, 202, headers, media_type="application/json")


async def take(house: House, provider: str, body: bytes, by: str) -> Taken:
    """Errors: Problem `not_found`, `invalid_xml`, `unknown_file`, `wrong_provider`, or that the store is away."""
    if provider not in house.settings.bank_accounts:
        raise Problem("not_found", "TALLY_PAYOUT_PROVIDERS has no such bank.")
    report = await house.pools.for_upload(partial(bank_status_files.read, provider, body))
    file = bank_status_files.check_file(report, await house.executor.rows(FILE, [report.told.message_id]))
    lines = lines_of(file, await house.executor.rows(LINES, [file["file_id"]]))
    command = await house.pools.for_upload(partial(bank_status_files.store, report, file, lines, by))
    taken: Taken = await house.command_door.submit(command)
    return taken


async def _body(request: Request) -> bytes:
    """Errors: Problem `file_too_large`."""
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > BYTES_MAX:
        raise Problem("file_too_large", TOO_LARGE, headers=[(b"connection", b"close")])
    body = bytearray()
    try:
        async for data in request.stream():
            body += data
            if len(body) > BYTES_MAX:
                raise Problem("file_too_large", TOO_LARGE, headers=[(b"connection", b"close")])
    except ClientDisconnect:
        raise Problem("invalid_request", "The body ended early.") from None
    return bytes(body)


@router.get(ROOT, response_model=bank_file_replies.BankFilePage, operation_id="list_bank_files")
async def list_files(
    request: Request, asked: Annotated[BankFiles, Query()], caller: Caller = needs("ops:read")
) -> Response:
    """Files for banks, newest first, with how many of their lines are in which state."""
    house = house_of(request)
    at, file_id = paging.newest_first(asked.cursor)
    rows = await house.executor.rows(
        _page(asked), {"state": asked.state, "at": at, "id": file_id, "limit": asked.limit + 1}
    )
    page, more = paging.cut(rows, asked.limit, "closed_at", "file_id")
    return replies.json({"files": await _with_counts(house, page), "next_cursor": more})


def _page(asked: BankFiles) -> LiteralString:
    wanted = _FILES + " WHERE (closed_at, file_id) < (%(at)s, %(id)s)"
    if asked.state is not None:
        wanted += " AND state = %(state)s"
    return wanted + " ORDER BY closed_at DESC, file_id DESC LIMIT %(limit)s"


@router.get(ROOT + "/{file_id}", response_model=bank_file_replies.BankFileShown, operation_id="show_bank_file")
async def show_file(
    request: Request, file_id: str, asked: Annotated[BankFileLines, Query()], caller: Caller = needs("ops:read")
) -> Response:
    """One file, its lines from a position on, and what the bank has told of it."""
    house = house_of(request)
    rows = await house.executor.rows(_FILES + " WHERE file_id = %s", [paging.storable(file_id)])
    if not rows:
        raise Problem("not_found")
    [shown] = await _with_counts(house, rows)
    lines = await house.executor.rows(_PAGE, [file_id, asked.after, asked.limit])
    reports = await house.doors.rows(_REPORTS, [file_id])
    return replies.json(shown | {"lines": [bank_file_replies.line(row) for row in lines], "reports": reports})


async def _with_counts(house: House, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    counts = await house.executor.rows(_COUNTS, [[row["file_id"] for row in rows]])
    return [bank_file_replies.file(row, counts) for row in rows]

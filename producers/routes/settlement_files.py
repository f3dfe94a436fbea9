"""The bytes of settlement files and bank statements → the doors' store; the list of these files. Keys with `recon:…`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Annotated, Any, LiteralString

import psycopg
from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from producers import paging, recon_replies, replies
from producers.bodies import REPLAYED, body_of, takes
from producers.doors import settlement_decisions as decisions
from producers.doors import settlement_files
from producers.doors.commands import Command
from producers.doors.settlement_decisions import DECISIONS, Decided, FileState
from producers.doors.settlement_files import SELECT, STATES, StoredFile, file_name, pairs, shown, source_of
from producers.doors.uploads import FILE_MAX, Upload, UploadedBytes
from producers.house import House, house_of, needs
from producers.key_ring import Caller
from producers.problems import RETRY_SOON, Problem
from producers.reading import Row
from producers.routes.reviews import REASON_MAX, printable
from producers.stored_files import ROOT
from topics.runtime.shape.store import error_kind

router = APIRouter(tags=["reconciliation"])

ONE = ROOT + "/{source}/{file_id}"
FED = 1 << 18  # bytes handed to a thread at once
Decide = Callable[[FileState, str, str], Command[Decided]]
_STORED_BEFORE: dict[int | str, dict[str, Any]] = {
    200: {
        "model": recon_replies.SettlementFile,
        "description": "The source has this file already: nothing is new.",
        "headers": {"Idempotent-Replayed": {"schema": {"type": "string", "enum": ["true"]}}},
    }
}
_BYTES = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class FileName(BaseModel):
    """How the sender calls the file; formats are found out by it too."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[paging.Storable, Field(max_length=1000)] = ""


class Files(BaseModel):
    """Which files. Without `source`: of all."""

    model_config = ConfigDict(extra="forbid")

    source: paging.Storable | None = None
    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = None


class FileDecisionRequest(BaseModel):
    """Why a file is released or discarded; the reason is kept for ever."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    reason: Annotated[str, Field(min_length=1, max_length=REASON_MAX), AfterValidator(printable)]


BODIES: tuple[type[BaseModel], ...] = (FileDecisionRequest,)


@router.post(
    ROOT + "/{source}",
    status_code=202,
    response_model=recon_replies.SettlementFile,
    responses=_STORED_BEFORE,
    openapi_extra=_BYTES,
    operation_id="store_settlement_file",
)
async def store(
    request: Request, source: str, asked: Annotated[FileName, Query()], caller: Caller = needs("recon:write")
) -> Response:
    """Store a file as it is, up to 2 GiB; with `Content-Encoding: gzip` it is unpacked. The same bytes for the same source
    answer 200 with `Idempotent-Replayed: true`. What is wrong inside a file is said later, by its state.
    """
    house = house_of(request)
    source_of(house.settings, source)
    packed = _is_packed(request.headers)
    with house.pools.upload_place():
        stored = await _take(house, request.stream(), packed, source, file_name(asked.name, packed=packed), caller.by)
    headers = {"Location": f"{ROOT}/{source}/{stored.row['file_id']}"}
    headers |= {"Idempotent-Replayed": "true"} if stored.replayed else {}
    status = 200 if stored.replayed else 202
    return Response(
        replies.json(await _with_state(house, stored.row)).body, status, headers, media_type="application/json"
    )


async def _take(house: House, body: AsyncIterator[bytes], packed: bool, source: str, name: str, by: str) -> StoredFile:
    try:
        upload = await house.pools.for_upload(partial(Upload, house.settings, packed=packed))
        try:
            uploaded = await _received(house, upload, body)
            stored: StoredFile = await house.command_door.submit(settlement_files.store(source, name, uploaded, by))
            return stored
        finally:
            await house.pools.for_upload(upload.close)
    except psycopg.Error as error:
        if error_kind(error) != "away":
            raise
        raise Problem("unavailable", headers=RETRY_SOON) from error
    except ClientDisconnect:
        raise Problem("invalid_request", "The body ended early.") from None


async def _received(house: House, upload: Upload, body: AsyncIterator[bytes]) -> UploadedBytes:
    """Hashing, unpacking and storing run in a thread, so that payments are answered meanwhile."""
    waiting = bytearray()
    async for data in body:
        waiting += data
        if len(waiting) >= FED:
            await house.pools.for_upload(partial(upload.feed, bytes(waiting)))
            waiting.clear()
    await house.pools.for_upload(partial(upload.feed, bytes(waiting)))
    return await house.pools.for_upload(upload.finish)


def _is_packed(headers: Mapping[str, str]) -> bool:
    """Errors: Problem, before a byte of the body is read."""
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > FILE_MAX:
        raise Problem("file_too_large", headers=[(b"connection", b"close")])
    if headers.get("content-type", "").lower().startswith("multipart/"):
        raise Problem("wrong_encoding", "Send the bytes of the file as the body, not a form.")
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise Problem("wrong_encoding")
    return encoding == "gzip"


@router.get(ROOT, response_model=recon_replies.SettlementFilePage, operation_id="list_settlement_files")
async def list_files(
    request: Request, asked: Annotated[Files, Query()], caller: Caller = needs("recon:read")
) -> Response:
    """Files, newest first."""
    at, file_id = paging.newest_first(asked.cursor)
    house = house_of(request)
    rows = await house.doors.rows(
        _page(asked), {"source": asked.source, "at": at, "id": file_id, "limit": asked.limit + 1}
    )
    page, more = paging.cut(rows, asked.limit, "received_at", "file_id")
    states = await house.reconciliation.rows(STATES, pairs(page))
    return replies.json({"files": shown(page, states), "next_cursor": more})


def _page(asked: Files) -> LiteralString:
    wanted = SELECT + " WHERE (received_at, file_id) < (%(at)s, %(id)s)"
    if asked.source is not None:
        wanted += " AND source = %(source)s"
    return wanted + " ORDER BY received_at DESC, file_id DESC LIMIT %(limit)s"


@router.get(ONE, response_model=recon_replies.SettlementFileShown, operation_id="show_settlement_file")
async def show_file(request: Request, source: str, file_id: str, caller: Caller = needs("recon:read")) -> Response:
    """One file of a source, and what persons have decided about it."""
    house = house_of(request)
    row = await _stored(house, source, file_id)
    decided = await house.doors.rows(DECISIONS, [source, file_id])
    return replies.json(await _with_state(house, row) | {"decisions": decided})


@router.post(
    ONE + "/release",
    status_code=202,
    response_model=recon_replies.FileDecision,
    responses=REPLAYED,
    openapi_extra=takes(FileDecisionRequest),
    operation_id="release_settlement_file",
)
async def release(request: Request, source: str, file_id: str, caller: Caller = needs("recon:write")) -> Response:
    """Let a file pass that the gate or the brake holds. One person proposes it by this request, another one releases it by
    the same.
    """
    return await _decide(request, source, file_id, decisions.release, caller)


@router.post(
    ONE + "/discard",
    status_code=202,
    response_model=recon_replies.FileDecision,
    responses=REPLAYED,
    openapi_extra=takes(FileDecisionRequest),
    operation_id="discard_settlement_file",
)
async def discard(request: Request, source: str, file_id: str, caller: Caller = needs("recon:write")) -> Response:
    """Say that nothing of a file counts: of one that the gate or the brake holds at once; of one that is folded, one person
    proposes it and another one does the same. What was booked of it is taken back; its bytes are kept.
    """
    return await _decide(request, source, file_id, decisions.discard, caller)


async def _decide(request: Request, source: str, file_id: str, decide: Decide, caller: Caller) -> Response:
    wanted = await body_of(request, FileDecisionRequest)
    house = house_of(request)
    await _stored(house, source, file_id)
    states = await house.reconciliation.rows(STATES, [[source], [file_id]])
    command = decide(FileState.of(source, file_id, states), caller.by, wanted.reason)
    decided: Decided = await house.command_door.submit(command)
    headers = {"Idempotent-Replayed": "true"} if decided.replayed else {}
    return Response(replies.json(decided.row).body, 202, headers, media_type="application/json")


async def _stored(house: House, source: str, file_id: str) -> Row:
    """Errors: Problem `not_found`."""
    rows = await house.doors.rows(
        SELECT + " WHERE source = %s AND file_id = %s", [paging.storable(source), paging.storable(file_id)]
    )
    if not rows:
        raise Problem("not_found")
    return rows[0]


async def _with_state(house: House, row: Mapping[str, Any]) -> dict[str, Any]:
    [one] = shown([row], await house.reconciliation.rows(STATES, pairs([row])))
    return one

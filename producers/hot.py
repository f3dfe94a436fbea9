"""Frequent POSTs, directly on ASGI: body → pydantic model → door → 202.

FastAPI's handling of bodies costs several times more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from producers.bodies import REPLAYED, check_type, parsed, read_body, refuse_others, takes
from producers.doors.submission import Answer, Submission
from producers.house import House, needs
from producers.key_ring import Caller
from producers.problems import Problem

Scope = dict[str, Any]
Receive = Any
Send = Any
Reply = tuple[int, list[tuple[bytes, bytes]], bytes]

Body = TypeVar("Body", bound=BaseModel)

DECIDING = (
    b"authorization",
    b"idempotency-key",
    b"content-type",
)  # headers that decide what is done, and for which owner
BLANKS = b" \t"


@dataclass(frozen=True, slots=True, kw_only=True)
class HotRoute(Generic[Body]):
    """One such POST. Its path has no parameters, so that it is found in a dict."""

    path: str
    scope: str  # that the caller's key needs
    body: type[Body]
    # caller, body, Idempotency-Key, traceparent → what the door takes
    make: Callable[[Caller, Body, str | None, str], Submission[Any]]
    reply: type[BaseModel]
    tag: str
    operation_id: str
    summary: str
    description: str
    key_meaning: str = ""  # what the Idempotency-Key means here, for the description; empty: it means nothing
    check: Callable[[House, Caller, Any], Awaitable[None]] | None = None  # before the door. Errors: Problem

    async def take(self, house: House, scope: Scope, receive: Receive) -> Reply:
        """Take a request. Errors: Problem; nothing is stored then."""
        if scope["query_string"]:
            refuse_others(scope["query_string"], {})
        headers = each_once(scope["headers"])
        caller = await house.ring.caller(headers.get(b"authorization", b""), self.scope)
        idempotency_key = _idempotency_key(headers.get(b"idempotency-key")) if self.key_meaning else None
        body = await read_body(receive, headers.get(b"content-length"))
        check_type(headers.get(b"content-type", b""))
        traceparent = headers.get(b"traceparent", b"").decode("latin-1")
        asked = self.make(caller, parsed(self.body, body), idempotency_key, traceparent)
        if self.check is not None:
            await self.check(house, caller, asked)
        answer: Answer = await house.door.submit(asked)
        return 202, _headers(asked.location, answer), answer.reply

    def describe(self, router: APIRouter) -> None:
        """Add the route to FastAPI for the description. FastAPI never answers it."""
        router.add_api_route(
            self.path,
            _answered_before,
            methods=["POST"],
            status_code=202,
            response_model=self.reply,
            tags=[self.tag],
            summary=self.summary,
            operation_id=self.operation_id,
            description=self.description,
            dependencies=[needs(self.scope)],
            openapi_extra=self._extra() if self.key_meaning else takes(self.body),
            responses=REPLAYED,
        )

    def _extra(self) -> dict[str, Any]:
        schema = {"$ref": f"#/components/schemas/{self.body.__name__}"}
        key = {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": self.key_meaning,
            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        }
        return {
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
            "parameters": [key],
        }


def described(routes: Iterable[HotRoute[Any]]) -> APIRouter:
    """The routes for FastAPI's description."""
    router = APIRouter()
    for route in routes:
        route.describe(router)
    return router


async def _answered_before(request: Request) -> Response:
    raise AssertionError("a hot route is answered before FastAPI")


def each_once(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers by name, without blanks around their values (RFC 9110, 5.5).

    Errors: Problem `repeated_header` for a header of DECIDING that is given twice.
    """
    found = {name: value.strip(BLANKS) for name, value in headers}
    if len(found) < len(headers):
        names = [name for name, _ in headers]
        for name in DECIDING:
            if names.count(name) > 1:
                raise Problem("repeated_header", f"{name.decode()}: this header stands twice")
    return found


def _headers(location: str, answer: Answer) -> list[tuple[bytes, bytes]]:
    headers = [(b"content-type", b"application/json"), (b"location", location.encode())]
    return [*headers, (b"idempotent-replayed", b"true")] if answer.replayed else headers


def _idempotency_key(raw: bytes | None) -> str | None:
    if raw is None:
        return None
    if not 1 <= len(raw) <= 255 or not all(32 <= byte <= 126 for byte in raw):
        raise Problem("invalid_idempotency_key")
    return raw.decode("ascii")

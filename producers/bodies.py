"""A request's body → a pydantic model, or a Problem, for all routes that take JSON; and its query, for all routes."""

from __future__ import annotations

from collections import Counter
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel, ValidationError

from producers.problems import Problem, broken
from schemas.requests import BODY_MAX, FieldError, field_errors, repeated_field, shown

DRAINED_MAX = 8 * 1024 * 1024  # bytes that are read and dropped, so that the caller gets the 413 and not a reset
Model = TypeVar("Model", bound=BaseModel)

# For the description of a route: its answer to a request that was taken before.
REPLAYED: dict[int | str, dict[str, Any]] = {
    202: {"headers": {"Idempotent-Replayed": {"schema": {"type": "string", "enum": ["true"]}}}}
}


def takes(model: type[BaseModel]) -> dict[str, Any]:
    """For the description of a route: its body, which the route reads by itself."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def body_of(request: Request, model: type[Model]) -> Model:
    """The request's JSON as this model. Errors: Problem that names the fields at fault."""
    return parsed(model, await json_bytes(request))


async def json_bytes(request: Request) -> bytes:
    """The body, which is JSON by its type. Errors: Problem."""
    length = request.headers.get("content-length")
    body = await read_body(request.receive, length.encode() if length else None)
    check_type(request.headers.get("content-type", "").encode())
    return body


def parsed(model: type[Model], body: bytes) -> Model:
    """The body as this model. Errors: Problem that names the fields at fault."""
    try:
        asked = model.model_validate_json(body)
    except ValidationError as error:
        raise broken(field_errors(error, body)) from None
    if repeated := repeated_field(body):
        raise broken([repeated])
    return asked


def check_type(content_type: bytes) -> None:
    media, _, parameters = content_type.lower().partition(b";")
    charset = parameters.replace(b" ", b"").replace(b'"', b"")
    if media.strip() != b"application/json" or charset not in (b"", b"charset=utf-8"):
        raise Problem("unsupported_media_type")


async def read_body(receive: Any, length: bytes | None) -> bytes:
    """The body, up to BODY_MAX. Errors: Problem `body_too_large`, after draining what can be drained."""
    if length is not None and (not length.isdigit() or int(length) > DRAINED_MAX):
        raise Problem("body_too_large", headers=[(b"connection", b"close")])
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return _fitting(body)
    chunks, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        size += len(message.get("body", b""))
        if size > DRAINED_MAX:
            raise Problem("body_too_large", headers=[(b"connection", b"close")])
        if size <= BODY_MAX:
            chunks.append(message.get("body", b""))
    if message["type"] == "http.disconnect":
        raise Problem("invalid_json", "The body ended early.")
    if size > BODY_MAX:
        raise Problem("body_too_large")
    return b"".join(chunks)


def _fitting(body: bytes) -> bytes:
    if len(body) > BODY_MAX:
        raise Problem("body_too_large")
    return body


def refuse_others(query: bytes, known: dict[str, bool]) -> None:
    """Errors: Problem `invalid_parameter`, if a parameter is not known, or repeated though it has one value."""
    given = Counter(name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    for name, count in given.items():
        if name not in known:
            raise _invalid(name, "there is no such parameter")
        if count > 1 and not known[name]:
            raise _invalid(name, "this parameter is given twice")


def _invalid(name: str, why: str) -> Problem:
    error = FieldError(shown(name), "invalid_parameter", why)
    return Problem("invalid_parameter", f"{error.field}: {why}", [error])

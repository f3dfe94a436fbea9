"""POST /v1/payments, straight on ASGI: body → contract → claim → 202. FastAPI's body machinery costs several times more."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from producers.claims import Answer, Asked
from producers.house import House
from producers.problems import Problem, broken
from schemas.requests import PaymentRequest, field_errors, repeated_field

Scope = dict[str, Any]
Receive = Any
Send = Any
Reply = tuple[int, list[tuple[bytes, bytes]], bytes]

BODY_MAX = 256 * 1024
DRAINED_MAX = 8 * 1024 * 1024  # read and thrown away, so that the caller hears the 413 and not a reset


async def take_payment(house: House, scope: Scope, receive: Receive) -> Reply:
    """Errors: Problem. Nothing is stored then."""
    headers = dict(scope["headers"])
    caller = await house.ring.caller(headers.get(b"authorization", b""), "payments:write")
    idempotency_key = _idempotency_key(headers.get(b"idempotency-key"))
    body = await read_body(receive, headers.get(b"content-length"))
    check_type(headers.get(b"content-type", b""))
    asked = Asked(caller.owner, _contract(body), idempotency_key, headers.get(b"traceparent", b"").decode("latin-1"))
    answer = await house.intake.submit(asked)
    return 202, _headers(asked, answer), answer.reply


def _contract(body: bytes) -> PaymentRequest:
    try:
        request = PaymentRequest.model_validate_json(body)
    except ValidationError as error:
        raise broken(field_errors(error, body)) from None
    if repeated := repeated_field(body):
        raise broken([repeated])
    return request


def _headers(asked: Asked, answer: Answer) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"content-type", b"application/json"),
        (b"location", f"/v1/payments/{asked.checkout_id}".encode()),
    ]
    return [*headers, (b"idempotent-replayed", b"true")] if answer.replayed else headers


def _idempotency_key(raw: bytes | None) -> str | None:
    if raw is None:
        return None
    if not 1 <= len(raw) <= 255 or not all(32 <= byte <= 126 for byte in raw):
        raise Problem("invalid_idempotency_key")
    return raw.decode("ascii")


def check_type(content_type: bytes) -> None:
    media, _, parameters = content_type.lower().partition(b";")
    charset = parameters.replace(b" ", b"").replace(b'"', b"")
    if media.strip() != b"application/json" or charset not in (b"", b"charset=utf-8"):
        raise Problem("unsupported_media_type")


async def read_body(receive: Receive, length: bytes | None) -> bytes:
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

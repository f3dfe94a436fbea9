"""POST /v1/payments, straight on ASGI: body → contract → claim → 202. FastAPI's body machinery costs several times more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from producers.bodies import parsed
from producers.doors.payments import Answer, Asked
from producers.house import House
from producers.problems import Problem
from schemas.requests import BODY_MAX, PaymentRequest

Scope = dict[str, Any]
Receive = Any
Send = Any
Reply = tuple[int, list[tuple[bytes, bytes]], bytes]

DECIDING = (b"authorization", b"idempotency-key", b"content-type")  # on these it hangs what is done, and in whose name
BLANKS = b" \t"
DRAINED_MAX = 8 * 1024 * 1024  # read and thrown away, so that the caller hears the 413 and not a reset


async def take_payment(house: House, scope: Scope, receive: Receive) -> Reply:
    """Errors: Problem. Nothing is stored then."""
    headers = each_once(scope["headers"])
    caller = await house.ring.caller(headers.get(b"authorization", b""), "payments:write")
    idempotency_key = _idempotency_key(headers.get(b"idempotency-key"))
    body = await read_body(receive, headers.get(b"content-length"))
    check_type(headers.get(b"content-type", b""))
    asked = Asked(
        caller.owner, parsed(PaymentRequest, body), idempotency_key, headers.get(b"traceparent", b"").decode("latin-1")
    )
    answer = await house.intake.submit(asked)
    return 202, _headers(asked, answer), answer.reply


def each_once(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers by name, without the blanks around their values, which are not theirs (RFC 9110, 5.5).

    Errors: Problem `repeated_header` where two of a name could be read as either.
    """
    found = {name: value.strip(BLANKS) for name, value in headers}
    if len(found) < len(headers):
        names = [name for name, _ in headers]
        for name in DECIDING:
            if names.count(name) > 1:
                raise Problem("repeated_header", f"{name.decode()}: this header stands twice")
    return found


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

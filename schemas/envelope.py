"""CloudEvents 1.0, binary mode: an event ⇄ the headers and value of a Kafka record."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple, NewType

from schemas.events import AnyEvent

EventId = NewType("EventId", str)  # a UUID in its canonical text form; our own are version 8
Headers = tuple[tuple[str, bytes], ...]

TYPE_PREFIX = "tallystick."
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})\Z")


class Envelope(NamedTuple):
    """The metadata of an event."""

    id: EventId
    source: str
    type: str
    time: datetime
    revision: int = 0
    traceparent: str | None = None


@lru_cache(maxsize=256)
def event_type(event: type[AnyEvent]) -> str:
    """`tallystick.PaymentCaptured.v1`."""
    return f"{TYPE_PREFIX}{event.__name__}.v{event.version}"


def is_event_id(text: str) -> bool:
    return _UUID.match(text) is not None


def digest(*parts: bytes, key: bytes = b"") -> str:
    """A hash of 16 bytes over length-prefixed parts, in a UUID's text form. With a key the parts cannot be guessed from it."""
    hashed = blake2b(digest_size=16, key=key)
    for part in parts:
        hashed.update(len(part).to_bytes(4, "big"))
        hashed.update(part)
    digits = hashed.hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def charge_call_id(payment_order_id: str, attempt_no: int) -> str:
    """32 hex digits: the idempotency key and our reference at the PSP. Derived, so that a repeated decision repeats it, and an
    order's charges are found without a list of all calls."""
    return digest(b"charge", payment_order_id.encode(), b"%d" % attempt_no).replace("-", "")


_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}  # the two bits that RFC 9562 fixes


def derive_id(cause: str, by: str, position: int, time_ms: int) -> EventId:
    """The id of the event that `by` publishes because of `cause`: UUIDv8 (RFC 9562, 5.8), time first.

    `time_ms` is the time of the record that entered first. The same arguments always give the same id.
    """
    digits = blake2b(f"{cause}|{by}|{position}".encode(), digest_size=16).hexdigest()
    time = f"{time_ms & 0xFFFFFFFFFFFF:012x}"
    return EventId(f"{time[:8]}-{time[8:]}-8{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:]}")


def as_version_8(text: str) -> EventId:
    """A digest as an event's id, with the bits that RFC 9562 fixes."""
    return EventId(f"{text[:14]}8{text[15:19]}{_VARIANT[text[19]]}{text[20:]}")


def time_ms_of(event_id: str) -> int:
    """The time in one of our own ids, milliseconds since 1970."""
    return int(event_id[:8] + event_id[9:13], 16)


def trace_of(traceparent: str | None, cause: str) -> tuple[str, str]:
    """→ the trace's id and its flags

    Without a valid traceparent a new trace has the cause's id, so that a repeated decision repeats it.
    """
    match = _TRACEPARENT.match(traceparent) if traceparent else None
    return (match[1], match[2]) if match else (cause.replace("-", ""), "01")


def child_trace(traceparent: str | None, event_id: str, cause: str) -> str:
    """A traceparent of the same trace with this event as the parent (W3C Trace Context)."""
    trace, flags = trace_of(traceparent, cause)
    return f"00-{trace}-{event_id[19:23]}{event_id[24:]}-{flags}"


def record_headers(envelope: Envelope) -> list[tuple[str, bytes]]:
    """The headers of the record, with the prefix `ce_` of the Kafka protocol binding."""
    headers = [
        *_constant_headers(envelope.source, envelope.type),
        ("ce_id", envelope.id.encode()),
        ("ce_time", _time(envelope.time)),
        ("ce_revision", b"%d" % envelope.revision),
    ]
    if envelope.traceparent:
        headers.append(("traceparent", envelope.traceparent.encode()))
    return headers


@lru_cache(maxsize=256)
def _constant_headers(source: str, kind: str) -> tuple[tuple[str, bytes], ...]:
    return (
        ("ce_specversion", b"1.0"),
        ("ce_source", source.encode()),
        ("ce_type", kind.encode()),
        ("content-type", b"application/json"),
    )


@lru_cache(maxsize=4)
def _time(time: datetime) -> bytes:
    """The time as text, cached: all events of a batch have one time."""
    return time.isoformat().encode()


def header(headers: Sequence[tuple[str, bytes]], name: str) -> str | None:
    """One header as text; None where it is missing or not UTF-8."""
    for key, value in headers:
        if key == name:
            try:
                return value.decode()
            except (UnicodeDecodeError, AttributeError):
                return None
    return None


def utc(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)

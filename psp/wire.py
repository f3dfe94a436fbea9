"""A PSP's bytes → strict models, safe texts, Retry-After: shared by the adapters. Nothing here raises."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from psp.port import Declined, NothingHappened, SendReply, Unknown
from schemas.requests import repeated_field
from schemas.urls import page_fault

RETRY_AFTER_S_MAX = 86_400.0
_REFERENCE = re.compile(r"[A-Za-z0-9._~:-]{1,128}")
_CODE = re.compile(r"[A-Za-z0-9._-]{1,64}")

REJECTED = "psp_rejected_request"
UNSPECIFIED = "unspecified"


class Wire(BaseModel):
    """A model of a PSP's JSON. The PSP may add fields; the fields here must be present, with exactly these types."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", cache_strings="keys")


W = TypeVar("W", bound=Wire)


def parsed(model: type[W], body: bytes) -> W | None:
    """The body as this model; None if it does not fit, or repeats a name in one object."""
    try:
        told = model.model_validate_json(body)
    except ValidationError:
        return None
    return None if repeated_field(body) else told


def is_reference(text: str) -> bool:
    """Whether a PSP's id can be stored and shown."""
    return _REFERENCE.fullmatch(text) is not None


def is_page(url: str) -> bool:
    """Whether a buyer's browser may be sent to a PSP's URL."""
    return page_fault(url, fragment_allowed=True) is None


def decline_code(text: str | None) -> str:
    """The code of a decline; `unspecified` if the PSP's cannot be stored."""
    return text if text and _CODE.fullmatch(text) else UNSPECIFIED


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds, at most a day; None if absent or invalid (RFC 9110, 10.2.3).

    A date is counted from the answer's own Date header, by the PSP's clock.
    """
    sent = {name.lower(): value.strip() for name, value in headers.items()}
    text = sent.get("retry-after", "")
    seconds = _number(text)
    if seconds is None:
        seconds = _seconds_between(sent.get("date", ""), text)
    return None if seconds is None else min(max(seconds, 0.0), RETRY_AFTER_S_MAX)


def _number(text: str) -> float | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return float(number) if number.is_finite() and number >= 0 else None


def _seconds_between(start: str, end: str) -> float | None:
    try:
        return (parsedate_to_datetime(end) - parsedate_to_datetime(start)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None


def unanswered(status: int, headers: Mapping[str, str]) -> Unknown:
    """The reply for an answer to a question other than 200: it says nothing about the operation."""
    return Unknown("rate_limited" if status == 429 else f"http_{status}", retry_after_s(headers))


def refused(status: int, headers: Mapping[str, str], problem: str | None) -> SendReply:
    """The reply for an answer to a send other than 200. `problem` is the PSP's error code, None if the body is not the PSP's.

    A status alone proves nothing, except 429: a proxy may answer with any other after the PSP has acted.
    """
    if status == 429:
        return NothingHappened("rate_limited", retry_after_s(headers))
    match status, problem:
        case 503, "not_processed":
            return NothingHappened("unavailable", retry_after_s(headers))
        case ((401 | 403), "unauthorised"):
            return NothingHappened("unauthorised")
        case ((400 | 422), "invalid"):
            return Declined(REJECTED)
        case _, "key_conflict" if 400 <= status < 500:
            return Unknown("key_conflict")
    return Unknown(f"http_{status}")

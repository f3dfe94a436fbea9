"""What the adapters share in reading replies: strict shapes, safe text, Retry-After. Nothing here raises."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from psp.port import Declined, NothingHappened, SendReply, Unknown
from schemas.requests import repeated_field

RETRY_AFTER_S_MAX = 86_400.0
_REFERENCE = re.compile(r"[A-Za-z0-9._~:-]{1,128}")
_CODE = re.compile(r"[A-Za-z0-9._-]{1,64}")

REJECTED = "psp_rejected_request"
UNSPECIFIED = "unspecified"


class Wire(BaseModel):
    """A PSP may add fields; those that we read must be there, of exactly the type that it promised."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", cache_strings="keys")


W = TypeVar("W", bound=Wire)


def parsed(model: type[W], body: bytes) -> W | None:
    """The body as that shape, or None where it is anything else; what says a thing twice says nothing."""
    try:
        told = model.model_validate_json(body)
    except ValidationError:
        return None
    return None if repeated_field(body) else told


def is_reference(text: str) -> bool:
    """Whether a PSP's id is one that we can keep and show."""
    return _REFERENCE.fullmatch(text) is not None


def decline_code(text: str | None) -> str:
    """A decline is a decline whatever its code: what we cannot keep becomes `unspecified`."""
    return text if text and _CODE.fullmatch(text) else UNSPECIFIED


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Retry-After, seconds or a date, in seconds, at most a day; None where it is absent or nonsense (RFC 9110, 10.2.3).

    A date is counted from the answer's own Date: their clock, whatever ours says.
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
    """A question's answer other than 200: it says nothing about the operation."""
    return Unknown("rate_limited" if status == 429 else f"http_{status}", retry_after_s(headers))


def refused(status: int, headers: Mapping[str, str], problem: str | None) -> SendReply:
    """A send's answer other than 200. `problem` is the PSP's own word for it, None where the body is not its own.

    A status alone proves nothing except 429: a proxy in between can make up any of them after the PSP has acted.
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

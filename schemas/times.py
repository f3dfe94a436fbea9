"""Times from outside: RFC 3339 with an offset, or a calendar day. Numbers, bare years and local times are refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

# RFC 3339, section 5.6: letters of either case, 60 for a leap second. Go and Java write nine digits of a second, .NET seven;
# digits after the sixth are dropped.
_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\dT[0-2]\d:[0-5]\d:)([0-5]\d|60)(\.\d{1,9})?(Z|[+-][0-2]\d:[0-5]\d)", re.ASCII | re.IGNORECASE
)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)

INSTANT = 'a time as in RFC 3339, with its offset: "2026-01-31T12:00:00Z"'
MOMENT = 'a time as in RFC 3339, with its offset, or a day: "2026-01-31T12:00:00Z" or "2026-01-31"'
DAY = 'a day: "2026-01-31"'


def instant(text: str) -> datetime:
    """A moment with its offset → the same in UTC. Errors: ValueError."""
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise ValueError(INSTANT)
    minute, second, fraction, offset = match.groups(default="")
    leaps = second == "60"  # a leap second counts as the first second of the next minute
    written = f"{minute}{'59' if leaps else second}{fraction[:7]}{offset}".upper()
    try:
        return datetime.fromisoformat(written).astimezone(UTC) + timedelta(seconds=leaps)
    except (ValueError, OverflowError):
        raise ValueError(INSTANT) from None


def moment(text: str) -> datetime:
    """An instant; or a day, which is its first moment in UTC. Errors: ValueError."""
    try:
        return instant(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text)
    except ValueError:
        raise ValueError(MOMENT) from None


def day(text: str) -> date:
    """A day, or the moment at which one begins in UTC. Errors: ValueError."""
    at = moment(text)
    if at.timetz() != time(tzinfo=UTC):
        raise ValueError(DAY)
    return at.date()


def _reads(read: Callable[[str], object], kind: type, shape: str) -> Callable[[object], object]:
    """A pydantic validator: parses texts, passes times, refuses other types."""

    def validate(value: object) -> object:
        if type(value) is kind and (kind is date or getattr(value, "tzinfo", None)):
            return value
        try:
            if isinstance(value, str):
                return read(value)
        except ValueError:
            pass
        raise PydanticCustomError("invalid_time", "{shape}", {"shape": shape})

    return validate


Instant = Annotated[datetime, BeforeValidator(_reads(instant, datetime, INSTANT), json_schema_input_type=datetime)]
Moment = Annotated[datetime, BeforeValidator(_reads(moment, datetime, MOMENT), json_schema_input_type=datetime | date)]
Day = Annotated[date, BeforeValidator(_reads(day, date, DAY), json_schema_input_type=date)]

"""Cursors: where a page ended, as an opaque word in a link."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated

import orjson
from pydantic import Field

from producers.problems import Problem
from schemas import times

Storable = Annotated[str, Field(pattern=r"^[^\x00]*$")]  # no store can look for a text that holds NUL
NEWEST = datetime(9999, 1, 1, tzinfo=UTC)


def encode(*parts: str | int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(parts)).rstrip(b"=").decode()


def decode(cursor: str, *kinds: type) -> list[str | int]:
    """Errors: Problem `invalid_cursor`."""
    try:
        parts = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
    except (binascii.Error, ValueError):
        raise Problem("invalid_cursor") from None
    if not isinstance(parts, list) or [type(part) for part in parts] != list(kinds):
        raise Problem("invalid_cursor")
    if any(isinstance(part, str) and (not part.isascii() or "\0" in part) for part in parts):
        raise Problem("invalid_cursor")
    return parts


def instant(text: str | int) -> datetime:
    """Errors: Problem `invalid_cursor`."""
    try:
        return times.instant(str(text))
    except ValueError:
        raise Problem("invalid_cursor") from None


def newest_first(cursor: str | None) -> tuple[datetime, str]:
    """Before which time and id a page of the newest begins. Errors: Problem `invalid_cursor`."""
    if cursor is None:
        return NEWEST, ""
    at, id_ = decode(cursor, str, str)
    return instant(at), str(id_)


def older_than(at: datetime, id_: str) -> str:
    """The cursor of the page after this one."""
    return encode(at.isoformat(), id_)


def storable(text: str) -> str:
    """Errors: Problem `not_found`: what no store can hold is nobody's id."""
    if not text.isascii() or "\0" in text:
        raise Problem("not_found")
    return text

"""The end of a page ⇄ an opaque cursor."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from pydantic import Field

from producers.problems import Problem
from schemas import times

Storable = Annotated[str, Field(pattern=r"^[^\x00]*$")]  # PostgreSQL takes no text with NUL
NEWEST = datetime(9999, 1, 1, tzinfo=UTC)


def encode(*parts: str | int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(parts)).rstrip(b"=").decode()


def decode(cursor: str, *kinds: type) -> list[str | int]:
    """The values in a cursor. Errors: Problem `invalid_cursor`."""
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
    """The time that the text names. Errors: Problem `invalid_cursor`."""
    try:
        return times.instant(str(text))
    except ValueError:
        raise Problem("invalid_cursor") from None


def newest_first(cursor: str | None) -> tuple[datetime, str]:
    """The time and id before which a page, newest first, begins. Errors: Problem `invalid_cursor`."""
    if cursor is None:
        return NEWEST, ""
    at, id_ = decode(cursor, str, str)
    return instant(at), str(id_)


def cut(rows: list[dict[str, Any]], limit: int, at: str, *ids: str) -> tuple[list[dict[str, Any]], str | None]:
    """Rows, newest first, of which one more than `limit` was asked for → a page, and the cursor of the next one, if any.

    `at` and `ids` name the columns that the rows are sorted by: no two rows have the same in all of them.
    """
    shown = rows[:limit]
    if len(rows) == len(shown):
        return shown, None
    return shown, encode(shown[-1][at].isoformat(), *(shown[-1][id_] for id_ in ids))


def storable(text: str) -> str:
    """The text, if PostgreSQL can store it. Errors: Problem `not_found`: any other text is no id."""
    if not text.isascii() or "\0" in text:
        raise Problem("not_found")
    return text

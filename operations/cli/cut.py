"""A list that was asked for with one row too many → its rows, and a line on stderr where there are more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from operations.cli.terminal import note

Row = TypeVar("Row")


def cut(rows: Sequence[Row], limit: int, more: str) -> list[Row]:
    """At most `limit` of them. `more` says how to see the others. On stderr, so that JSON on stdout keeps its shape."""
    if len(rows) > limit:
        note(f"only {limit} are shown, there are more: {more}")
    return list(rows[:limit])

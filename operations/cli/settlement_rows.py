"""The doors' and reconciliation's views → settlement files as commands show them."""

from __future__ import annotations

from typing import Any

from producers.doors.settlement_decisions import DECISIONS, FileState
from producers.doors.settlement_files import SELECT, STATES, pairs, shown
from topics.runtime.shape.reading import read
from topics.settings import Settings


def files_of(settings: Settings, source: str | None, limit: int) -> list[dict[str, Any]]:
    """Newest first; of one source, or all."""
    where = "" if source is None else " WHERE source = %(source)s"
    order = " ORDER BY received_at DESC, file_id DESC LIMIT %(limit)s"
    return _with_states(settings, read(settings, "doors", SELECT + where + order, {"source": source, "limit": limit}))


def found_by(settings: Settings, beginning: str, source: str | None) -> list[dict[str, Any]]:
    """Those whose id begins so; three at most."""
    where = " WHERE starts_with(file_id, %s) AND source = coalesce(%s, source) LIMIT 3"
    return _with_states(settings, read(settings, "doors", SELECT + where, [beginning, source]))


def decisions_of(settings: Settings, source: str, file_id: str) -> list[dict[str, Any]]:
    return read(settings, "doors", DECISIONS, [source, file_id])


def state_of(settings: Settings, source: str, file_id: str) -> FileState:
    return FileState.of(source, file_id, read(settings, "reconciliation", STATES, [[source], [file_id]]))


def _with_states(settings: Settings, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return shown(rows, read(settings, "reconciliation", STATES, pairs(rows)))

"""Files that are not settled and breaks that nobody has decided → those past their limit, what each waits for. From views."""

from __future__ import annotations

from datetime import datetime, timedelta

from schemas.settlements import RELEASABLE
from topics.break_rules import decide_by, overdue_since
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.limits import StuckLimits
from topics.runtime.shape.stuck import FOUND_MAX, Stuck, age_s

ROOM = "reconciliation"
_FILES = """
SELECT source, file_id, state, why, changed_at FROM file_view
WHERE (state IN ('quarantined', 'held') OR state IN ('received', 'reading', 'gated', 'folding') AND changed_at <= %s)
ORDER BY changed_at, file_no LIMIT %s
"""
_BREAKS = """
SELECT replace(break_id, '-', ''), code, class, amount, currency, opened_at FROM break_view
WHERE state = 'open' AND work <> 'resolved' AND opened_at <= %s ORDER BY opened_at, break_id
"""
_DECIDE = "{code}: a person decides (tally recon breaks show {break_id})"
_TWO = "two persons release it, or one discards it (tally settlement show {file_id})"
_ONE = "get it again; one person discards this one (tally settlement show {file_id})"
_READER = "goes on when tally run reconciliation reads it (tally status): TALLY_SETTLEMENT_SOURCES must name {source}"
_FOLDER = "goes on when all its lines have come (tally status, tally dlq list --room reconciliation)"


def stuck(conn: Connection, limits: StuckLimits, now: datetime) -> list[Stuck]:
    """What is stuck, oldest first. `now` is business time."""
    since = now - timedelta(seconds=limits.executing_s)
    files = [
        Stuck(ROOM, file_id, None, None, f"file_{state}", (), age_s(at, now), _next(source, file_id, state, why))
        for source, file_id, state, why, at in conn.execute(_FILES, [since, FOUND_MAX])
    ]
    return sorted([*files, *_overdue(conn, limits, now)], key=lambda each: -each.age_s)[:FOUND_MAX]


def _overdue(conn: Connection, limits: StuckLimits, now: datetime) -> list[Stuck]:
    """Breaks past the day by which they should be decided."""
    return [
        Stuck(ROOM, id_, None, None, "break_overdue", (), age_s(at, now), _DECIDE.format(code=code, break_id=id_[:12]))
        for id_, code, class_, amount, currency, at in conn.execute(_BREAKS, [overdue_since(limits.breaks, now)])
        if decide_by(limits.breaks, class_, amount, currency, at) <= now
    ]


def _next(source: str, file_id: str, state: str, why: str | None) -> str:
    if state == "held" or (state == "quarantined" and why in RELEASABLE):
        return _TWO.format(file_id=file_id)
    if state == "quarantined":
        return _ONE.format(file_id=file_id)
    return _READER.format(source=source) if state in ("received", "reading") else _FOLDER

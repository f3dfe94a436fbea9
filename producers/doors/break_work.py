"""What a person wants done about a break → a row, and the event that reconciliation decides on. Each operation id counts once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from producers.doors.commands import Command, CommandEvents
from producers.problems import Problem
from producers.source import SOURCE
from schemas.break_work import BreakWorked
from schemas.envelope import derive_id
from schemas.persons import person_of
from topics.runtime.shape.consumer import Connection

_COLUMNS: LiteralString = "operation_id, break_id, asked, asked_by, asked_at"
ASKED: LiteralString = "SELECT " + _COLUMNS + " FROM break_work_view WHERE operation_id = %(operation_id)s"


@dataclass(frozen=True, slots=True)
class Asked:
    """An operation as it is kept, and whether it was asked for before."""

    row: Mapping[str, Any]
    replayed: bool = False


def ask(event: BreakWorked) -> Command[Asked]:
    """Errors: Problem `id_taken`, `contents_conflict`."""
    asked = event.model_dump_json(exclude_none=True)

    def work(conn: Connection, now: datetime) -> tuple[Asked, CommandEvents]:
        event_id = derive_id(f"break_work|{event.operation_id}", SOURCE, 0, int(now.timestamp() * 1000))
        row = (event.operation_id, event.subject, asked, event.actor, now, event_id)
        new = conn.execute(
            "INSERT INTO break_work (operation_id, break_id, asked, asked_by, asked_at, event_id)"
            " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING operation_id",
            row,
        ).fetchone()
        if new is not None:
            return Asked(_shown(event, now)), CommandEvents([(event_id, event, 0)])
        return _again(conn, event), CommandEvents()

    return Command(("break_work", event.operation_id), work)


def _again(conn: Connection, event: BreakWorked) -> Asked:
    [(before, asked_by, asked_at)] = conn.execute(
        "SELECT asked, asked_by, asked_at FROM break_work WHERE operation_id = %s", [event.operation_id]
    ).fetchall()
    if person_of(asked_by) != person_of(event.actor):
        raise Problem("id_taken", "operation_id: another person has used it")
    if _contents(before) != _contents(event.model_dump(mode="json", exclude_none=True)):
        raise Problem("contents_conflict", "This operation_id was used for something else.")
    return Asked(_shown(event, asked_at), replayed=True)


def _contents(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The same person may ask again with another key."""
    return {name: value for name, value in asked.items() if name != "actor"}


def _shown(event: BreakWorked, at: datetime) -> dict[str, Any]:
    return {
        "operation_id": event.operation_id,
        "break_id": event.subject,
        "action": event.action,
        "asked_by": event.actor,
        "asked_at": at,
    }

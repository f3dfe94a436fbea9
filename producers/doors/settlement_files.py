"""A file whose bytes are stored → its row and the event that says so; what persons decide of a file that is held.

A file is named by its source and the SHA-256 of its bytes: the same file again is that file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from psycopg.rows import dict_row

from producers.doors.commands import Command, CommandEvents
from producers.doors.uploads import UploadedBytes
from producers.problems import RETRY_SOON, Problem
from producers.source import SOURCE
from producers.stored_files import ROOT
from schemas.envelope import EventId, derive_id
from schemas.settlements import SettlementFileStored
from topics.runtime.shape.consumer import Connection
from topics.settings import Settings
from topics.settlement_sources import SettlementSource

NAME_MAX = 128
UNNAMED = "unnamed"
SELECT: LiteralString = "SELECT source, file_id, name, size, stored_by, received_at FROM settlement_file_view"
# How far reconciliation is with files, from its view. Values: the sources and ids of files, pairwise.
STATES: LiteralString = (
    "SELECT source, file_id, state, why, refusal, reader, lines, changed_at FROM file_view"
    " WHERE (source, file_id) IN (SELECT * FROM unnest(%s::text[], %s::text[]))"
)
STATE_NAMES = ("state", "why", "refusal", "reader", "lines")
_UNHEARD: dict[str, Any] = dict.fromkeys(STATE_NAMES) | {"state": "received"}  # reconciliation has not heard of it yet


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as it is kept, and whether it was there before."""

    row: Mapping[str, Any]
    replayed: bool = False


def source_of(settings: Settings, name: str) -> SettlementSource:
    """Errors: Problem `unknown_source`."""
    found = next((source for source in settings.settlement_sources if source.name == name), None)
    if found is None:
        raise Problem("unknown_source")
    return found


def file_name(given: str, *, packed: bool) -> str:
    """The last part of a path, printable; of a packed file without `.gz`."""
    last = given.replace("\\", "/").rstrip("/").rpartition("/")[2]
    name = "".join(letter for letter in last if letter.isprintable()).strip()
    if packed and name.lower().endswith(".gz"):
        name = name[:-3]
    return name[:NAME_MAX] or UNNAMED


def pairs(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The values of STATES."""
    return [[row["source"] for row in rows], [row["file_id"] for row in rows]]


def shown(rows: Sequence[Mapping[str, Any]], states: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Files for their readers, each with its state."""
    state_of = {(row["source"], row["file_id"]): row for row in states}
    return [_shown(row, state_of.get((row["source"], row["file_id"]), _UNHEARD)) for row in rows]


def _shown(row: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    links = {"self": f"{ROOT}/{row['source']}/{row['file_id']}"}
    return {**row, **{name: state[name] for name in STATE_NAMES}, "links": links}


def store(source: str, name: str, uploaded: UploadedBytes, by: str) -> Command[StoredFile]:
    """Make a file of the upload, unless the source has it. Errors: Problem `unavailable` if its pieces are gone."""

    def work(conn: Connection, now: datetime) -> tuple[StoredFile, CommandEvents]:
        event_id = event_id_of("stored", source, uploaded.file_id, now)
        if not _insert(conn, source, name, uploaded, by, now, event_id):
            return StoredFile(_row(conn, source, uploaded.file_id), replayed=True), CommandEvents()
        ours = conn.execute(
            "DELETE FROM uploads WHERE upload_id = %s AND NOT ended RETURNING upload_id", [uploaded.upload_id]
        )
        if ours.fetchone() is None:
            raise Problem("unavailable", "The upload has ended: send the file again.", headers=RETRY_SOON)
        event = SettlementFileStored(
            source=source,
            file_id=uploaded.file_id,
            upload_id=uploaded.upload_id,
            name=name,
            size=uploaded.size,
            stored_by=by,
            received_at=now,
        )
        return StoredFile(_row(conn, source, uploaded.file_id)), CommandEvents([(event_id, event, 0)])

    return Command(("settlement_file", f"{source}/{uploaded.file_id}"), work)


def event_id_of(what: str, source: str, file_id: str, now: datetime) -> EventId:
    return derive_id(f"settlement_file|{what}|{source}|{file_id}", SOURCE, 0, int(now.timestamp() * 1000))


def _insert(
    conn: Connection, source: str, name: str, uploaded: UploadedBytes, by: str, now: datetime, event_id: EventId
) -> bool:
    """→ whether the file is new. Of two uploads at once the second waits for the first."""
    inserted = conn.execute(
        "INSERT INTO files (source, file_id, upload_id, name, size, pieces, stored_by, received_at, event_id)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (source, file_id) DO NOTHING RETURNING source",
        [source, uploaded.file_id, uploaded.upload_id, name, uploaded.size, uploaded.pieces, by, now, event_id],
    )
    return inserted.fetchone() is not None


def _row(conn: Connection, source: str, file_id: str) -> Mapping[str, Any]:
    cursor = conn.cursor(row_factory=dict_row)
    found = cursor.execute(SELECT + " WHERE source = %s AND file_id = %s", [source, file_id]).fetchone()
    assert found is not None
    return found

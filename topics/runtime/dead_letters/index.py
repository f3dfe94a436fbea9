"""The index of letters as a whole: its export, and its rebuild from the copies on the room's dead-letter topic."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from psycopg.rows import dict_row

from schemas.envelope import digest
from topics.catalog import Room
from topics.runtime.dead_letters.acts import AuditNote, write_audit
from topics.runtime.dead_letters.listing import (
    MATCHES,
    Filter,
    State,
    effects,
    operator_reader,
    operator_transaction,
    rooms_named,
)
from topics.runtime.dead_letters.store import letter_id
from topics.runtime.shape.consumer import Connection, Message
from topics.runtime.shape.decode import Incoming, decode
from topics.runtime.shape.record import dump_headers, load_headers
from topics.settings import Settings

# ── export ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_EXPORT = f"""
SELECT letter_id::text, state, topic, partition, kafka_offset AS offset, key, event_id, code, error, stack, attempts,
    replays, tried, parked_at, first_failed_at, last_failed_at, headers, value, edit, edited_by, approved_by
FROM parked p WHERE state = ANY(%(states)s) AND attempts > 0 AND {MATCHES} ORDER BY seq
"""


def export(
    settings: Settings, room: str | None, wanted: Filter, states: Sequence[State] = ("dead",)
) -> Iterator[dict[str, Any]]:
    """All letters that match, oldest first, with their contents; read in slices."""
    for each in rooms_named(room):
        with operator_reader(settings, each.name) as conn, conn.cursor("export", row_factory=dict_row) as cursor:
            cursor.execute(_EXPORT, {"states": list(states), **wanted.values()})
            for row in cursor:
                yield {"room": each.name, **_export_row(row)}


def _export_row(row: dict[str, Any]) -> dict[str, Any]:
    headers = {name: None if value is None else value.decode("latin-1") for name, value in load_headers(row["headers"])}
    key = None if row["key"] is None else row["key"].decode("utf-8", "replace")
    exported = row | {"headers": headers, "key": key}
    for name in ("value", "edit"):
        exported |= as_text(name, exported.pop(name))
    return exported


def as_text(name: str, content: bytes | None) -> dict[str, str | None]:
    """{name: text}, or {name_base64: …} if the content is not UTF-8."""
    if content is None:
        return {name: None}
    try:
        return {name: content.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(content).decode()}


# ── rebuild ─────────────────────────────────────────────────────────────────────────────────────────────────────────

Fate = Literal["known", "effect stands", "discarded", "replayed", "dead", "foreign"]
_RESOLVED: dict[Fate, State] = {"effect stands": "done", "replayed": "done", "discarded": "discarded", "dead": "dead"}


@dataclass(slots=True)
class RebuildCounts:
    """Number of letters by fate; `foreign` lists the records of the topic that are no letters of this room."""

    counts: dict[Fate, int] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)

    def add(self, became: Fate) -> None:
        self.counts[became] = self.counts.get(became, 0) + 1


@dataclass(frozen=True, slots=True)
class _LetterCopy:
    """A record of the dead-letter topic: the original message, and how it failed."""

    letter: str
    attempts: int
    code: str
    first_failed_at: datetime
    failed_at: datetime
    incoming: Incoming


def rebuild(settings: Settings, room: Room, records: Iterable[Message], by: AuditNote, now: datetime) -> RebuildCounts:
    """Insert the letters that the index lacks, from all records of the room's dead-letter topic, oldest first.

    A letter whose effect stands, or that was discarded or replayed after its copy, is inserted as resolved; any other as
    dead, and holds its key. Messages that only waited behind a letter are on no topic and are not restored.
    """
    rebuilt = RebuildCounts()
    newest = _newest_copies(settings, room, records, rebuilt)
    standing = effects(settings, room.name, [each.incoming.claim for each in newest])
    with operator_transaction(settings, room.name) as conn:
        known = {row[0] for row in conn.execute("SELECT letter_id::text FROM parked")}
        acts = _acts(conn)
        for each in newest:
            became = "known" if each.letter in known else _fate_of(each, standing, acts)
            if became in _RESOLVED and not _reinsert(conn, each, _RESOLVED[became], now):
                became = "known"  # it was inserted meanwhile
            rebuilt.add(became)
        if set(rebuilt.counts) & set(_RESOLVED):
            letters = [each.letter for each in newest if each.letter not in known]
            write_audit(
                conn,
                by,
                "rebuild",
                {"rebuilt": letters},
                {str(name): number for name, number in rebuilt.counts.items()},
            )
    return rebuilt


def _newest_copies(
    settings: Settings, room: Room, records: Iterable[Message], rebuilt: RebuildCounts
) -> list[_LetterCopy]:
    """The last copy of each letter, in the order of their first copies."""
    newest: dict[str, _LetterCopy] = {}
    for record in records:
        found = _parse_copy(settings, room, record)
        if found is None:
            rebuilt.add("foreign")
            rebuilt.foreign.append(f"{record.topic}[{record.partition}]@{record.offset}")
        elif found.letter not in newest or found.attempts >= newest[found.letter].attempts:
            newest[found.letter] = found
    return list(newest.values())


def _parse_copy(settings: Settings, room: Room, record: Message) -> _LetterCopy | None:
    """None if the record is no letter of this room: other producers may write anything to the topic."""
    about = {name: value for name, value in record.headers if name.startswith("tally_")}
    try:
        fields = {name: value.decode() for name, value in about.items()}
        message = Message(
            fields["tally_topic"],
            int(fields["tally_partition"]),
            int(fields["tally_offset"]),
            record.key,
            record.value,
            tuple(pair for pair in record.headers if pair[0] not in about),
            int(fields.get("tally_timestamp", record.timestamp_ms)),
        )
        attempts, failed_at = int(fields["tally_attempts"]), datetime.fromisoformat(fields["tally_failed_at"])
        first_failed_at = datetime.fromisoformat(fields.get("tally_first_failed_at", fields["tally_failed_at"]))
        letter, code = fields["tally_letter"], fields["tally_code"]
    except (KeyError, ValueError, AttributeError):
        return None
    incoming = decode(message, settings.upstreams, settings.digest_key())
    if code == "id_reused":
        incoming.claim = digest(incoming.claim.encode(), incoming.hash.encode())
        incoming.event = None if incoming.door else incoming.event
    if letter_id(room, incoming) != letter or failed_at.tzinfo is None or first_failed_at.tzinfo is None:
        return None
    return _LetterCopy(letter, attempts, code, first_failed_at, failed_at, incoming)


Acts = dict[tuple[str, str], int]  # letter and action → the attempts that had failed by then


def _acts(conn: Connection) -> Acts:
    rows = conn.execute(
        "SELECT l.letter, CASE action WHEN 'discard' THEN 'discarded' ELSE 'replayed' END,"
        " coalesce(max(a.attempts::integer), 2147483647)"
        " FROM ops_audit, jsonb_array_elements_text(filter->'letters') WITH ORDINALITY AS l (letter, place)"
        " LEFT JOIN LATERAL jsonb_array_elements_text(filter->'attempts') WITH ORDINALITY AS a (attempts, place)"
        " USING (place) WHERE action IN ('discard', 'replay', 'approve') GROUP BY 1, 2"
    )
    return {(letter, became): attempts for letter, became, attempts in rows}


def _fate_of(copy: _LetterCopy, standing: set[str], acts: Acts) -> Fate:
    """The fate of a letter. One that died again after its replay has a newer copy, with more attempts than the act saw."""
    if copy.incoming.claim in standing:
        return "effect stands"
    resolutions: tuple[Fate, ...] = ("discarded", "replayed")
    for became in resolutions:
        if acts.get((copy.letter, became), -1) >= copy.attempts:
            return became
    return "dead"


def _reinsert(conn: Connection, copy: _LetterCopy, state: State, now: datetime) -> bool:
    """Insert the letter and the claim of its id, so that a redelivery is a repeat. → False if the letter exists."""
    message, incoming = copy.incoming.message, copy.incoming
    conn.execute("INSERT INTO inbox (id, hash) VALUES (%s, %s) ON CONFLICT DO NOTHING", [incoming.claim, incoming.hash])
    put = conn.execute(
        "INSERT INTO parked (letter_id, topic, partition, kafka_offset, key, value, headers, timestamp_ms, event_id, hash,"
        " holds, state, code, error, attempts, due_at, parked_at, first_failed_at, last_failed_at, ended_at)"
        " VALUES (%s, %s, %s, %s, %b, %b, %b, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (letter_id) DO NOTHING",
        [
            *(copy.letter, message.topic, message.partition, message.offset, message.key, message.value),
            *(dump_headers(message.headers), message.timestamp_ms, incoming.claim, incoming.hash, incoming.holds),
            *(state, copy.code, "rebuilt from the dead-letter topic; its log line has the error", copy.attempts),
            *(now, copy.failed_at, copy.first_failed_at, copy.failed_at, None if state == "dead" else now),
        ],
    )
    return put.rowcount == 1

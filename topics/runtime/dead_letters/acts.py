"""Operators' acts on letters and stops: each is one transaction, with a row in the room's `ops_audit`.

Every act is idempotent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, LiteralString

import orjson

from schemas.text import looks_like_card_number
from topics.runtime.dead_letters.listing import (
    REPLAYS_MAX,
    Filter,
    NoSuchLetter,
    Stop,
    message_of,
    operator_transaction,
)
from topics.runtime.dead_letters.store import MESSAGES
from topics.runtime.shape.consumer import Broken, Connection
from topics.runtime.shape.decode import decode
from topics.settings import Settings

REASON_MAX = 500
ACTOR_MAX = 64
EDIT_BYTES_MAX = 1_000_000

WayOut = Literal["start", "position"]

# Stops whose lift needs a way out: without one the room would stop again at once, or skip records silently.
WAYS_OUT: Mapping[str, Mapping[WayOut, str]] = {
    "topic_replaced": {
        "start": "begin at the start of the new topic; what the room has seen already is dropped by its inbox",
        "position": "go on at the stored position: only for a copy of the old topic with the same offsets",
    },
    "offset_gone": {
        "start": "begin at the earliest record that Kafka still has; what was between is never read",
        "position": "look again at the stored position, where the records have been brought back",
    },
}


class ActRefused(ValueError):
    """An act is not possible; the message is one line. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class AuditNote:
    """The actor and the reason of an act, as stored in `ops_audit` for ever."""

    actor: str
    reason: str

    def __post_init__(self) -> None:
        _check("reason", self.reason, REASON_MAX)
        _check("actor", self.actor, ACTOR_MAX)


def _check(what: str, text: str, limit: int) -> None:
    if not text.strip():
        raise ActRefused(f"a {what} is needed: it is kept in ops_audit")
    if len(text) > limit:
        raise ActRefused(f"the {what} has {len(text)} characters; {limit} are the most")
    if not text.isprintable():
        raise ActRefused(f"the {what} holds a control character or a broken one")
    if looks_like_card_number(text):
        raise ActRefused(f"the {what} holds what looks like a card number, and would be kept")


@dataclass(frozen=True, slots=True)
class ActResult:
    """The letters that an act changed, and the states of those that it left unchanged."""

    changed: tuple[str, ...]
    unchanged: Mapping[str, str]


# ── replay and discard ───────────────────────────────────────────────────────────────────────────────────────────────

_REPLAY: LiteralString = """
UPDATE parked SET state = 'parked', rung = 0, replays = replays + 1, due_at = %(now)s
WHERE state = 'dead' AND letter_id = ANY(%(ids)s::uuid[]) AND (replays < %(most)s OR %(force)s)
RETURNING letter_id::text, attempts
"""
_DISCARD: LiteralString = """
UPDATE parked SET state = 'discarded', ended_at = %(now)s WHERE state = 'dead' AND letter_id = ANY(%(ids)s::uuid[])
RETURNING letter_id::text, attempts
"""


def replay(
    settings: Settings,
    room: str,
    letter_ids: Sequence[str],
    by: AuditNote,
    now: datetime,
    chosen_by: Filter | None = None,
    force: bool = False,
) -> ActResult:
    """Make dead letters due again at `now` (business time). Letters that are not dead stay unchanged."""
    values = {"now": now, "most": REPLAYS_MAX, "force": force}
    return _act(settings, room, "replay", _REPLAY, values, letter_ids, by, chosen_by)


def discard(
    settings: Settings,
    room: str,
    letter_ids: Sequence[str],
    by: AuditNote,
    now: datetime,
    chosen_by: Filter | None = None,
) -> ActResult:
    """Discard dead letters: the messages behind them on their keys go on."""
    return _act(settings, room, "discard", _DISCARD, {"now": now}, letter_ids, by, chosen_by)


def _act(
    settings: Settings,
    room: str,
    action: str,
    statement: LiteralString,
    values: Mapping[str, object],
    letter_ids: Sequence[str],
    by: AuditNote,
    chosen_by: Filter | None,
) -> ActResult:
    """Run one act. An audit row is written only if a letter changed."""
    wanted = sorted(set(letter_ids))
    with operator_transaction(settings, room) as conn:
        states = _lock(conn, wanted)
        changed = dict(conn.execute(statement, {**values, "ids": wanted}).fetchall())
        if changed:
            chosen = chosen_by.as_dict() if chosen_by else {}
            counts = {"changed": len(changed), "asked": len(wanted)}
            write_audit(conn, by, action, {**_letters(changed), **chosen}, counts)
    unchanged = {letter_id: states.get(letter_id, "unknown") for letter_id in wanted if letter_id not in changed}
    return ActResult(tuple(changed), unchanged)


def _lock(conn: Connection, letter_ids: Sequence[str]) -> dict[str, str]:
    rows = conn.execute(
        "SELECT letter_id::text, state FROM parked WHERE letter_id = ANY(%s::uuid[]) ORDER BY seq FOR UPDATE",
        [letter_ids],
    )
    return dict(rows.fetchall())


def _letters(changed: Mapping[str, int]) -> dict[str, object]:
    """Letter ids and their numbers of failed attempts: a rebuild of the index sees by these which copies are newer."""
    return {"letters": list(changed), "attempts": list(changed.values())}


# ── edits, approved by a second person ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Edit:
    """A proposed value beside the original. The approver names the edit by its `sha256`."""

    original: bytes | None
    value: bytes
    edited_by: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.value).hexdigest()


def propose(settings: Settings, room: str, letter_id: str, value: bytes, by: AuditNote, now: datetime) -> Edit:
    """Store a corrected value on a dead letter; it waits for `approve`. An earlier proposal is replaced.

    Errors: ActRefused if the room could not read the value; NoSuchLetter.
    """
    if len(value) > EDIT_BYTES_MAX:
        raise ActRefused(f"the edit has {len(value)} bytes; {EDIT_BYTES_MAX} are the most")
    with operator_transaction(settings, room) as conn:
        code, attempts = _lock_dead(conn, letter_id)
        original = _check_readable(settings, conn, letter_id, value, code)
        conn.execute(
            "UPDATE parked SET edit = %s, edited_by = %s, edited_at = %s, approved_by = NULL WHERE letter_id = %s",
            [value, by.actor, now, letter_id],
        )
        edit = Edit(original, value, by.actor)
        write_audit(conn, by, "edit", {**_letters({letter_id: attempts}), "sha256": edit.sha256}, {"changed": 1})
    return edit


def _lock_dead(conn: Connection, letter_id: str) -> tuple[str | None, int]:
    """Lock a dead letter. → code, attempts. Errors: NoSuchLetter; ActRefused if it is not dead."""
    row = conn.execute(
        "SELECT state, code, attempts FROM parked WHERE letter_id = %s FOR UPDATE", [letter_id]
    ).fetchone()
    if row is None:
        raise NoSuchLetter(f"{letter_id}: no such letter")
    if row[0] != "dead":
        raise ActRefused(f"{letter_id} is {row[0]}, not dead")
    return row[1], row[2]


def _check_readable(
    settings: Settings, conn: Connection, letter_id: str, value: bytes, code: str | None
) -> bytes | None:
    """→ the original value. Errors: ActRefused if the edited message could not be applied."""
    message = message_of(conn, letter_id)
    if code == "id_reused":
        raise ActRefused("its id came before with other contents: no edit helps; discard it")
    if value == message.value:
        raise ActRefused("the edit changes nothing")
    incoming = decode(message._replace(value=value), settings.upstreams, settings.digest_key())
    if incoming.failure is not None:
        raise ActRefused(f"the room could not read it: {incoming.failure.code}: {incoming.failure.detail}")
    if isinstance(incoming.event, Broken):
        raise ActRefused(f"it breaks the contract: {incoming.event.field}: {incoming.event.detail}")
    return message.value


def proposed_edit(settings: Settings, room: str, letter_id: str) -> Edit:
    """The edit that waits for approval. Errors: ActRefused if there is none; NoSuchLetter."""
    with operator_transaction(settings, room) as conn:
        return _read_edit(conn, letter_id)


def _read_edit(conn: Connection, letter_id: str) -> Edit:
    row = conn.execute(
        "SELECT value, edit, edited_by, approved_by FROM parked WHERE letter_id = %s", [letter_id]
    ).fetchone()
    if row is None:
        raise NoSuchLetter(f"{letter_id}: no such letter")
    if row[1] is None:
        raise ActRefused(f"{letter_id} has no edit to approve")
    if row[3] is not None:
        raise ActRefused(f"the edit of {letter_id} was approved by {row[3]} already")
    return Edit(row[0], row[1], row[2])


def approve(settings: Settings, room: str, letter_id: str, sha256: str, by: AuditNote, now: datetime) -> None:
    """Replay the letter with its edit, under its own event id. From now on it holds its key.

    Errors: ActRefused if the editor approves their own edit, or if the edit has changed since `sha256` was read.
    """
    with operator_transaction(settings, room) as conn:
        _, attempts = _lock_dead(conn, letter_id)
        edit = _read_edit(conn, letter_id)
        if edit.edited_by.casefold() == by.actor.casefold():
            raise ActRefused(f"{by.actor} made this edit: a second person must approve it")
        if edit.sha256 != sha256:
            raise ActRefused("the edit has changed since it was looked at: look again")
        conn.execute(
            "UPDATE parked SET approved_by = %s, holds = key IS NOT NULL, state = 'parked', rung = 0,"
            " replays = replays + 1, due_at = %s WHERE letter_id = %s",
            [by.actor, now, letter_id],
        )
        chosen = {**_letters({letter_id: attempts}), "sha256": sha256, "edited_by": edit.edited_by}
        write_audit(conn, by, "approve", chosen, {"changed": 1})


# ── stopped rooms ────────────────────────────────────────────────────────────────────────────────────────────────────


def resume(settings: Settings, room: str, by: AuditNote, begin: WayOut | None = None) -> Stop | None:
    """Lift the room's stop; the window of the fault count starts anew. → None if the room had not stopped.

    `begin` is the way out, for stops that have several. Errors: ActRefused if it is missing, or if the stop has none.
    """
    with operator_transaction(settings, room) as conn:
        row = conn.execute(
            f"UPDATE stops SET lifted_at = clock_timestamp(), lifted_by = %s, way = %s, messages = {MESSAGES}"
            " WHERE lifted_at IS NULL RETURNING code, reason, at",
            [by.actor, begin],
        ).fetchone()
        if row is None:
            return None
        stop = Stop(*row)
        _check_way(room, stop, begin)
        chosen = {"code": stop.code, "reason": stop.reason} | ({"begin": begin} if begin else {})
        write_audit(conn, by, "resume", chosen, {"changed": 1})
        return stop


def _check_way(room: str, stop: Stop, begin: WayOut | None) -> None:
    ways = WAYS_OUT.get(stop.code, {})
    if begin is None and ways:
        named = "; ".join(f"begin={way}: {what}" for way, what in ways.items())
        raise ActRefused(f"{room} stopped with {stop.code}, and would again. Say where it is to begin. {named}")
    if begin is not None and begin not in ways:
        raise ActRefused(f"{room} stopped with {stop.code}: it goes on where it stands, and takes no begin")


def write_audit(
    conn: Connection, by: AuditNote, action: str, chosen: Mapping[str, object], counts: Mapping[str, int]
) -> None:
    conn.execute(
        "INSERT INTO ops_audit (actor, action, reason, filter, counts) VALUES (%s, %s, %s, %s::jsonb, %s::jsonb)",
        [by.actor, action, by.reason.strip(), orjson.dumps(chosen).decode(), orjson.dumps(counts).decode()],
    )

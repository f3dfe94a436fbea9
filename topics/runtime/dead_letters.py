"""Operators' hands on letters and stops: every act is one transaction that holds its row in the room's `ops_audit`.

Role `tally_ops` can touch the runtime's tables only. Every act may be repeated: what is done already is not done again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson
import psycopg

from topics.catalog import CONSUMERS, Room
from topics.runtime.consumer import Connection
from topics.settings import Settings

State = Literal["parked", "dead", "done", "discarded"]
SHORT = 8  # digits of a letter's id that people are shown


@dataclass(frozen=True, slots=True)
class Letter:
    """One parked or dead message, without its contents. `behind` counts the messages of its key that wait for it."""

    room: str
    letter_id: str
    state: State
    topic: str
    key: str | None
    event_id: str
    code: str | None
    error: str | None
    attempts: int
    replays: int
    holds: bool
    behind: int
    due_at: datetime
    parked_at: datetime
    first_failed_at: datetime | None
    last_failed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters of a room; what is None does not matter."""

    code: str | None = None
    topic: str | None = None
    key: str | None = None

    def as_dict(self) -> dict[str, str]:
        pairs = (("code", self.code), ("topic", self.topic), ("key", self.key))
        return {name: value for name, value in pairs if value is not None}


@dataclass(frozen=True, slots=True)
class Acted:
    """What an act changed: letter ids, and the state of those that it left as they were."""

    changed: tuple[str, ...]
    unchanged: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Lifted:
    """A stop that was lifted."""

    code: str
    reason: str
    at: datetime


class NoSuchLetter(Exception):
    """The id, or the beginning of an id, names no letter, or several."""


@contextmanager
def _operators(settings: Settings, room: str) -> Iterator[Connection]:
    """One transaction in a room's store, as the operators' role."""
    with psycopg.connect(
        settings.dsn("tally_ops"), options=f"-c search_path={room}", application_name="tally ops", connect_timeout=5
    ) as conn:
        yield conn


def rooms_named(name: str | None) -> tuple[Room, ...]:
    """That consumer, or all. Errors: KeyError."""
    if name is None:
        return CONSUMERS
    return ({room.name: room for room in CONSUMERS}[name],)


# ── look ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

_LIST = """
SELECT letter_id::text, state, topic, key, event_id, code, error, attempts, replays, holds,
    CASE WHEN holds THEN (SELECT count(*) FROM parked q WHERE q.holds AND q.state IN ('parked', 'dead')
                          AND q.topic = p.topic AND q.key = p.key AND q.seq > p.seq) ELSE 0 END,
    due_at, parked_at, first_failed_at, last_failed_at
FROM parked p WHERE state = ANY(%s) AND (attempts > 0 OR %s) ORDER BY seq LIMIT %s
"""


def list_letters(
    settings: Settings,
    room: str | None = None,
    states: Sequence[State] = ("dead", "parked"),
    limit: int = 1000,
    followers: bool = False,
) -> list[Letter]:
    """Letters of one room or all, oldest first; with `followers` also what only waits behind another."""
    found = []
    for each in rooms_named(room):
        with _operators(settings, each.name) as conn:
            rows = conn.execute(_LIST, [list(states), followers, limit])
            found += [_letter(each.name, *row) for row in rows]
    return found


def _letter(room: str, letter_id: str, state: State, topic: str, key: bytes | None, *rest: Any) -> Letter:
    return Letter(room, letter_id, state, topic, None if key is None else key.decode("utf-8", "replace"), *rest)


def resolve(settings: Settings, given: str, room: str | None = None) -> tuple[str, str]:
    """(room, letter id) for an id, or for its beginning, also as ROOM/ID. Errors: NoSuchLetter; KeyError for the room."""
    named, _, beginning = given.rpartition("/")
    beginning = beginning.lower()
    found: list[tuple[str, str]] = []
    for each in rooms_named(named or room):
        with _operators(settings, each.name) as conn:
            rows = conn.execute(
                "SELECT letter_id::text FROM parked WHERE starts_with(letter_id::text, %s) LIMIT 3", [beginning]
            )
            found += [(each.name, row[0]) for row in rows]
    if len(found) != 1 or len(beginning) < SHORT:
        raise NoSuchLetter(_why_not(given, found if len(beginning) >= SHORT else []))
    return found[0]


def _why_not(given: str, found: Sequence[tuple[str, str]]) -> str:
    if not found:
        return f"{given}: no such letter; `tally dlq list` shows them ({SHORT} digits of an id are enough)"
    return f"{given} could be any of {', '.join(f'{room}/{letter_id}' for room, letter_id in found)}"


def matching(settings: Settings, room: str, wanted: Filter) -> list[str]:
    """The ids of a room's dead letters that match, oldest first."""
    with _operators(settings, room) as conn:
        rows = conn.execute(
            "SELECT letter_id::text FROM parked WHERE state = 'dead' AND (%(code)s::text IS NULL OR code = %(code)s)"
            " AND (%(topic)s::text IS NULL OR topic = %(topic)s) AND (%(key)s::bytea IS NULL OR key = %(key)s::bytea)"
            " ORDER BY seq",
            {"code": wanted.code, "topic": wanted.topic, "key": wanted.key and wanted.key.encode()},
        )
        return [row[0] for row in rows]


# ── act ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def replay(
    settings: Settings,
    room: str,
    letter_ids: Sequence[str],
    *,
    actor: str,
    reason: str,
    now: datetime,
    chosen_by: Filter | None = None,
) -> Acted:
    """Make dead letters due again, `now` being business time. What is not dead is left alone: twice changes nothing."""
    statement = (
        "UPDATE parked SET state = 'parked', rung = 0, replays = replays + 1, due_at = %s"
        " WHERE state = 'dead' AND letter_id = ANY(%s::uuid[]) RETURNING letter_id::text"
    )
    return _act(settings, room, "replay", statement, letter_ids, actor, reason, now, chosen_by)


def discard(
    settings: Settings,
    room: str,
    letter_ids: Sequence[str],
    *,
    actor: str,
    reason: str,
    now: datetime,
    chosen_by: Filter | None = None,
) -> Acted:
    """Give dead letters up for good: what waits behind them on their keys goes on."""
    statement = (
        "UPDATE parked SET state = 'discarded', ended_at = %s"
        " WHERE state = 'dead' AND letter_id = ANY(%s::uuid[]) RETURNING letter_id::text"
    )
    return _act(settings, room, "discard", statement, letter_ids, actor, reason, now, chosen_by)


def _act(
    settings: Settings,
    room: str,
    action: str,
    statement: Any,
    letter_ids: Sequence[str],
    actor: str,
    reason: str,
    now: datetime,
    chosen_by: Filter | None,
) -> Acted:
    """Nothing changed is nothing to be written down."""
    wanted = sorted(set(letter_ids))
    with _operators(settings, room) as conn:
        states = _lock(conn, wanted)
        changed = [row[0] for row in conn.execute(statement, [now, wanted])]
        if changed:
            chosen = {"letters": changed, **(chosen_by.as_dict() if chosen_by else {})}
            _write_down(conn, actor, action, reason, chosen, {"changed": len(changed), "asked": len(wanted)})
    unchanged = {letter_id: states.get(letter_id, "unknown") for letter_id in wanted if letter_id not in changed}
    return Acted(tuple(changed), unchanged)


def _lock(conn: Connection, letter_ids: Sequence[str]) -> dict[str, str]:
    rows = conn.execute(
        "SELECT letter_id::text, state FROM parked WHERE letter_id = ANY(%s::uuid[]) ORDER BY seq FOR UPDATE",
        [letter_ids],
    )
    return dict(rows.fetchall())


def resume(settings: Settings, room: str, *, actor: str, reason: str) -> Lifted | None:
    """Lift the room's stop; the window over which faults are counted starts anew here. None where it had not stopped."""
    with _operators(settings, room) as conn:
        row = conn.execute(
            "UPDATE stops SET lifted_at = clock_timestamp(), lifted_by = %s,"
            " messages = (SELECT coalesce(sum(messages), 0)::bigint FROM positions)"
            " WHERE lifted_at IS NULL RETURNING code, reason, at",
            [actor],
        ).fetchone()
        if row is None:
            return None
        _write_down(conn, actor, "resume", reason, {"code": row[0], "reason": row[1]}, {"changed": 1})
        return Lifted(*row)


def open_stop(settings: Settings, room: str) -> Lifted | None:
    """Why the room has stopped, if it has."""
    with _operators(settings, room) as conn:
        row = conn.execute("SELECT code, reason, at FROM stops WHERE lifted_at IS NULL").fetchone()
        return Lifted(*row) if row else None


def _write_down(
    conn: Connection, actor: str, action: str, reason: str, chosen: Mapping[str, object], counts: Mapping[str, int]
) -> None:
    conn.execute(
        "INSERT INTO ops_audit (actor, action, reason, filter, counts) VALUES (%s, %s, %s, %s::jsonb, %s::jsonb)",
        [actor, action, reason, orjson.dumps(chosen).decode(), orjson.dumps(counts).decode()],
    )

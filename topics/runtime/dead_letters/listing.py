"""Parked and dead letters for operators: lists, groups, one in full, and the plan of a replay. Reads only.

Role `tally_ops` may only use the runtime's tables; whether an effect stands is read by the room's reading role.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg import sql
from psycopg.rows import dict_row

from topics.catalog import CONSUMERS, Room
from topics.runtime.shape.consumer import Connection, Message
from topics.runtime.shape.postgres import connect, connect_to_read
from topics.runtime.shape.reading import connect_reader
from topics.runtime.shape.record import load_headers
from topics.runtime.shape.store import uuid_array
from topics.settings import Settings

State = Literal["parked", "dead", "done", "discarded"]
SHORT = 8  # digits of a letter's id in tables
REPLAYS_MAX = 3  # one more needs force
BEHIND_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Letter:
    """One parked or dead message, without its contents. `behind` is the number of messages of its key that wait for it."""

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
    """Selects letters of a room; None matches all. Times are those of the last failure, `until` exclusive."""

    code: str | None = None
    topic: str | None = None
    key: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def as_dict(self) -> dict[str, str]:
        named = (("code", self.code), ("topic", self.topic), ("key", self.key))
        times = (("from", self.since), ("to", self.until))
        return {name: value for name, value in named if value is not None} | {
            name: value.isoformat() for name, value in times if value is not None
        }

    def values(self) -> dict[str, object]:
        key = None if self.key is None else self.key.encode()
        return {"code": self.code, "topic": self.topic, "key": key, "since": self.since, "until": self.until}


MATCHES = """
(%(code)s::text IS NULL OR code = %(code)s) AND (%(topic)s::text IS NULL OR topic = %(topic)s)
AND (%(key)s::bytea IS NULL OR key = %(key)s::bytea)
AND (%(since)s::timestamptz IS NULL OR last_failed_at >= %(since)s)
AND (%(until)s::timestamptz IS NULL OR last_failed_at < %(until)s)
"""


class NoSuchLetter(Exception):
    """The id, or the beginning of one, matches no letter or several."""


class NoSuchRoom(Exception):
    """No room has that name; the message lists those that exist."""


@contextmanager
def operator_transaction(settings: Settings, room: str) -> Iterator[Connection]:
    """One writing transaction in a room's store, by the operators' role."""
    with connect(settings.dsn("tally_ops"), name="tally ops", schema=room) as conn:
        yield conn


@contextmanager
def operator_reader(settings: Settings, room: str) -> Iterator[Connection]:
    """One reading transaction, by the operators' role; works while the store takes no writes, too."""
    with connect_to_read(settings.dsn("tally_ops"), name="tally ops", schema=room) as conn:
        yield conn


def rooms_named(name: str | None) -> tuple[Room, ...]:
    """The room of that name, or all rooms. Errors: NoSuchRoom."""
    if name is None:
        return CONSUMERS
    rooms = {room.name: room for room in CONSUMERS}
    if name not in rooms:
        raise NoSuchRoom(f"there is no room {name}; there are {', '.join(rooms)}")
    return (rooms[name],)


# ── lists ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_LETTER = """
SELECT letter_id::text, state, topic, key, event_id, code, error, attempts, replays, holds,
    CASE WHEN holds THEN (SELECT count(*) FROM parked q WHERE q.holds AND q.state IN ('parked', 'dead')
                          AND q.topic = p.topic AND q.key = p.key AND q.seq > p.seq) ELSE 0 END,
    due_at, parked_at, first_failed_at, last_failed_at
FROM parked p
"""
_LIST = f"{_LETTER} WHERE state = ANY(%(states)s) AND (attempts > 0 OR %(followers)s) AND {MATCHES} ORDER BY seq LIMIT %(limit)s"


def list_letters(
    settings: Settings,
    room: str | None = None,
    states: Sequence[State] = ("dead", "parked"),
    limit: int = 1000,
    followers: bool = False,
    wanted: Filter | None = None,
) -> list[Letter]:
    """Letters of one room or all, oldest first; with `followers` also messages that only wait behind another."""
    values = {"states": list(states), "followers": followers, "limit": limit, **(wanted or Filter()).values()}
    found: list[Letter] = []
    for each in rooms_named(room):
        with operator_reader(settings, each.name) as conn:
            found += [_letter(each.name, *row) for row in conn.execute(_LIST, values)]
    return sorted(found, key=lambda letter: letter.parked_at)[:limit]


def _letter(room: str, letter_id: str, state: State, topic: str, key: bytes | None, *rest: Any) -> Letter:
    return Letter(room, letter_id, state, topic, _text(key), *rest)


def _text(key: bytes | None) -> str | None:
    """An empty key is not None."""
    return None if key is None else key.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Group:
    """Letters of one room with the same code and about the same age. `parked` ones are retried automatically."""

    room: str
    code: str
    age: str
    dead: int
    parked: int
    behind: int
    newest: str  # letter id
    newest_at: datetime
    newest_error: str


AGES = (("under 1 h", "1 hour"), ("1 h to 1 d", "1 day"), ("1 d to 7 d", "7 days"))  # since the first failure
OLDEST = "over 7 d"
_AGE = " ".join(f"WHEN first_failed_at > %(now)s - interval '{limit}' THEN '{name}'" for name, limit in AGES)
_GROUPS = f"""
SELECT code, CASE {_AGE} ELSE '{OLDEST}' END AS age, count(*) FILTER (WHERE state = 'dead'),
    count(*) FILTER (WHERE state = 'parked'),
    coalesce(sum((SELECT count(*) FROM parked q WHERE p.holds AND q.holds AND q.state = 'parked' AND q.attempts = 0
                  AND q.topic = p.topic AND q.key = p.key AND q.seq > p.seq)), 0)::bigint,
    (array_agg(letter_id::text ORDER BY seq DESC))[1], max(first_failed_at), (array_agg(error ORDER BY seq DESC))[1]
FROM parked p WHERE state IN ('dead', 'parked') AND attempts > 0 AND {MATCHES}
GROUP BY 1, 2 ORDER BY count(*) DESC, 1, 2
"""


def group_letters(
    settings: Settings, now: datetime, room: str | None = None, wanted: Filter | None = None
) -> list[Group]:
    """Room × code × age, the largest groups of each room first. `now` is business time, as the ages are."""
    groups = []
    for each in rooms_named(room):
        with operator_reader(settings, each.name) as conn:
            rows = conn.execute(_GROUPS, {"now": now, **(wanted or Filter()).values()})
            groups += [Group(each.name, *row) for row in rows]
    return groups


def matching_ids(settings: Settings, room: str, wanted: Filter, limit: int | None = None) -> list[str]:
    """The ids of a room's dead letters that match, oldest first."""
    with operator_reader(settings, room) as conn:
        rows = conn.execute(
            f"SELECT letter_id::text FROM parked WHERE state = 'dead' AND {MATCHES} ORDER BY seq LIMIT %(limit)s",
            {"limit": limit, **wanted.values()},
        )
        return [row[0] for row in rows]


# ── ids ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def resolve(settings: Settings, given: str, room: str | None = None) -> tuple[str, str]:
    """(room, letter id) for an id, or for its beginning, also as ROOM/ID. Errors: NoSuchLetter, NoSuchRoom."""
    named, _, beginning = given.rpartition("/")
    beginning = beginning.lower()
    found: list[tuple[str, str]] = []
    for each in rooms_named(named or room):
        with operator_reader(settings, each.name) as conn:
            rows = conn.execute(
                "SELECT letter_id::text FROM parked WHERE starts_with(letter_id::text, %s) LIMIT 3",
                [beginning.replace("\0", "")],
            )
            found += [(each.name, row[0]) for row in rows]
    if len(found) == 1 and len(beginning) >= SHORT:
        return found[0]
    if len(found) > 1 and len(beginning) >= SHORT:
        raise NoSuchLetter(f"{given} could be any of {_names(found)}")
    near = _nearest(settings, beginning, named or room)
    hint = f"the nearest are {_names(near)}" if near else "there are none"
    raise NoSuchLetter(f"{given}: no such letter ({SHORT} digits of an id are enough); {hint}")


def _names(found: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{room}/{letter_id}" for room, letter_id in found)


def _nearest(settings: Settings, beginning: str, room: str | None) -> list[tuple[str, str]]:
    """Up to three letters whose ids begin most similarly."""
    known: dict[str, str] = {}
    for each in rooms_named(room):
        with operator_reader(settings, each.name) as conn:
            rows = conn.execute("SELECT letter_id::text FROM parked WHERE attempts > 0 ORDER BY seq DESC LIMIT 1000")
            known |= {letter_id: each.name for (letter_id,) in rows}
    starts = {letter_id[: max(len(beginning), 1)]: letter_id for letter_id in known}
    near = difflib.get_close_matches(beginning, starts, n=3, cutoff=0)
    return [(known[starts[start]], starts[start]) for start in near]


# ── one letter in full ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class LetterDetails:
    """One letter with everything stored about it."""

    letter: Letter
    partition: int
    offset: int
    headers: tuple[tuple[str, str], ...]
    value: bytes | None
    stack: str | None
    tried: list[dict[str, Any]]  # every failed attempt: at, code, error, replays; the oldest first
    edit: bytes | None
    edited_by: str | None
    edited_at: datetime | None
    approved_by: str | None
    waiting: list[dict[str, Any]]  # the first messages behind it: letter_id, event_id, offset, parked_at
    ahead: str | None  # the letter of its key that is ahead of it
    effect_stands: bool
    acts: list[dict[str, Any]]  # from ops_audit: at, actor, action, reason


_DETAILS = """
SELECT partition, kafka_offset, headers, value, stack, tried, edit, edited_by, edited_at, approved_by,
    CASE WHEN holds THEN (SELECT letter_id::text FROM parked q WHERE q.holds AND q.state IN ('parked', 'dead')
                          AND q.topic = p.topic AND q.key = p.key AND q.seq < p.seq ORDER BY seq LIMIT 1) END
FROM parked p WHERE letter_id = %s
"""
_BEHIND = """
SELECT q.letter_id::text, q.event_id, q.kafka_offset AS offset, q.parked_at FROM parked q JOIN parked p
    ON q.topic = p.topic AND q.key = p.key AND q.seq > p.seq
WHERE p.letter_id = %s AND p.holds AND q.holds AND q.state IN ('parked', 'dead') ORDER BY q.seq LIMIT %s
"""
_ACTS = """
SELECT at, actor, action, reason FROM ops_audit WHERE jsonb_exists(filter->'letters', %s) ORDER BY id
"""


def details(settings: Settings, room: str, letter_id: str) -> LetterDetails:
    """Errors: NoSuchLetter."""
    with operator_reader(settings, room) as conn:
        row = conn.execute(f"{_LETTER} WHERE letter_id = %s", [letter_id]).fetchone()
        more = conn.execute(_DETAILS, [letter_id]).fetchone()
        if row is None or more is None:
            raise NoSuchLetter(f"{letter_id}: no such letter")
        partition, offset, headers, value, stack, tried, edit, edited_by, edited_at, approved_by, ahead = more
        with conn.cursor(row_factory=dict_row) as cursor:
            waiting = cursor.execute(_BEHIND, [letter_id, BEHIND_SHOWN]).fetchall()
            acts = cursor.execute(_ACTS, [letter_id]).fetchall()
    letter = _letter(room, *row)
    return LetterDetails(
        letter=letter,
        partition=partition,
        offset=offset,
        headers=tuple((name, "" if each is None else each.decode("latin-1")) for name, each in load_headers(headers)),
        value=value,
        stack=stack,
        tried=tried,
        edit=edit,
        edited_by=edited_by,
        edited_at=edited_at,
        approved_by=approved_by,
        waiting=waiting,
        ahead=ahead,
        effect_stands=letter.state == "done" or letter.event_id in effects(settings, room, [letter.event_id]),
        acts=acts,
    )


def message_of(conn: Connection, letter_id: str) -> Message:
    """The message as it came. Errors: NoSuchLetter."""
    row = conn.execute(
        "SELECT topic, partition, kafka_offset, key, value, headers, timestamp_ms FROM parked WHERE letter_id = %s",
        [letter_id],
    ).fetchone()
    if row is None:
        raise NoSuchLetter(f"{letter_id}: no such letter")
    topic, partition, offset, key, value, headers, stamp = row
    return Message(topic, partition, offset, key, value, tuple(load_headers(headers)), stamp)


def effects(settings: Settings, room: str, event_ids: Sequence[str]) -> set[str]:
    """The events that have left an effect in the room: its rows keep the ids of their causes (docs/architecture.md).

    An event that changed nothing has left none; without the right to read (a room of a test) the result is empty.
    """
    if not event_ids:
        return set()
    found: set[str] = set()
    ids = uuid_array(list(event_ids))
    with connect_reader(settings, room, name="tally ops") as conn:
        columns = conn.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = %s"
            " AND column_name IN ('cause_event_id', 'event_id') AND table_name <> 'parked'",
            [room],
        ).fetchall()
        for table, column in columns:
            query = sql.SQL("SELECT DISTINCT {c}::text FROM {t} WHERE {c}::uuid = ANY(%s::uuid[])").format(
                c=sql.Identifier(column), t=sql.Identifier(room, table)
            )
            found |= {row[0] for row in conn.execute(query, [ids])}
    return found


def letter_states(settings: Settings, room: str, letter_ids: Sequence[str]) -> dict[str, tuple[State, int]]:
    """Each letter's state, and its number of failed attempts."""
    with operator_reader(settings, room) as conn:
        rows = conn.execute(
            "SELECT letter_id::text, state, attempts FROM parked WHERE letter_id = ANY(%s::uuid[])", [list(letter_ids)]
        )
        return {letter_id: (state, attempts) for letter_id, state, attempts in rows}


# ── what a replay or a discard would do ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class PlannedLetter:
    """One letter of a dry run. `does`: run, wait (behind another of its key), no-op, or refused (needs force)."""

    letter_id: str
    topic: str
    key: str | None
    code: str | None
    does: Literal["run", "wait", "no-op", "refused"]
    why: str


_PLAN = """
SELECT letter_id::text, state, topic, key, code, replays, event_id, edit IS NOT NULL AND approved_by IS NULL,
    CASE WHEN holds THEN (SELECT count(*) FROM parked q WHERE q.holds AND q.state = 'parked'
                          AND q.topic = p.topic AND q.key = p.key AND q.seq > p.seq) ELSE 0 END,
    CASE WHEN holds THEN (SELECT letter_id::text FROM parked q WHERE q.holds AND q.state = 'dead' AND q.topic = p.topic
                          AND q.key = p.key AND q.seq < p.seq AND q.letter_id <> ALL(%(ids)s::uuid[])
                          ORDER BY seq LIMIT 1) END
FROM parked p WHERE letter_id = ANY(%(ids)s::uuid[]) ORDER BY seq
"""


def plan(
    settings: Settings, room: str, letter_ids: Sequence[str], *, discards: bool = False, force: bool = False
) -> list[PlannedLetter]:
    """The effect of a replay (or a discard), letter by letter, oldest first. Changes nothing."""
    with operator_reader(settings, room) as conn:
        rows = conn.execute(_PLAN, {"ids": list(letter_ids)}).fetchall()
    standing = effects(settings, room, [row[6] for row in rows if row[1] == "dead"])
    planned = []
    for letter_id, state, topic, key, code, replays, event_id, edited, behind, ahead in rows:
        facts = _LetterFacts(state, replays, event_id in standing, edited, behind, ahead)
        does, why = facts.discarded() if discards else facts.replayed(force)
        planned.append(PlannedLetter(letter_id, topic, _text(key), code, does, why))
    return planned


PlanStep = tuple[Literal["run", "wait", "no-op", "refused"], str]


@dataclass(frozen=True, slots=True)
class _LetterFacts:
    """What a plan depends on, for one letter."""

    state: State
    replays: int
    stands: bool
    edited: bool  # and not approved
    behind: int
    ahead: str | None

    def replayed(self, force: bool) -> PlanStep:
        if self.state != "dead":
            return "no-op", f"is {self.state}, not dead"
        if self.replays >= REPLAYS_MAX and not force:
            return "refused", too_often(self.replays)
        if self.ahead:
            return "wait", f"behind {self.ahead[:SHORT]} of its key, which is dead and not chosen"
        if self.stands:
            return "run", "its effect stands already: it will die again, and may be discarded"
        if self.edited:
            return "run", "as it came: its edit waits for a second person's approval"
        return "run", f"and {self.behind} behind it" if self.behind else ""

    def discarded(self) -> PlanStep:
        if self.state != "dead":
            return "no-op", f"is {self.state}, not dead"
        return "run", f"{self.behind} behind it go on" if self.behind else ""


def too_often(replays: int) -> str:
    return f"replayed {replays} times already: needs force"


def open_stop(settings: Settings, room: str) -> Stop | None:
    """The room's stop, if it has stopped."""
    with operator_reader(settings, room) as conn:
        row = conn.execute("SELECT code, reason, at FROM stops WHERE lifted_at IS NULL").fetchone()
        return Stop(*row) if row else None


@dataclass(frozen=True, slots=True)
class Stop:
    """Why and when a room stopped."""

    code: str
    reason: str
    at: datetime


def audit(settings: Settings, room: str, limit: int = 100) -> list[dict[str, Any]]:
    """The newest acts of operators in a room: id, at, actor, action, reason, filter, counts."""
    with operator_reader(settings, room) as conn, conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "SELECT id, at, actor, action, reason, filter, counts FROM ops_audit ORDER BY id DESC LIMIT %s", [limit]
        ).fetchall()

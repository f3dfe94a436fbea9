"""Parked and dead letters: stored, retried, dead; and the fault limit at which the room stops."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, LiteralString

import orjson
import structlog

from schemas.envelope import digest
from topics.catalog import Room
from topics.runtime.outbox.outbox import OutboxRecord
from topics.runtime.shape.consumer import Connection, Message
from topics.runtime.shape.decode import Failure, Incoming, holds_card_number
from topics.runtime.shape.record import HeaderPairs, dump_headers, load_headers
from topics.runtime.shape.store import Store, bytes_array, text_array, uuid_array

log = structlog.get_logger()

WINDOW = 10_000  # messages over which the share of our own faults is measured
DUE_MAX = 500  # letters of one drain, about
TRIED_MAX = 100  # attempts that a letter lists; the oldest are dropped
COPY_BYTES_MAX = (
    1_500_000  # of a dead letter's copy: an upstream's compressed record may be larger than our producer takes
)
KEY_BYTES_MAX = 1000  # of a copy's key, and of each header of a record that is too large; our own keys are ids
HEADERS_MAX = 50  # of a record that is too large
Held = set[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class ParkedLetter:
    """A stored letter, as the drain reads it."""

    seq: int
    letter_id: str
    event_id: str
    message: Message
    attempts: int
    rung: int
    replays: int
    counted: bool
    first_failed_at: datetime | None  # None while it only waits behind another
    edit: bytes | None = None  # a corrected value, approved by a second person

    @property
    def tried(self) -> Message:
        """The message to decide: as it came, or with its edit."""
        return self.message if self.edit is None else self.message._replace(value=self.edit)


# A message of a batch that is to be stored as a letter. Without a failure it waits behind an earlier letter of its key.
NewLetter = tuple[Incoming, Failure | None]


def letter_id(room: Room, incoming: Incoming) -> str:
    """The letter's own id: one event may be dead in several rooms, and is replayed in each by itself."""
    return digest(b"letter", room.name.encode(), incoming.claim.encode())


def ask_held(conn: Connection, incomings: Sequence[Incoming]) -> Callable[[], Held]:
    """→ reads, later, the (topic, key) pairs of the batch that a parked or dead letter holds.

    Its own statement, after the claims: within the same one an event could overtake a letter parked meanwhile. And before
    `load`, which must see the effects of a drain that ends in between.
    """
    keys = {(i.message.topic, i.message.key) for i in incomings if i.holds}
    found = conn.execute(
        # LIMIT forces a look-up by key for each, however few letters the planner expects; usually there are none.
        "SELECT k.topic, k.key FROM unnest(%s::text[], %s::bytea[]) AS k (topic, key) CROSS JOIN LATERAL"
        " (SELECT FROM parked p WHERE p.topic = k.topic AND p.key = k.key AND p.holds"
        "  AND p.state IN ('parked', 'dead') LIMIT 1) AS before"
        " WHERE EXISTS (SELECT FROM parked WHERE holds AND state IN ('parked', 'dead'))",
        [text_array(topic for topic, _ in keys), bytes_array([key for _, key in keys])],
    )
    return lambda: {(topic, bytes(key)) for topic, key in found.fetchall()}


def store(conn: Connection, room: Room, new: Sequence[NewLetter], now: datetime) -> list[OutboxRecord]:
    """Insert new letters, in order: they are retried in the order of their numbers.

    → copies of the dead ones for the room's dead-letter topic.
    """
    copies: list[OutboxRecord] = []
    for incoming, failure in new:
        if failure is None:
            _insert(conn, room, incoming, None, "parked", 0, now, now)
            continue
        dead = not failure.retry or not room.ladder_s
        due = now if dead else now + _pause(room, 0)
        letter = _insert(conn, room, incoming, failure, "dead" if dead else "parked", 1, due, now)
        if dead:
            copies.append(dead_letter_copy(room, incoming, letter, 1, failure, now, now))
        log.warning(
            "message dead" if dead else "message parked",
            action="dead_letter" if dead else "park",
            room=room.name,
            topic=incoming.message.topic,
            partition=incoming.message.partition,
            offset=incoming.message.offset,
            letter_id=letter,
            code=failure.code,
        )
    return copies


def _insert(
    conn: Connection,
    room: Room,
    incoming: Incoming,
    failure: Failure | None,
    state: str,
    attempts: int,
    due: datetime,
    now: datetime,
) -> str:
    message = incoming.message if failure is None else _storable_message(incoming)
    letter = letter_id(room, incoming)
    conn.execute(
        "INSERT INTO parked (letter_id, topic, partition, kafka_offset, key, value, headers, timestamp_ms, event_id, hash,"
        " holds, state, code, error, stack, attempts, due_at, parked_at, first_failed_at, last_failed_at, tried)"
        " VALUES (%s, %s, %s, %s, %b, %b, %b, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb)",
        [
            letter,
            message.topic,
            message.partition,
            message.offset,
            message.key,
            message.value,
            dump_headers(message.headers),
            message.timestamp_ms,
            incoming.claim,
            incoming.hash,
            incoming.holds,
            state,
            failure and failure.code,
            failure and _storable_text(failure.detail)[:2000],
            failure and _storable_text(failure.stack)[:8000],
            attempts,
            due,
            now,
            now if failure else None,
            now if failure else None,
            _attempts(failure, 0, now),
        ],
    )
    return letter


def _attempts(failure: Failure | None, replays: int, now: datetime) -> str:
    """The attempt as `tally dlq show` lists it, in a JSON list; an empty list without a failure."""
    if failure is None:
        return "[]"
    attempt = {"at": now, "code": failure.code, "error": _storable_text(failure.detail)[:500], "replays": replays}
    return orjson.dumps([attempt]).decode()


def _storable_text(text: str) -> str:
    """Text that PostgreSQL can store: no NUL, no lone surrogates."""
    return text.replace("\0", "\\0").encode("utf-8", "replace").decode()


def _storable_message(incoming: Incoming) -> Message:
    """The message, redacted where needed. Kafka keeps all of a message that is too large, at the letter's offset."""
    message, why = incoming.message, incoming.redacted
    if why is None:
        return message
    size = len(message.value or b"")
    message = message._replace(value=f'{{"redacted":"{why}","hash":"{incoming.hash}","bytes":{size}}}'.encode())
    if why == "card_number":
        return message._replace(
            key=message.key if incoming.holds else _without_card(message.key, incoming),
            headers=tuple((name, _without_card(content, incoming) or b"") for name, content in message.headers),
        )
    short = message.key if message.key and len(message.key) <= KEY_BYTES_MAX else None
    return message._replace(key=short, headers=tuple(_short_headers(message.headers)))


def _without_card(content: bytes | None, incoming: Incoming) -> bytes | None:
    return incoming.hash.encode() if holds_card_number(content) else content


def _short_headers(headers: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """The first short headers, to identify a record that is too large."""
    for name, content in islice(headers, HEADERS_MAX):
        if len(name) + len(content or b"") <= KEY_BYTES_MAX:
            yield name, content


def dead_letter_copy(
    room: Room,
    incoming: Incoming,
    letter: str,
    attempts: int,
    failure: Failure,
    first_failed_at: datetime,
    now: datetime,
) -> OutboxRecord:
    """The verbatim copy for `<room>.dlq.v1`: original headers first, then origin and failure.

    A readable event larger than our topics take is verbatim only in the room's store; its copy has a hash instead.
    """
    message = _storable_message(incoming)
    key, value, headers = message.key, message.value, _original_headers(message)
    if len(key or b"") > KEY_BYTES_MAX:
        key = incoming.hash.encode()
    if sum(len(name) + len(content or b"") for name, content in headers) > COPY_BYTES_MAX // 2:
        headers = []
    if message.value is not incoming.message.value or len(value or b"") > COPY_BYTES_MAX // 2:
        value = incoming.hash.encode()
    about: HeaderPairs = [
        ("tally_letter", letter.encode()),
        ("tally_attempts", b"%d" % attempts),
        ("tally_consumer", room.name.encode()),
        ("tally_topic", message.topic.encode()),
        ("tally_partition", b"%d" % message.partition),
        ("tally_offset", b"%d" % message.offset),
        ("tally_timestamp", b"%d" % message.timestamp_ms),
        ("tally_code", failure.code.encode()),
        ("tally_first_failed_at", first_failed_at.isoformat().encode()),
        ("tally_failed_at", now.isoformat().encode()),
    ]
    return OutboxRecord(room.dead_letters.name, key, [*headers, *about], value)


def _original_headers(message: Message) -> HeaderPairs:
    return [(name, value) for name, value in message.headers if not name.startswith("tally_")]


def _pause(room: Room, rung: int) -> timedelta:
    return timedelta(seconds=room.ladder_s[rung] * random.uniform(0.9, 1.1))


# ── the drain ────────────────────────────────────────────────────────────────────────────────────────────────────────

_COLUMNS = (
    "seq, letter_id::text, event_id, topic, partition, kafka_offset, key, value, headers, timestamp_ms,"
    " attempts, rung, replays, fault_at IS NOT NULL, first_failed_at, CASE WHEN approved_by IS NOT NULL THEN edit END"
)


def due_heads(conn: Connection, now: datetime, limit: int, only: Sequence[int] | None = None) -> list[ParkedLetter]:
    """Due letters with none of their key ahead of them, locked; `only`: of these numbers. Locked ones are skipped."""
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM parked p WHERE state = 'parked' AND due_at <= %(now)s"
        " AND NOT EXISTS (SELECT 1 FROM parked q WHERE p.holds AND q.holds AND q.state IN ('parked', 'dead')"
        "                 AND q.topic = p.topic AND q.key = p.key AND q.seq < p.seq)"
        + (" AND seq = ANY(%(only)s::bigint[])" if only is not None else "")
        + " ORDER BY due_at, seq LIMIT %(limit)s FOR UPDATE SKIP LOCKED",
        {"now": now, "only": only, "limit": limit},
    )
    return [_parked(row) for row in rows]


def with_followers(conn: Connection, heads: Sequence[ParkedLetter]) -> list[ParkedLetter]:
    """Each head with its followers in order; about DUE_MAX letters in all, the other heads follow in the next turn."""
    followed = _heads_with_followers(conn, heads)
    due: list[ParkedLetter] = []
    for head in heads:
        due.append(head)
        if head.seq in followed:
            due += _followers(conn, head)
        if len(due) >= DUE_MAX:
            break
    return due


def _heads_with_followers(conn: Connection, heads: Sequence[ParkedLetter]) -> set[int]:
    """The heads that have followers: one query for all, since most have none."""
    rows = conn.execute(
        # LIMIT forces a look-up by key for each; with EXISTS the plan was a join over all (300 ms for 500, not 3).
        "SELECT h.seq FROM unnest(%s::text[], %b::bytea[], %s::bigint[]) AS h (topic, key, seq) CROSS JOIN LATERAL"
        " (SELECT FROM parked p WHERE p.topic = h.topic AND p.key = h.key AND p.holds AND p.state = 'parked'"
        "  AND p.seq > h.seq LIMIT 1) AS behind",
        [[h.message.topic for h in heads], [h.message.key for h in heads], [h.seq for h in heads]],
    )
    return {seq for (seq,) in rows}


def _followers(conn: Connection, head: ParkedLetter) -> list[ParkedLetter]:
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM parked WHERE topic = %s AND key = %b AND holds AND state = 'parked' AND seq > %s"
        " ORDER BY seq LIMIT 500 FOR UPDATE",
        [head.message.topic, head.message.key, head.seq],
    )
    return [_parked(row) for row in rows]


def _parked(row: tuple[Any, ...]) -> ParkedLetter:
    seq, letter_id, event_id, topic, partition, offset, key, value, headers, stamp, *rest = row
    message = Message(topic, partition, offset, key, value, tuple(load_headers(headers)), stamp)
    return ParkedLetter(seq, letter_id, event_id, message, *rest)


def finish(conn: Connection, letters: Sequence[ParkedLetter], now: datetime) -> None:
    """Mark letters as done."""
    conn.execute(
        "UPDATE parked SET state = 'done', ended_at = %s WHERE seq = ANY(%s)", [now, [letter.seq for letter in letters]]
    )


@dataclass(frozen=True, slots=True)
class FailedLetter:
    """A letter that was retried and failed again."""

    letter: ParkedLetter
    incoming: Incoming
    failure: Failure

    def rung(self, room: Room) -> int | None:
        """The letter's next rung of the ladder; None past the end, or if the failure is permanent."""
        rung = self.letter.rung + 1 if self.letter.attempts else 0
        return rung if self.failure.retry and rung < len(room.ladder_s) else None


_FAIL_AGAIN = f"""
UPDATE parked p SET state = u.state, code = u.code, error = u.error, stack = u.stack, attempts = p.attempts + 1,
    rung = u.rung, due_at = u.due_at, last_failed_at = %(now)s, first_failed_at = coalesce(p.first_failed_at, %(now)s),
    tried = CASE WHEN jsonb_array_length(p.tried) < {TRIED_MAX} THEN p.tried ELSE p.tried - 0 END || u.tried
FROM unnest(%(seq)s::bigint[], %(state)s::text[], %(code)s::text[], %(error)s::text[], %(stack)s::text[],
    %(rung)s::integer[], %(due)s::timestamptz[], %(tried)s::jsonb[])
    AS u (seq, state, code, error, stack, rung, due_at, tried) WHERE p.seq = u.seq
"""


def fail_again(
    conn: Connection, room: Room, failed: Sequence[FailedLetter], now: datetime
) -> tuple[list[OutboxRecord], list[str]]:
    """Move letters one rung up the ladder, or to dead at its end. → copies of the dead, ids of new faults of ours."""
    rungs = [each.rung(room) for each in failed]
    conn.execute(
        _FAIL_AGAIN,
        {
            "now": now,
            "seq": [each.letter.seq for each in failed],
            "state": ["dead" if rung is None else "parked" for rung in rungs],
            "code": [each.failure.code for each in failed],
            "error": [_storable_text(each.failure.detail)[:2000] for each in failed],
            "stack": [_storable_text(each.failure.stack)[:8000] for each in failed],
            "rung": [rung or 0 for rung in rungs],
            "due": [now if rung is None else now + _pause(room, rung) for rung in rungs],
            "tried": [_attempts(each.failure, each.letter.replays, now) for each in failed],
        },
    )
    dead = [each for each, rung in zip(failed, rungs, strict=True) if rung is None]
    copies = [
        dead_letter_copy(
            room, d.incoming, d.letter.letter_id, d.letter.attempts + 1, d.failure, d.letter.first_failed_at or now, now
        )
        for d in dead
    ]
    ours = [each.letter for each in failed if each.failure.ours]
    return copies, [letter.letter_id for letter in ours if not letter.counted and not letter.replays]


# ── a copy produced back is a replay ─────────────────────────────────────────────────────────────────────────────────


def revive_copies(conn: Connection, copies: Sequence[Incoming], now: datetime) -> int:
    """Make letters due again whose copies a Kafka tool has produced back to the topic. → how many

    A copy is recognised by letter id and attempt count, which must be those of a dead letter; without headers, by the
    hash of key and value. Any other repeat is a duplicate.
    """
    revived = 0
    for incoming in copies:
        where: str = "topic = %s AND hash = %s"
        arguments: list[object] = [incoming.message.topic, incoming.hash]
        if incoming.letter is not None:
            where += " AND letter_id = %s AND attempts = %s"
            arguments += [incoming.letter.id, incoming.letter.attempts]
        again = conn.execute(
            "UPDATE parked SET state = 'parked', rung = 0, replays = replays + 1, due_at = %s"
            f" WHERE state = 'dead' AND {where} RETURNING 1",
            [now, *arguments],
        )
        revived += len(again.fetchall())
    return revived


def unreadable_copies(conn: Connection, unreadable: Sequence[Incoming]) -> list[Incoming]:
    """The unreadable records that are copies of letters: same contents, and the letter's id or no headers at all."""
    suspects = [i for i in unreadable if i.letter is not None or not i.message.headers]
    if not suspects:
        return []
    rows = conn.execute(
        "SELECT letter_id::text, hash::text, holds FROM parked WHERE hash = ANY(%s::uuid[])",
        [uuid_array([i.hash for i in suspects])],
    ).fetchall()
    letters = {(letter, content) for letter, content, _ in rows}
    hashes = {content for _, content, holds in rows if holds}
    return [i for i in suspects if (i.hash in hashes if i.letter is None else (i.letter.id, i.hash) in letters)]


# ── the limit ────────────────────────────────────────────────────────────────────────────────────────────────────────


def count_faults(conn: Connection, room_store: Store, letter_ids: Sequence[str], now: datetime) -> None:
    """Mark new faults of ours with the room's message count; store a stop if there are too many."""
    total = _messages_total(conn)
    conn.execute(
        "UPDATE parked SET fault_at = %s WHERE letter_id = ANY(%s::uuid[])", [total, uuid_array(list(letter_ids))]
    )
    lifted = conn.execute("SELECT coalesce(max(messages), -1) FROM stops WHERE lifted_at IS NOT NULL").fetchone()
    since = max(total - WINDOW, lifted[0] if lifted else -1)
    found = conn.execute("SELECT count(*) FROM parked WHERE fault_at > %s", [since]).fetchone()
    faults = found[0] if found else 0
    limit = max(room_store.stop_at_least, int(room_store.stop_share * min(total, WINDOW)))
    if faults > limit:
        reason = f"{faults} of the last {min(total, WINDOW)} messages failed by our own fault (limit {limit})"
        write_stop(conn, "too_many_faults", reason, total)


# All messages of the room: with positions, and without (calls, timers).
MESSAGES: LiteralString = (
    "(SELECT (SELECT coalesce(sum(messages), 0) FROM positions) + (SELECT coalesce(sum(messages), 0) FROM message_counts))"
    "::bigint"
)


def _messages_total(conn: Connection) -> int:
    row = conn.execute(f"SELECT {MESSAGES}").fetchone()
    return row[0] if row else 0


def write_stop(
    conn: Connection, code: str, reason: str, total: int | None = None, about: Mapping[str, object] | None = None
) -> None:
    """Store a stop for all processes of the room. A second stop changes nothing.

    `about` names the subject of a way out (positions.py).
    """
    conn.execute(
        "INSERT INTO stops (code, reason, messages, about) VALUES (%s, %s, %s, %s::jsonb) ON CONFLICT DO NOTHING",
        [
            code,
            reason,
            _messages_total(conn) if total is None else total,
            orjson.dumps(about).decode() if about else None,
        ],
    )


def is_stopped(conn: Connection) -> bool:
    """Whether the room has stopped."""
    return conn.execute("SELECT 1 FROM stops WHERE lifted_at IS NULL").fetchone() is not None

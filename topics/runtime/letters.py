"""Parked and dead letters: who waits, who is tried again, who is given up, and when the room must stop."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from schemas.envelope import digest
from schemas.text import looks_like_card_number
from topics.catalog import Room
from topics.runtime.consumer import Broken, Connection, Message
from topics.runtime.decode import Failure, Incoming
from topics.runtime.outbox import HeaderPairs, Unsaid, dump_headers, load_headers
from topics.runtime.store import Store, uuid_array

log = structlog.get_logger()

WINDOW = 10_000  # messages over which the share of our own faults is taken
DUE_MAX = 500  # letters of one drain, about
COPY_BYTES_MAX = (
    1_500_000  # a dead letter's copy must pass the producer, whatever an upstream's compression let through
)
Held = set[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Parked:
    """A stored letter, as the drain meets it."""

    seq: int
    letter_id: str
    event_id: str
    message: Message
    attempts: int
    rung: int
    replays: int
    counted: bool


@dataclass(slots=True)
class Verdicts:
    """The messages of one batch that were not simply decided, in order; without a failure: behind one that failed."""

    letters: list[tuple[Incoming, Failure | None]]

    def __bool__(self) -> bool:
        return bool(self.letters)


def letter_id(room: Room, incoming: Incoming) -> str:
    """A letter has an id of its own: the same event may be dead in several rooms, and each is replayed alone."""
    return digest(b"letter", room.name.encode(), incoming.claim.encode())


def held_keys(conn: Connection, incomings: Sequence[Incoming]) -> Held:
    """Which (topic, key) of the batch have something parked or dead before them.

    A statement of its own, later than the claim: in one statement an event could overtake one parked meanwhile.
    """
    if not conn.execute("SELECT 1 FROM parked WHERE holds AND state IN ('parked', 'dead') LIMIT 1").fetchone():
        return set()
    keys = {(i.message.topic, i.message.key) for i in incomings if i.holds}
    found = conn.execute(
        "SELECT DISTINCT p.topic, p.key FROM unnest(%s::text[], %s::bytea[]) AS k (topic, key)"
        " JOIN parked p ON p.topic = k.topic AND p.key = k.key WHERE p.holds AND p.state IN ('parked', 'dead')",
        [[topic for topic, _ in keys], [key for _, key in keys]],
    )
    return {(topic, bytes(key)) for topic, key in found}


def store(conn: Connection, room: Room, verdicts: Verdicts, now: datetime) -> list[Unsaid]:
    """Put new letters away, in order: their numbers are the order in which they are tried again.

    → the dead letters' copies for the room's topic.
    """
    copies: list[Unsaid] = []
    for incoming, failure in verdicts.letters:
        if failure is None:
            _insert(conn, room, incoming, None, "parked", 0, now, now)
            continue
        dead = not failure.retry or not room.ladder_s
        due = now if dead else now + _pause(room, 0)
        letter = _insert(conn, room, incoming, failure, "dead" if dead else "parked", 1, due, now)
        if dead:
            copies.append(copy(room, incoming, letter, 1, failure, now))
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
    message = incoming.message
    letter = letter_id(room, incoming)
    redacted = failure is not None and must_be_hashed(incoming)
    conn.execute(
        "INSERT INTO parked (letter_id, topic, partition, kafka_offset, key, value, headers, timestamp_ms, event_id, hash,"
        " holds, state, code, error, stack, attempts, due_at, parked_at, first_failed_at, last_failed_at)"
        " VALUES (%s, %s, %s, %s, %b, %b, %b, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
            letter,
            message.topic,
            message.partition,
            message.offset,
            message.key,
            _hashed(incoming) if redacted else message.value,
            dump_headers(message.headers),
            message.timestamp_ms,
            incoming.claim,
            incoming.hash,
            incoming.holds,
            state,
            failure and failure.code,
            failure and _clean(failure.detail)[:2000],
            failure and _clean(failure.stack)[:8000],
            attempts,
            due,
            now,
            now if failure else None,
            now if failure else None,
        ],
    )
    return letter


def _clean(text: str) -> str:
    """What PostgreSQL can store: no NUL, no lone surrogates."""
    return text.replace("\0", "\\0").encode("utf-8", "replace").decode()


def must_be_hashed(incoming: Incoming) -> bool:
    """Whether a record must not be kept as it is: it was refused, and holds what looks like a card number.

    An event that can be read has passed its own checks. Digits in its ids may look like a card's all the same, and
    without its value it could not be tried again.
    """
    value = incoming.message.value
    readable = incoming.event is not None and not isinstance(incoming.event, Broken)
    return value is not None and not readable and looks_like_card_number(value.decode("utf-8", "replace"))


def _hashed(incoming: Incoming) -> bytes:
    return f'{{"redacted":"card_number","hash":"{incoming.hash}"}}'.encode()


def copy(room: Room, incoming: Incoming, letter: str, attempts: int, failure: Failure, now: datetime) -> Unsaid:
    """The verbatim copy for `<room>.dlq.v1`: original headers first, then where it comes from and why it is here.

    What is too large for any topic of ours is verbatim in the room's store alone; its copy has a hash in its place.
    """
    message = incoming.message
    value, headers = message.value, _original(message)
    if sum(len(name) + len(content or b"") for name, content in headers) > COPY_BYTES_MAX // 2:
        headers = []
    if must_be_hashed(incoming) or len(value or b"") > COPY_BYTES_MAX // 2:
        value = incoming.hash.encode()
    about: HeaderPairs = [
        ("tally_letter", letter.encode()),
        ("tally_attempts", b"%d" % attempts),
        ("tally_consumer", room.name.encode()),
        ("tally_topic", message.topic.encode()),
        ("tally_partition", b"%d" % message.partition),
        ("tally_offset", b"%d" % message.offset),
        ("tally_code", failure.code.encode()),
        ("tally_failed_at", now.isoformat().encode()),
    ]
    return Unsaid(room.dead_letters.name, message.key, [*headers, *about], value)


def _original(message: Message) -> HeaderPairs:
    return [(name, value) for name, value in message.headers if not name.startswith("tally_")]


def _pause(room: Room, rung: int) -> timedelta:
    return timedelta(seconds=room.ladder_s[rung] * random.uniform(0.9, 1.1))


# ── the drain ────────────────────────────────────────────────────────────────────────────────────────────────────────

_COLUMNS = (
    "seq, letter_id::text, event_id, topic, partition, kafka_offset, key, value, headers, timestamp_ms,"
    " attempts, rung, replays, fault_at IS NOT NULL"
)


def due_letters(
    conn: Connection, now: datetime, limit: int, followers: bool = True, only: int | None = None
) -> list[Parked]:
    """Due heads, locked, each followed in order by what waits behind it. A head locked elsewhere means hands off."""
    heads = conn.execute(
        f"SELECT {_COLUMNS} FROM parked p WHERE state = 'parked' AND due_at <= %s"
        " AND NOT EXISTS (SELECT 1 FROM parked q WHERE p.holds AND q.holds AND q.state IN ('parked', 'dead')"
        "                 AND q.topic = p.topic AND q.key = p.key AND q.seq < p.seq)"
        " AND seq = coalesce(%s, seq) ORDER BY due_at, seq LIMIT %s FOR UPDATE SKIP LOCKED",
        [now, only, limit],
    ).fetchall()
    due: list[Parked] = []
    for row in heads:
        head = _parked(row)
        due += [head, *(_followers(conn, head) if followers else ())]
        if len(due) >= DUE_MAX:
            break
    return due


def _followers(conn: Connection, head: Parked) -> list[Parked]:
    if head.message.key is None:
        return []
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM parked WHERE topic = %s AND key = %b AND holds AND state = 'parked' AND seq > %s"
        " ORDER BY seq LIMIT 500 FOR UPDATE",
        [head.message.topic, head.message.key, head.seq],
    )
    return [_parked(row) for row in rows]


def _parked(row: tuple[object, ...]) -> Parked:
    seq, letter_id, event_id, topic, partition, offset, key, value, headers, stamp, attempts, rung, replays, counted = (
        row
    )
    message = Message(topic, partition, offset, key, value, tuple(load_headers(headers)), stamp)  # type: ignore[arg-type]
    return Parked(seq, letter_id, event_id, message, attempts, rung, replays, counted)  # type: ignore[arg-type]


def finish(conn: Connection, letters: Sequence[Parked], now: datetime) -> None:
    """The letters took effect."""
    conn.execute(
        "UPDATE parked SET state = 'done', ended_at = %s WHERE seq = ANY(%s)", [now, [letter.seq for letter in letters]]
    )


def fail_again(
    conn: Connection, room: Room, letter: Parked, incoming: Incoming, failure: Failure, now: datetime
) -> tuple[list[Unsaid], int]:
    """One rung up the ladder, or dead at its end. → the copy if dead, and 1 if it is a new fault of ours."""
    rung = letter.rung + 1 if letter.attempts else 0
    dead = not failure.retry or rung >= len(room.ladder_s)
    attempts = letter.attempts + 1
    conn.execute(
        "UPDATE parked SET state = %s, code = %s, error = %s, stack = %s, attempts = %s, rung = %s, due_at = %s,"
        " last_failed_at = %s, first_failed_at = coalesce(first_failed_at, %s) WHERE seq = %s",
        [
            "dead" if dead else "parked",
            failure.code,
            _clean(failure.detail)[:2000],
            _clean(failure.stack)[:8000],
            attempts,
            rung,
            now if dead else now + _pause(room, rung),
            now,
            now,
            letter.seq,
        ],
    )
    new_fault = int(failure.ours and not letter.counted and not letter.replays)
    copies = [copy(room, incoming, letter.letter_id, attempts, failure, now)] if dead else []
    return copies, new_fault


# ── a copied-back record is a replay ─────────────────────────────────────────────────────────────────────────────────


def revive_copies(conn: Connection, copies: Sequence[Incoming], now: datetime) -> int:
    """Make letters due again whose dead-letter record came back by some Kafka tool. → how many.

    Known by letter id and attempt count, which must be those of a letter that is dead now; where the headers were lost,
    by the hash of key and value. Any other repeat is a duplicate.
    """
    revived = 0
    for incoming in copies:
        where: str = "topic = %s AND hash = %s"
        arguments: list[object] = [incoming.message.topic, incoming.hash]
        if incoming.letter is not None:
            where += " AND letter_id = %s AND attempts = %s"
            arguments += [incoming.letter.id, incoming.letter.attempts]
        revived += conn.execute(
            "UPDATE parked SET state = 'parked', rung = 0, replays = replays + 1, due_at = %s"
            f" WHERE state = 'dead' AND {where}",
            [now, *arguments],
        ).rowcount
    return revived


def unreadable_copies(conn: Connection, unreadable: Sequence[Incoming]) -> list[Incoming]:
    """Which unreadable records are copies of letters: without any headers, or with a letter's id, and its contents."""
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
    """Mark new faults of ours with the room's message count; write the stop where there are too many.

    `now` is for the log only: the stop's time is the database's.
    """
    total = _total(conn)
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


def _total(conn: Connection) -> int:
    row = conn.execute("SELECT coalesce(sum(messages), 0)::bigint FROM positions").fetchone()
    return row[0] if row else 0


def write_stop(conn: Connection, code: str, reason: str, total: int | None = None) -> None:
    """The room stops, for all its processes, until an operator lifts it. A second stop changes nothing."""
    conn.execute(
        "INSERT INTO stops (code, reason, messages) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        [code, reason, _total(conn) if total is None else total],
    )

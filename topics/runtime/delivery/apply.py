"""A batch of messages → one transaction: positions, inbox, parked, load, decide, save, outbox. Free of transport.

At least once in, exactly once in effect: a process that dies before the commit has done nothing, and the messages are
redelivered; after the commit the position, moved in the same transaction, keeps them from being read again. The inbox of the
consumer drops records that were published twice.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar

from schemas.envelope import Envelope, EventId, child_trace, derive_id, event_type, record_headers
from schemas.errors import Permanent, Transient
from schemas.events import AnyEvent
from topics.catalog import TIMERS, Topic
from topics.runtime.calls import rows as calls
from topics.runtime.calls import timers
from topics.runtime.dead_letters import store as letters
from topics.runtime.dead_letters.store import Held, NewLetter
from topics.runtime.delivery.inbox import claim
from topics.runtime.outbox import outbox
from topics.runtime.outbox.outbox import OutboxRecord, Row
from topics.runtime.shape.consumer import (
    AnyConsumer,
    Cause,
    Connection,
    Decision,
    Latest,
    Message,
    Said,
    State,
    Timer,
    Versions,
)
from topics.runtime.shape.decode import Failure, Incoming, cause_id, decode
from topics.runtime.shape.failpoints import hit
from topics.runtime.shape.store import Stopped, Store, error_kind, int_array, text_array
from topics.runtime.shape.table import Column, Table

Result = TypeVar("Result")
Partition = tuple[str, int]
Begins = Mapping[Partition, int]  # the offset at which this process began to read, or its last batch ended


@dataclass(slots=True)
class Applied:
    """One committed transaction: the outbox rows to publish, and counts of its messages by result."""

    rows: list[Row] = field(default_factory=list)
    ends: dict[Partition, int] = field(default_factory=dict)  # the stored positions after it
    foreign: set[Partition] = field(
        default_factory=set
    )  # moved by another process: their messages were dropped, read again from the position
    messages: int = 0
    duplicates: int = 0
    parked: int = 0
    dead: int = 0
    revived: int = 0
    calls: int = 0
    latest: bool = False  # whether a compacted topic has dirty keys
    due: bool = False  # whether a timer was set that is due already


class _PositionsMoved(Exception):
    """Another process has moved these positions: the batch is retried without them."""

    def __init__(self, partitions: set[Partition]) -> None:
        super().__init__(f"positions moved: {sorted(partitions)}")
        self.partitions = partitions


class SpoiltBatch(Exception):
    """A message makes the transaction fail: bisect the batch to find it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def apply(
    store: Store, consumer: AnyConsumer, messages: Sequence[Message], begins: Begins | None, now: datetime
) -> Iterator[Applied]:
    """Apply messages in order; yields after each commit: one, or more if a message that fails had to be found.

    `begins` is None for messages without positions (calls, timers). Errors: psycopg.Error while the database is away (the
    rest is not applied: redeliver it), Stopped if the room must not go on.
    """
    incomings = [decode(message, store.upstreams, store.digest_key) for message in messages]
    yield from _apply_halves(store, consumer, incomings, dict(begins) if begins is not None else None, now)


def _apply_halves(
    store: Store,
    consumer: AnyConsumer,
    incomings: Sequence[Incoming],
    begins: dict[Partition, int] | None,
    now: datetime,
) -> Iterator[Applied]:
    """Bisect a spoilt batch, in order, to find the message at fault; it is decided once more before it is a letter."""
    try:
        yield _advance_begins(begins, _apply_batch(store, consumer, incomings, begins, now))
    except SpoiltBatch as split:
        if len(incomings) > 1:
            middle = len(incomings) // 2
            yield from _apply_halves(store, consumer, incomings[:middle], begins, now)
            yield from _apply_halves(store, consumer, incomings[middle:], begins, now)
            return
        try:
            yield _advance_begins(begins, _apply_batch(store, consumer, incomings, begins, now))
        except SpoiltBatch as again:
            incomings[0].failure = failure_of(again.error)
            yield _advance_begins(begins, _give_up(store, consumer, incomings, begins, now, split.error))


def _give_up(
    store: Store,
    consumer: AnyConsumer,
    incomings: Sequence[Incoming],
    begins: dict[Partition, int] | None,
    now: datetime,
    error: Exception,
) -> Applied:
    """Store the message as a letter. If even that fails the room stops: no message is ever dropped."""
    try:
        return _apply_batch(store, consumer, incomings, begins, now)
    except SpoiltBatch:
        message = incomings[0].message
        where = f"{message.topic}[{message.partition}]@{message.offset}"
        raise stop_room(
            store, "cannot_dead_letter", f"{where} can be neither applied nor stored as a letter: {error}"
        ) from error


def _advance_begins(begins: dict[Partition, int] | None, applied: Applied) -> Applied:
    if begins is not None:
        begins.update(applied.ends)
    return applied


def _apply_batch(
    store: Store, consumer: AnyConsumer, incomings: Sequence[Incoming], begins: Begins | None, now: datetime
) -> Applied:
    """One transaction in two round trips: all reads, then all writes with the commit."""
    foreign: set[Partition] = set()
    while mine := [i for i in incomings if i.message[:2] not in foreign] if foreign else incomings:
        work = partial(_in_transaction, store=store, consumer=consumer, incomings=mine, begins=begins, now=now)
        try:
            applied, rows = run_classified(store, work)
        except _PositionsMoved as found:
            foreign |= found.partitions
            continue
        applied.rows, applied.foreign = rows(), foreign
        return applied
    return Applied(foreign=foreign)


def run_classified(store: Store, work: Callable[[Connection], Result]) -> Result:
    """Run `work` in one transaction. A failure that one message may have caused raises SpoiltBatch."""
    try:
        with store.batch() as conn:
            result = work(conn)
            if result is not None:  # a drain with nothing due is not a batch
                hit("before_commit")
        if result is not None:
            hit("after_commit")
        return result
    except (Stopped, SpoiltBatch, _PositionsMoved):
        raise
    except Exception as error:
        raise _classify(store, error) from error


def _classify(store: Store, error: Exception) -> Exception:
    """data and other exceptions: SpoiltBatch; bug: Stopped; away: the error itself, on which the loop waits."""
    match error_kind(error):
        case "away":
            return error
        case "bug":
            return stop_room(store, "database_refuses", f"{type(error).__name__}: {error}".splitlines()[0])
        case _:
            return SpoiltBatch(error)


def stop_room(store: Store, code: str, reason: str, about: Mapping[str, object] | None = None) -> Stopped:
    """Store the stop for all processes of the room; without a database only this process stops."""
    try:
        with store.transaction() as conn:
            letters.write_stop(conn, code, reason, about=about)
    except Exception as error:
        reason = f"{reason} (and the stop could not be stored: {error})"
    return Stopped(code, reason)


def failure_of(error: Exception) -> Failure:
    """The failure of a message that made its transaction fail (as opposed to one that its decider raised)."""
    stack = "".join(traceback.format_exception(error))
    state = getattr(error, "sqlstate", None)
    if error_kind(error) == "data":
        return Failure(f"database_{state or type(error).__name__}", str(error), stack, ours=True)
    return Failure("unclassified", f"{type(error).__name__}: {error}", stack, ours=True, retry=True)


# ── the steps, in the order of docs/architecture.md, "Delivery" ──────────────────────────────────────────────────────


def _in_transaction(
    conn: Connection,
    store: Store,
    consumer: AnyConsumer,
    incomings: Sequence[Incoming],
    begins: Begins | None,
    now: datetime,
) -> tuple[Applied, Callable[[], list[Row]]]:
    """→ the result, and a function that reads its outbox rows after the commit.

    BEGIN, positions, claims, held keys and the queries of `load` are sent together, in this order: one round trip. So
    rows are loaded for repeats and held messages, too; if another process has moved a position, all is rolled back.
    """
    stopped = refuse_while_stopped(conn) if begins is None else lock_positions(conn, begins, incomings)
    hit("after_positions")
    claimed = claim(conn, incomings)
    hit("after_claim")
    holding = letters.ask_held(conn, incomings)
    hit("after_parked")
    readable = [i.event for i in incomings if i.failure is None and i.event is not None]
    state = consumer.load(conn, readable, now)
    hit("after_load")
    stopped()
    fresh, duplicates = claimed()
    applied = Applied(messages=len(incomings), duplicates=len(duplicates))
    if begins is None and (fired := [i.claim for i in incomings if i.message.topic == TIMERS.name]):
        timers.delete(conn, fired)  # done, or stored as letters
    fresh = _revive(conn, fresh, duplicates, now, applied)
    rows, faults = _fold_and_save(conn, consumer, fresh, state, holding(), now, applied)
    if begins is None:
        count_messages(conn, store, len(incomings))
    else:
        applied.ends = move_positions(conn, incomings, duplicates)
    if faults:
        letters.count_faults(conn, store, faults, now)
    return applied, rows


def refuse_while_stopped(conn: Connection) -> Callable[[], None]:
    """Query now; the result, read later, raises Stopped if the room has stopped."""
    asked = conn.execute("SELECT code, reason FROM stops WHERE lifted_at IS NULL")

    def answer() -> None:
        if row := asked.fetchone():
            raise Stopped(row[0], row[1])

    return answer


def lock_positions(conn: Connection, begins: Begins, incomings: Sequence[Incoming]) -> Callable[[], None]:
    """Lock the batch's positions, sorted; the result, read later, compares them with `begins`.

    Errors, then: _PositionsMoved; Stopped if the room has stopped (same statement).
    """
    touched = sorted({i.message[:2] for i in incomings})
    asked = conn.execute(
        "SELECT p.topic, p.partition, p.next_offset, (SELECT ARRAY[code, reason] FROM stops WHERE lifted_at IS NULL)"
        " FROM positions p"
        " JOIN unnest(%s::text[], %s::integer[]) AS t (topic, partition) USING (topic, partition)"
        " ORDER BY p.topic, p.partition FOR UPDATE OF p",
        [text_array([topic for topic, _ in touched]), int_array([partition for _, partition in touched])],
    )

    def answer() -> None:
        rows = asked.fetchall()
        if rows and rows[0][3]:
            raise Stopped(*rows[0][3])
        stored = {(topic, partition): offset for topic, partition, offset, _ in rows}
        if foreign := {place for place in touched if stored.get(place) != begins.get(place, -1)}:
            raise _PositionsMoved(foreign)

    return answer


def _revive(
    conn: Connection, fresh: list[Incoming], duplicates: list[Incoming], now: datetime, applied: Applied
) -> list[Incoming]:
    """A dead letter's copy, produced back by a Kafka tool, makes the letter due again; the copy itself is never decided."""
    unreadable = letters.unreadable_copies(conn, [i for i in fresh if i.failure is not None])
    copies = [i for i in duplicates if i.letter is not None] + unreadable
    if copies:
        applied.revived = letters.revive_copies(conn, copies, now)
    gone = {id(i) for i in unreadable}
    return [i for i in fresh if id(i) not in gone] if unreadable else fresh


def _fold_and_save(
    conn: Connection,
    consumer: AnyConsumer,
    fresh: Sequence[Incoming],
    state: State,
    held: Held,
    now: datetime,
    applied: Applied,
) -> tuple[Callable[[], list[Row]], list[str]]:
    """Decide in order, save, and store letters and outbox records. → reads the outbox rows, later; the ids of the letters
    that count as our own faults."""
    folded = _fold(consumer, fresh, state, held, now)
    hit("after_decide")
    save(conn, consumer, folded, now, applied)
    hit("after_save")
    records = folded.records
    ours: list[str] = []
    if folded.letters:
        copies = letters.store(conn, consumer.room, folded.letters, now)
        records = [*records, *copies]
        applied.dead += len(copies)
        applied.parked += len(folded.letters) - len(copies)
        ours = [letters.letter_id(consumer.room, i) for i, fault in folded.letters if fault and fault.ours]
    rows = outbox.insert(conn, records)
    hit("after_outbox")
    return rows, ours


@dataclass(slots=True)
class FoldedBatch:
    """The decisions of a batch: changes, calls and timers to save, records to publish, messages to store as letters."""

    changes: list[Any] = field(default_factory=list)
    calls: list[calls.CausedCall] = field(default_factory=list)
    timers: list[tuple[Timer, EventId]] = field(default_factory=list)
    records: list[OutboxRecord] = field(default_factory=list)
    letters: list[NewLetter] = field(default_factory=list)


def _fold(consumer: AnyConsumer, fresh: Iterable[Incoming], state: State, held: Held, now: datetime) -> FoldedBatch:
    """Decide message by message, in order. A key whose message failed is held for the rest of the batch, too."""
    folded = FoldedBatch()
    held = set(held)
    for incoming in fresh:
        message = incoming.message
        if held and (message.topic, message.key) in held and incoming.holds:
            folded.letters.append((incoming, None))
            continue
        failure = incoming.failure or decide_one(consumer, incoming, state, now, folded)
        if failure is not None:
            folded.letters.append((incoming, failure))
            if incoming.holds and message.key is not None:
                held.add((message.topic, message.key))
    return folded


def decide_one(
    consumer: AnyConsumer, incoming: Incoming, state: State, now: datetime, folded: FoldedBatch
) -> Failure | None:
    """Decide one message and fold its decision; nothing is folded if deciding or encoding its events failed."""
    message = incoming.message
    cause = Cause(
        cause_id(incoming),
        message.topic,
        incoming.upstream,
        now,
        incoming.entered_ms,
        incoming.traceparent,
        message.headers,
        message.partition,
        message.offset,
    )
    try:
        decision = consumer.decide(state, incoming.event, cause)
        records = _outbox_records(consumer, decision, cause) if decision.events else ()
    except Transient as error:
        return Failure(error.code, error.detail, retry=True)
    except Permanent as error:
        return Failure(error.code, error.detail, ours=error.ours)
    except Exception as error:
        stack = traceback.format_exc()
        return Failure("unclassified", f"{type(error).__name__}: {error}", stack, ours=True, retry=True)
    for change in decision.changes:
        state.fold(change)
    folded.changes += decision.changes
    if decision.calls:
        folded.calls += [(call, cause.event_id, decision.traceparent or cause.traceparent) for call in decision.calls]
    folded.timers += [(timer, timers.timer_id(timer, cause)) for timer in decision.timers]
    folded.records += records
    return None


_TOPICS_BY_TYPE: dict[str, dict[type[AnyEvent], Topic]] = {}


def _topic_of(consumer: AnyConsumer, kind: type[AnyEvent]) -> Topic:
    if consumer.name not in _TOPICS_BY_TYPE:
        _TOPICS_BY_TYPE[consumer.name] = {event: topic for topic in consumer.room.writes for event in topic.says}
    return _TOPICS_BY_TYPE[consumer.name][kind]


def _outbox_records(consumer: AnyConsumer, decision: Decision, cause: Cause) -> list[OutboxRecord]:
    """The decision's events as records, their ids derived from the cause's."""
    records = []
    source = f"/tallystick/{consumer.name}"
    parent = decision.traceparent or cause.traceparent
    for position, event in enumerate(decision.events):
        event_id = derive_id(cause.event_id, consumer.name, position, cause.entered_ms)
        trace = child_trace(parent, event_id, cause.event_id)
        envelope = Envelope(event_id, source, event_type(type(event)), cause.now, decision.revision, trace)
        value = event.__pydantic_serializer__.to_json(event, exclude_none=True)
        topic = _topic_of(consumer, type(event))
        records.append(OutboxRecord(topic.name, event.key.encode(), record_headers(envelope), value))
    return records


def save(conn: Connection, consumer: AnyConsumer, folded: FoldedBatch, now: datetime, applied: Applied) -> None:
    """Save the room's changes, calls and timers, mark the dirty keys of its compacted topics, and add what saving says."""
    if folded.changes:
        saved = consumer.save(conn, folded.changes) or {}
        if isinstance(saved, Said):
            folded.records += [_said_by_saving(consumer, each, now) for each in saved.events]
        else:
            applied.latest = mark_latest(conn, saved)
    if folded.calls:
        calls.save(conn, folded.calls, now)
        applied.calls = len(folded.calls)
    if folded.timers:
        timers.save(conn, folded.timers)
        applied.due = any(timer.due_at <= now for timer, _ in folded.timers)


def _said_by_saving(consumer: AnyConsumer, latest: Latest, now: datetime) -> OutboxRecord:
    """The id follows from topic, key and version, whichever event has led to it."""
    kind, topic = type(latest.event), _topic_of(consumer, type(latest.event))
    event_id = derive_id(f"{topic.name}|{latest.key}", consumer.name, latest.version, int(now.timestamp() * 1000))
    envelope = Envelope(event_id, f"/tallystick/{consumer.name}", event_type(kind), now, latest.version)
    value = latest.event.__pydantic_serializer__.to_json(latest.event, exclude_none=True)
    return OutboxRecord(topic.name, latest.key.encode(), record_headers(envelope), value)


class _LatestMark(NamedTuple):
    topic: str
    key: str
    version: int


LATEST = Table(
    "latest_outbox",
    Column("topic", "text", key=True),
    Column("key", "text", key=True),
    Column("version", "int8"),
)
_MARK = LATEST.insert(
    otherwise="ON CONFLICT (topic, key) DO UPDATE SET version = greatest(latest_outbox.version, excluded.version)"
)


def mark_latest(conn: Connection, new: Versions) -> bool:
    """Mark keys as dirty, with their versions; the publisher reads the current row of a key when it gets to it."""
    rows = sorted(_LatestMark(topic.name, key, version) for topic, keys in new.items() for key, version in keys.items())
    _MARK.run(conn, rows)
    return bool(rows)


def move_positions(
    conn: Connection, incomings: Sequence[Incoming], duplicates: Sequence[Incoming]
) -> dict[Partition, int]:
    """Move the positions behind this batch, and add its counts. → the new positions"""
    ends: dict[Partition, int] = {i.message[:2]: i.message.offset + 1 for i in incomings}
    counts = Counter([i.message[:2] for i in incomings])
    drops = Counter([i.message[:2] for i in duplicates])
    conn.execute(
        "UPDATE positions p SET next_offset = u.next, messages = p.messages + u.messages, duplicates = p.duplicates + u.drops"
        " FROM unnest(%s::text[], %s::integer[], %s::bigint[], %s::bigint[], %s::bigint[])"
        " AS u (topic, partition, next, messages, drops) WHERE p.topic = u.topic AND p.partition = u.partition",
        [
            text_array([topic for topic, _ in ends]),
            int_array([partition for _, partition in ends]),
            int_array(ends.values()),
            int_array([counts[where] for where in ends]),
            int_array([drops[where] for where in ends]),
        ],
    )
    return ends


def count_messages(conn: Connection, store: Store, messages: int) -> None:
    """Count messages without positions, last in their transaction: processes that share the slot wait only for the commit."""
    conn.execute(
        "INSERT INTO message_counts AS c (slot, messages) VALUES (%s, %s)"
        " ON CONFLICT (slot) DO UPDATE SET messages = c.messages + excluded.messages",
        [store.count_slot, messages],
    )

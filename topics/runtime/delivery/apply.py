"""A batch of messages → one transaction: positions, inbox, parked, load, decide, save, outbox. Free of transport.

At least once in, exactly once in effect: a process that dies before the commit has done nothing, and the same messages come
again; after the commit the position, moved in the same transaction, keeps them from being read again. What was published
twice falls into the inbox.
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
    Message,
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
Begins = Mapping[Partition, int]  # where this process's reading began, or its last batch ended


@dataclass(slots=True)
class Applied:
    """One committed transaction: what is to be published now, and what became of the messages."""

    rows: list[Row] = field(default_factory=list)
    ends: dict[Partition, int] = field(default_factory=dict)  # the stored positions after it
    foreign: set[Partition] = field(default_factory=set)  # someone else was there: messages thrown away, seek
    messages: int = 0
    duplicates: int = 0
    parked: int = 0
    dead: int = 0
    revived: int = 0
    calls: int = 0
    latest: bool = False  # compacted topics have something new


class _PositionsMoved(Exception):
    """Someone else was at these partitions: the batch again without them."""

    def __init__(self, partitions: set[Partition]) -> None:
        super().__init__(f"positions moved: {sorted(partitions)}")
        self.partitions = partitions


class SpoiltBatch(Exception):
    """One of several messages spoils the batch: find it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def apply(
    store: Store, consumer: AnyConsumer, messages: Sequence[Message], begins: Begins | None, now: datetime
) -> Iterator[Applied]:
    """Apply messages in order; yields after each commit. Usually one; more where a message had to be found and put away.

    `begins` is None for messages without positions (calls, timers). Errors: psycopg.Error where the database is away (nothing
    of the rest is applied: come again), Stopped where the room must not go on.
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
    """Halve a spoilt batch, in order, until the one is found; that one is decided once more before it is given up."""
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
    """Give the one up. A message that cannot even be put away stops the room: nothing is ever dropped."""
    try:
        return _apply_batch(store, consumer, incomings, begins, now)
    except SpoiltBatch:
        message = incomings[0].message
        where = f"{message.topic}[{message.partition}]@{message.offset}"
        raise stop_room(store, "cannot_dead_letter", f"{where} can be neither applied nor put away: {error}") from error


def _advance_begins(begins: dict[Partition, int] | None, applied: Applied) -> Applied:
    if begins is not None:
        begins.update(applied.ends)
    return applied


def _apply_batch(
    store: Store, consumer: AnyConsumer, incomings: Sequence[Incoming], begins: Begins | None, now: datetime
) -> Applied:
    """One transaction in two round trips: all that is asked, then all that is written, and its commit."""
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
    """data and unclassified exceptions: look for the one message; bug: stop; away: as it is, the loop waits."""
    match error_kind(error):
        case "away":
            return error
        case "bug":
            return stop_room(store, "database_refuses", f"{type(error).__name__}: {error}".splitlines()[0])
        case _:
            return SpoiltBatch(error)


def stop_room(store: Store, code: str, reason: str, about: Mapping[str, object] | None = None) -> Stopped:
    """Write the stop down for all processes of the room; without a database this process stops alone."""
    try:
        with store.transaction() as conn:
            letters.write_stop(conn, code, reason, about=about)
    except Exception as error:
        reason = f"{reason} (and it could not be written down: {error})"
    return Stopped(code, reason)


def failure_of(error: Exception) -> Failure:
    """What one message did to its transaction, told apart from what a decider raised."""
    stack = "".join(traceback.format_exception(error))
    state = getattr(error, "sqlstate", None)
    if error_kind(error) == "data":
        return Failure(f"database_{state or type(error).__name__}", str(error), stack, ours=True)
    return Failure("unclassified", f"{type(error).__name__}: {error}", stack, ours=True, retry=True)


# ── the steps, in the order of docs/architecture.md, "Delivery" ─────────────────────────────────────────────────────────


def _in_transaction(
    conn: Connection,
    store: Store,
    consumer: AnyConsumer,
    incomings: Sequence[Incoming],
    begins: Begins | None,
    now: datetime,
) -> tuple[Applied, Callable[[], list[Row]]]:
    """→ what came of it, and how to read its outbox rows once it is committed.

    Positions, claims, the look at what is parked and what `load` asks for are sent together, in this order, with the
    BEGIN: one round trip. So repeats and parked messages are loaded for too; if a position then turns out to be
    another's, all of it is rolled back.
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
        timers.delete(conn, fired)  # whatever becomes of them: parked or dead, a letter has them
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
    """Ask now, read later. Errors, then: Stopped."""
    asked = conn.execute("SELECT code, reason FROM stops WHERE lifted_at IS NULL")

    def answer() -> None:
        if row := asked.fetchone():
            raise Stopped(row[0], row[1])

    return answer


def lock_positions(conn: Connection, begins: Begins, incomings: Sequence[Incoming]) -> Callable[[], None]:
    """Lock the batch's positions, sorted; read later whether each is where our reading stands.

    Errors, then: _PositionsMoved; Stopped where the room has stopped, asked in the same statement.
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
    """Dead letters copied back by some Kafka tool become due again; such a record itself is never decided."""
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
    """Decide in order, save, and store what is to be said. → its rows, to be read later; the ids of the letters that
    count as our own faults."""
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
    """What a folded batch wants: changes and calls to be saved, events to be said, and messages to be put away."""

    changes: list[Any] = field(default_factory=list)
    calls: list[calls.CausedCall] = field(default_factory=list)
    timers: list[tuple[Timer, EventId]] = field(default_factory=list)
    records: list[OutboxRecord] = field(default_factory=list)
    letters: list[NewLetter] = field(default_factory=list)


def _fold(consumer: AnyConsumer, fresh: Iterable[Incoming], state: State, held: Held, now: datetime) -> FoldedBatch:
    """Decide event by event, in order. A key whose message failed is held for the rest of the batch too."""
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
    """Decide and fold. Nothing is folded unless all of it worked, the encoding of its events included."""
    cause = Cause(
        cause_id(incoming), incoming.message.topic, incoming.upstream, now, incoming.entered_ms, incoming.traceparent
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
        _TOPICS_BY_TYPE[consumer.name] = {said: topic for topic in consumer.room.writes for said in topic.says}
    return _TOPICS_BY_TYPE[consumer.name][kind]


def _outbox_records(consumer: AnyConsumer, decision: Decision, cause: Cause) -> list[OutboxRecord]:
    """The decision's events as records, their ids derived from the cause's."""
    records = []
    source = f"/tallystick/{consumer.name}"
    going_on = decision.traceparent or cause.traceparent
    for position, event in enumerate(decision.events):
        event_id = derive_id(cause.event_id, consumer.name, position, cause.entered_ms)
        trace = child_trace(going_on, event_id, cause.event_id)
        envelope = Envelope(event_id, source, event_type(type(event)), cause.now, decision.revision, trace)
        value = event.__pydantic_serializer__.to_json(event, exclude_none=True)
        topic = _topic_of(consumer, type(event))
        records.append(OutboxRecord(topic.name, event.key.encode(), record_headers(envelope), value))
    return records


def save(conn: Connection, consumer: AnyConsumer, folded: FoldedBatch, now: datetime, applied: Applied) -> None:
    """The room's changes, its calls and timers, and which rows of its compacted topics are new."""
    if folded.changes:
        applied.latest = mark_latest(conn, consumer.save(conn, folded.changes) or {})
    if folded.calls:
        calls.save(conn, folded.calls, now)
        applied.calls = len(folded.calls)
    if folded.timers:
        timers.save(conn, folded.timers)


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
    """Upsert key and version; the publisher says the row as it is when it comes to it."""
    rows = sorted(_LatestMark(topic.name, key, version) for topic, keys in new.items() for key, version in keys.items())
    _MARK.run(conn, rows)
    return bool(rows)


def move_positions(
    conn: Connection, incomings: Sequence[Incoming], duplicates: Sequence[Incoming]
) -> dict[Partition, int]:
    """The positions after this batch, with its counts."""
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
    """Count messages without positions, last in their transaction: whoever shares the slot waits for the commit alone."""
    conn.execute(
        "INSERT INTO message_counts AS c (slot, messages) VALUES (%s, %s)"
        " ON CONFLICT (slot) DO UPDATE SET messages = c.messages + excluded.messages",
        [store.count_slot, messages],
    )

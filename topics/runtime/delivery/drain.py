"""Parked letters that are due → retried, in the same kind of transaction as a batch, without positions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial

from topics.runtime.dead_letters import store as letters
from topics.runtime.dead_letters.store import FailedLetter, Held
from topics.runtime.delivery.apply import (
    Applied,
    FoldedBatch,
    SpoiltBatch,
    decide_one,
    failure_of,
    refuse_while_stopped,
    run_classified,
    save,
    stop_room,
)
from topics.runtime.delivery.inbox import refuse_reused
from topics.runtime.outbox import outbox
from topics.runtime.outbox.outbox import OutboxRecord
from topics.runtime.shape.consumer import AnyConsumer, Connection, State
from topics.runtime.shape.decode import Failure, Incoming, decode
from topics.runtime.shape.store import Store

Find = Callable[[Connection], list[letters.ParkedLetter]]


def drain(store: Store, consumer: AnyConsumer, now: datetime, limit: int = letters.DUE_MAX) -> Applied | None:
    """Retry due letters, each head with its followers. → None if none was due. Errors: as `apply`.

    If a letter makes the transaction fail, the heads are bisected to find it; only that letter fails.
    """
    heads: list[letters.ParkedLetter] = []
    try:
        return _transaction(store, consumer, now, partial(_take_due, now=now, limit=limit, found=heads))
    except SpoiltBatch:
        return _merge(_drain_halves(store, consumer, now, heads))


def _transaction(store: Store, consumer: AnyConsumer, now: datetime, find: Find) -> Applied | None:
    return run_classified(store, partial(_drain, store, consumer, now, find, None))


def _take_due(
    conn: Connection, now: datetime, limit: int, found: list[letters.ParkedLetter]
) -> list[letters.ParkedLetter]:
    """The due letters, locked. `found` is set to the heads, for a bisection."""
    found[:] = letters.due_heads(conn, now, limit)
    return letters.with_followers(conn, found) if found else []


def _take_still_due(
    conn: Connection, now: datetime, heads: Sequence[letters.ParkedLetter], followers: bool
) -> list[letters.ParkedLetter]:
    """Those of the heads that are still due and not locked: another process may have retried some meanwhile."""
    found = letters.due_heads(conn, now, len(heads), [head.seq for head in heads])
    return letters.with_followers(conn, found) if found and followers else found


def _drain_halves(
    store: Store, consumer: AnyConsumer, now: datetime, heads: Sequence[letters.ParkedLetter]
) -> Iterator[Applied | None]:
    if len(heads) == 1:
        yield _drain_one(store, consumer, now, heads[0])
        return
    middle = len(heads) // 2
    for half in (heads[:middle], heads[middle:]):
        try:
            found = partial(_take_still_due, now=now, heads=half, followers=True)
            yield (
                _transaction(store, consumer, now, found)
                if len(half) > 1
                else _drain_one(store, consumer, now, half[0])
            )
        except SpoiltBatch:
            yield from _drain_halves(store, consumer, now, half)


def _drain_one(store: Store, consumer: AnyConsumer, now: datetime, head: letters.ParkedLetter) -> Applied | None:
    """Retry the head with its followers, then without them (a follower may be at fault), then let it fail."""
    error: Exception | None = None
    for followers in (True, False):
        try:
            return _transaction(
                store, consumer, now, partial(_take_still_due, now=now, heads=[head], followers=followers)
            )
        except SpoiltBatch as split:
            error = split.error
    assert error is not None
    return _give_up(store, consumer, now, head, error)


def _merge(parts: Iterable[Applied | None]) -> Applied | None:
    """The sum of several transactions. None if other processes had taken all letters."""
    done = [part for part in parts if part is not None]
    if not done:
        return None
    return Applied(
        rows=[row for part in done for row in part.rows],
        messages=sum(part.messages for part in done),
        parked=sum(part.parked for part in done),
        dead=sum(part.dead for part in done),
        calls=sum(part.calls for part in done),
        latest=any(part.latest for part in done),
    )


def _give_up(
    store: Store, consumer: AnyConsumer, now: datetime, letter: letters.ParkedLetter, error: Exception
) -> Applied | None:
    """Fail exactly this letter, if it is still due: another process may be retrying it."""
    only = partial(_take_still_due, now=now, heads=[letter], followers=False)
    try:
        return run_classified(store, partial(_drain, store, consumer, now, only, failure_of(error)))
    except SpoiltBatch as split:
        where = f"letter {letter.letter_id}"
        raise stop_room(
            store, "cannot_dead_letter", f"{where} can be neither applied nor stored again: {error}"
        ) from split


def _drain(
    store: Store,
    consumer: AnyConsumer,
    now: datetime,
    find: Find,
    spoilt: Failure | None,
    conn: Connection,
) -> Applied | None:
    refuse_while_stopped(conn)()
    due = find(conn)
    if not due:
        return None
    applied = Applied(messages=len(due))
    incomings = [decode(letter.tried, store.upstreams, store.digest_key) for letter in due]
    for letter, incoming in zip(due, incomings, strict=True):
        incoming.message = letter.message  # the edit is applied; copies keep the original
        if incoming.failure is None and incoming.claim != letter.event_id:
            refuse_reused(incoming)  # as at its first claim
        incoming.claim = letter.event_id
        incoming.failure = spoilt or incoming.failure
    live = [i for i in incomings if i.failure is None]
    state = consumer.load(conn, [i.event for i in live if i.event is not None], now)
    folded = FoldedBatch()
    copies, ours = _decide_each(conn, consumer, list(zip(due, incomings, strict=True)), state, now, folded, applied)
    save(conn, consumer, folded, now, applied)
    applied.rows = outbox.insert(conn, [*folded.records, *copies])()
    if ours:
        letters.count_faults(conn, store, ours, now)
    return applied


def _decide_each(
    conn: Connection,
    consumer: AnyConsumer,
    pairs: Sequence[tuple[letters.ParkedLetter, Incoming]],
    state: State,
    now: datetime,
    folded: FoldedBatch,
    applied: Applied,
) -> tuple[list[OutboxRecord], list[str]]:
    """Decide letter by letter; if one fails, the followers of its key wait. → copies of the dead, ids of new faults of ours."""
    done: list[letters.ParkedLetter] = []
    failed: list[FailedLetter] = []
    held: Held = set()
    for letter, incoming in pairs:
        where = (letter.message.topic, letter.message.key or b"")
        if where in held:
            continue
        failure = incoming.failure or decide_one(consumer, incoming, state, now, folded)
        if failure is None:
            done.append(letter)
            continue
        if incoming.holds:
            held.add(where)
        failed.append(FailedLetter(letter, incoming, failure))
    if done:
        letters.finish(conn, done, now)
    if not failed:
        return [], []
    copies, ours = letters.fail_again(conn, consumer.room, failed, now)
    applied.parked, applied.dead = len(failed) - len(copies), len(copies)
    return copies, ours

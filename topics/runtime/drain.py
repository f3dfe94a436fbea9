"""Parked letters whose time has come, tried again: the same transaction shape as a batch, without positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from topics.runtime import letters, outbox
from topics.runtime.apply import (
    Applied,
    Outcome,
    Split,
    classify_around,
    decide_one,
    failure_of,
    refuse_reused,
    refuse_while_stopped,
    save,
    stop_room,
)
from topics.runtime.consumer import Connection, Consumer, State
from topics.runtime.decode import Failure, Incoming, decode
from topics.runtime.letters import Held
from topics.runtime.outbox import Unsaid
from topics.runtime.store import Store


def drain(store: Store, consumer: Consumer, now: datetime, limit: int = 100) -> Applied | None:
    """Try due letters again, each head with its followers. → None where nothing was due. Errors: as `apply`."""
    tried: list[letters.Parked] = []
    error: Exception | None = None
    for heads, followers in ((limit, True), (1, True), (1, False)):
        find = partial(_due, now=now, heads=heads, followers=followers, tried=tried)
        try:
            return classify_around(store, partial(_drain, store, consumer, now, find, None))
        except Split as split:
            error = split.error
    assert error is not None
    return _give_up(store, consumer, now, tried[0], error)


def _due(
    conn: Connection, now: datetime, heads: int, followers: bool, tried: list[letters.Parked]
) -> list[letters.Parked]:
    """The due letters, remembered in `tried` for when they fail."""
    tried[:] = letters.due_letters(conn, now, heads, followers)
    return list(tried)


def _give_up(
    store: Store, consumer: Consumer, now: datetime, letter: letters.Parked, error: Exception
) -> Applied | None:
    """Put away the very letter that failed: by now another process may be trying it, and other heads are innocent."""
    only = partial(letters.due_letters, now=now, limit=1, followers=False, only=letter.seq)
    try:
        return classify_around(store, partial(_drain, store, consumer, now, only, failure_of(error)))
    except Split as split:
        where = f"letter {letter.letter_id}"
        raise stop_room(store, "cannot_dead_letter", f"{where} can be neither applied nor put away: {error}") from split


def _drain(
    store: Store,
    consumer: Consumer,
    now: datetime,
    find: Callable[[Connection], list[letters.Parked]],
    spoilt: Failure | None,
    conn: Connection,
) -> Applied | None:
    refuse_while_stopped(conn)
    due = find(conn)
    if not due:
        return None
    applied = Applied(messages=len(due))
    incomings = [decode(letter.message, store.upstreams) for letter in due]
    for letter, incoming in zip(due, incomings, strict=True):
        if incoming.failure is None and incoming.claim != letter.event_id:
            refuse_reused(incoming)  # found when it was claimed, and true for ever
        incoming.claim = letter.event_id
        incoming.failure = spoilt or incoming.failure
    live = [i for i in incomings if i.failure is None]
    state = consumer.load(conn, [i.event for i in live if i.event is not None], now) if live else {}
    outcome = Outcome()
    copies, ours = _settle(conn, consumer, list(zip(due, incomings, strict=True)), state, now, outcome, applied)
    save(conn, consumer, outcome, now, applied)
    applied.rows = outbox.insert(conn, [*outcome.unsaid, *copies])
    if ours:
        letters.count_faults(conn, store, ours, now)
    return applied


def _settle(
    conn: Connection,
    consumer: Consumer,
    pairs: Sequence[tuple[letters.Parked, Incoming]],
    state: State,
    now: datetime,
    outcome: Outcome,
    applied: Applied,
) -> tuple[list[Unsaid], list[str]]:
    """Decide letter by letter; a key that fails again keeps its followers waiting. → dead copies, our own new faults."""
    done, copies, ours = [], [], []
    held: Held = set()
    for letter, incoming in pairs:
        where = (letter.message.topic, letter.message.key or b"")
        if where in held:
            continue
        failure = incoming.failure or decide_one(consumer, incoming, state, now, outcome)
        if failure is None:
            done.append(letter)
            continue
        if incoming.holds:
            held.add(where)
        copied, fault = letters.fail_again(conn, consumer.room, letter, incoming, failure, now)
        copies += copied
        applied.parked, applied.dead = applied.parked + 1 - len(copied), applied.dead + len(copied)
        ours += [letter.letter_id] * fault
    if done:
        letters.finish(conn, done, now)
    return copies, ours

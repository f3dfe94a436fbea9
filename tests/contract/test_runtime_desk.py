"""A room without Kafka's loop: whoever brings messages applies them at a desk, which publishes, wakes, stops and goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.contract import probe
from tests.contract.rooms import Books, Log, leave
from tests.contract.running import wait
from topics.runtime.outbox.desk import Chore
from topics.runtime.outbox.outbox import OutboxRecord
from topics.runtime.process.room_desk import RoomDesk
from topics.runtime.shape.consumer import Message
from topics.runtime.shape.store import Stopped
from topics.settings import Settings


@pytest.fixture
def desk(on_kafka: Settings) -> Iterator[RoomDesk]:
    desk = RoomDesk(on_kafka, probe.build(), threading.Event())
    yield desk
    desk.store.close()


def bring(desk: RoomDesk, *messages: Message) -> int:
    """As a sender, or another transport, brings them. → how many were applied."""
    return sum(applied.messages for applied in desk.apply(messages, None))


def unpublished(books: Books) -> int:
    return int(books.rows("SELECT count(*) FROM outbox")[0][0])


def test_what_a_desk_applies_is_published(desk: RoomDesk, books: Books, log: Log) -> None:
    assert bring(desk, log.capture("a", 1), log.capture("b", 1), log.capture("a", 2)) == 3
    assert (books.effects("a"), unpublished(books)) == ([1, 2], 1)
    desk.finish()
    assert unpublished(books) == 0


def test_a_desks_chores_try_letters_again_and_fire_timers(desk: RoomDesk, books: Books, log: Log) -> None:
    books.breaks("world")
    bring(desk, log.capture("k", 1, "transient"), log.capture("t", 1, "timer:ring:0"))
    books.mends("world")
    books.run("UPDATE parked SET due_at = '-infinity'")
    for chore in desk.chores():
        chore.do()
    assert (books.effects("k"), books.effects("t")) == ([1], [1, 0])


def test_a_timer_that_was_set_for_now_by_another_fires_in_the_next_turn(desk: RoomDesk, books: Books, log: Log) -> None:
    bring(desk, log.capture("t", 1, "timer:again:0"))
    books.run("UPDATE timers SET kind = 'timer:ring:0'")
    for chore in desk.chores() * 2:
        chore.do()
    assert books.effects("t") == [1, 0, 0]


@pytest.mark.usefixtures("swept_soon")
def test_a_stopped_desk_publishes_what_is_committed_and_goes_on_after_the_lift(
    desk: RoomDesk, books: Books, log: Log
) -> None:
    books.breaks("code")
    bring(desk, *[log.capture(f"k{n}", 1, "permanent") for n in range(21)])
    leave(books, OutboxRecord("wallet-movements.v1", b"dead", [], b"{}"))
    with pytest.raises(Stopped):
        bring(desk, log.capture("fine", 1))
    wait("what waits is published", lambda: not desk.is_lifted() and unpublished(books) == 0)
    books.lift()
    assert desk.is_lifted()
    assert bring(desk, log.capture("fine", 1)) == 1


def test_a_chore_is_done_when_it_is_due_and_not_before() -> None:
    done: list[int] = []
    seldom, always = Chore(3600, lambda: done.append(1)), Chore(0, lambda: done.append(2))
    for chore in (seldom, always) * 3:
        chore.do()
    assert done == [1, 2, 2, 2]

"""Timers of a room: set with their cause, fired once when they are due, gone with their effect."""

from __future__ import annotations

import threading
from datetime import timedelta

from tests.contract.rooms import Books, Log, Process
from tests.contract.running import Sender, members, wait
from topics.runtime.calls import timers
from topics.runtime.delivery.apply import apply
from topics.runtime.delivery.fire import fire
from topics.settings import Settings


def fired(process: Process, after_s: float = 0, holder: str = "one") -> int:
    """Let time pass, then fire what is due. → how many messages that were, repeats included."""
    process.now += timedelta(seconds=after_s)
    return sum(applied.messages for applied in fire(process.store, process.consumer, holder, process.now))


def waiting(books: Books) -> list[str]:
    return [kind for (kind,) in books.rows("SELECT kind FROM timers ORDER BY due_at, kind")]


def test_a_timer_fires_when_it_is_due_and_not_before_and_once(process: Process, books: Books, log: Log) -> None:
    process.apply(log.capture("k", 1, "timer:ring:60"))
    assert (fired(process, 59), books.effects("k")) == (0, [1])
    assert (fired(process, 1), books.effects("k")) == (1, [1, 0])
    assert (fired(process, 3600), waiting(books)) == (0, [])


def test_the_same_timer_set_twice_is_one_and_set_again_after_it_fired_is_another(
    process: Process, books: Books, log: Log
) -> None:
    process.apply(log.capture("k", 1, "timer:ring:60"), log.capture("k", 2, "timer:ring:60"))
    process.apply(log.capture("k", 3, "timer:ring:60"))
    assert waiting(books) == ["ring"]
    assert fired(process, 60) == 1
    process.now -= timedelta(seconds=60)  # a clock that was set back: the same time once more
    process.apply(log.capture("k", 4, "timer:ring:60"))
    assert fired(process, 60) == 1
    assert books.effects("k") == [1, 2, 3, 0, 4, 0]


def test_a_timer_may_set_the_next(process: Process, books: Books, log: Log) -> None:
    process.apply(log.capture("k", 1, "timer:again:60"))
    books.run("UPDATE timers SET kind = 'timer:ring:30'")
    assert [fired(process, 30) for _ in range(4)] == [0, 1, 1, 0]
    assert waiting(books) == []


def test_timers_of_an_event_that_fails_are_not_set(process: Process, books: Books, log: Log) -> None:
    books.run("INSERT INTO broken VALUES ('code')")
    process.apply(log.capture("k", 1, "permanent"), log.capture("k", 2, "timer:ring:0"))
    assert waiting(books) == []


def test_what_two_processes_fire_takes_effect_once(process: Process, other: Process, books: Books, log: Log) -> None:
    """Although the lease keeps them apart usually: here both have read the same rows."""
    process.apply(*[log.capture(f"k{n}", 1, "timer:ring:0") for n in range(50)])
    with process.store.transaction() as conn:
        due = timers.due(conn, process.now)
    racing = [
        threading.Thread(target=lambda p=p: list(apply(p.store, p.consumer, due, None, p.now)))  # type: ignore[misc]
        for p in (process, other)
    ]
    for thread in racing:
        thread.start()
    for thread in racing:
        thread.join(30)
    assert sorted(books.effects()) == [0] * 50 + [1] * 50
    assert (waiting(books), books.letters()) == ([], [])


def test_one_process_at_a_time_fires(process: Process, other: Process, books: Books, log: Log) -> None:
    process.apply(log.capture("a", 1, "timer:ring:0"))
    assert fired(process, holder="one") == 1
    process.apply(log.capture("b", 1, "timer:ring:0"))
    assert fired(other, 3600, holder="two") == 0, "the first has the lease"
    books.run("UPDATE leases SET until = clock_timestamp() WHERE name = 'timers'")
    assert fired(other, holder="two") == 1


def test_a_timer_that_fails_is_a_letter_and_goes_on_when_the_fault_is_mended(
    process: Process, books: Books, log: Log
) -> None:
    books.run("INSERT INTO broken VALUES ('world')")
    process.apply(log.capture("k", 1, "timer:transient:0"))
    assert fired(process) == 1
    assert (waiting(books), books.letters()) == ([], [("parked", "told_transient")])
    books.run("DELETE FROM broken")
    process.drain(after_s=60)
    assert (books.effects("k"), books.letters()) == ([1, 0], [("done", "told_transient")])


def test_a_timer_that_spoils_its_batch_is_given_up_alone(process: Process, books: Books, log: Log) -> None:
    process.apply(log.capture("bad", 1, "timer:ring:0"), log.capture("good", 1, "timer:ring:0"))
    books.run("UPDATE timers SET kind = 'sql:22003' WHERE key = 'bad'")
    assert fired(process, 1) > 0
    assert books.effects("good") == [1, 0]
    assert (waiting(books), books.letters()) == ([], [("dead", "database_22003")])


def test_many_timers_fire_a_slice_at_a_time(process: Process, books: Books, log: Log) -> None:
    process.apply(*[log.capture(f"k{n}", 1, "timer:ring:0") for n in range(timers.DUE_MAX + 1)])
    assert [fired(process), fired(process), fired(process)] == [timers.DUE_MAX, 1, 0]


def test_a_running_room_fires_its_timers(on_kafka: Settings, books: Books) -> None:
    sender = Sender(on_kafka)
    with members(on_kafka, 2):
        for n in range(20):
            sender.capture(f"k{n}", "timer:ring:0")
        sender.flush()
        wait("all have fired", lambda: len(books.effects()) == 40)
    assert sorted(books.effects()) == [0] * 20 + [1] * 20
    assert waiting(books) == []

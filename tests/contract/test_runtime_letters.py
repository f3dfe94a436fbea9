"""Messages that failed → parked, tried again in order, dead, replayed: nobody overtakes, nothing is dropped, others go on."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from tests.contract.rooms import (
    EXECUTIONS,
    NOON,
    Books,
    Log,
    Process,
    captured,
    event_id,
    headers_of,
)
from topics.runtime.dead_letters.acts import AuditNote, resume
from topics.runtime.delivery import inbox
from topics.runtime.delivery.apply import apply, count_messages
from topics.runtime.delivery.drain import drain
from topics.runtime.shape.consumer import Message
from topics.runtime.shape.store import Stopped
from topics.settings import Settings

DLQ = "probe.dlq.v1"


def copies(process: Process) -> list[Any]:
    """What was said on the dead-letter topic."""
    return [record for record in process.said if record.topic == DLQ]


# ── order within a key ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_keeps_its_order_through_parking(process: Process, books: Books, log: Log) -> None:
    books.breaks("world")
    process.apply(log.capture("k", 1, "transient"), log.capture("k", 2), log.capture("free", 1))
    process.apply(log.capture("k", 3), log.capture("free", 2))
    assert (books.effects("k"), books.effects("free")) == ([], [1, 2])
    process.drain()
    assert books.effects("k") == []
    books.mends("world")
    process.drain(after_s=6)
    assert books.effects("k") == [1, 2, 3]
    process.apply(log.capture("k", 4))
    assert books.effects("k") == [1, 2, 3, 4]


def test_a_dead_letters_copy_tells_when_it_first_failed(process: Process, books: Books, log: Log) -> None:
    books.breaks("world")
    process.apply(log.capture("k", 1, "transient"))
    for pause_s in (6, 40):
        process.drain(after_s=pause_s)
    (copy,) = copies(process)
    about = dict(copy.headers)
    assert about["tally_first_failed_at"].decode() == NOON.isoformat()
    assert about["tally_failed_at"].decode() == process.now.isoformat()


def test_a_follower_that_fails_in_its_turn_holds_those_behind_it(process: Process, books: Books, log: Log) -> None:
    books.breaks("world")
    books.breaks("code")
    process.apply(log.capture("k", 1, "transient"), log.capture("k", 2, "permanent"), log.capture("k", 3))
    books.mends("world")
    process.drain(after_s=6)
    assert books.effects("k") == [1]
    assert books.letters() == [("done", "told_transient"), ("dead", "told_permanent"), ("parked", None)]
    books.mends("code")
    books.replay()
    process.drain()
    assert books.effects("k") == [1, 2, 3]


@pytest.mark.parametrize("told", ["sql:22012", "nul", "surrogate", "deferred", "oddity"])
def test_a_follower_that_spoils_the_drain_is_put_away_alone(
    told: str, process: Process, books: Books, log: Log
) -> None:
    books.breaks("world")
    process.apply(
        log.capture("a", 1, "transient"),
        log.capture("a", 2, told),
        log.capture("a", 3),
        log.capture("b", 1, "transient"),
        log.capture("b", 2),
    )
    books.mends("world")
    process.drain(after_s=6)
    assert (books.effects("a"), books.effects("b")) == ([1], [1, 2])
    assert books.stops() == []


def test_two_processes_drain_each_key_in_order_and_once(
    process: Process, other: Process, books: Books, log: Log
) -> None:
    books.breaks("world")
    process.apply(*[log.capture(f"k{n % 40}", n, "transient" if n < 40 else "") for n in range(200)])
    books.mends("world")
    later = NOON + timedelta(seconds=60)

    def empty(one: Process) -> None:
        while drain(one.store, one.consumer, later, limit=3) is not None:
            pass

    racing = [threading.Thread(target=empty, args=[one]) for one in (process, other)]
    for thread in racing:
        thread.start()
    for thread in racing:
        thread.join(60)
    process.drain(after_s=60)
    assert [books.effects(f"k{i}") for i in range(40)] == [list(range(i, 200, 40)) for i in range(40)]


def test_a_head_that_another_process_is_trying_makes_nobody_blame_another_letter(
    process: Process, other: Process, books: Books, log: Log
) -> None:
    """The head fails here, and before it is given up somebody else takes it: the next head is innocent."""
    books.breaks("world")
    process.apply(log.capture("bad", 1, "transient"), log.capture("good", 1, "transient"))
    books.run("UPDATE parked SET due_at = due_at - interval '3 s' WHERE key = 'bad'")
    later = NOON + timedelta(seconds=60)
    with other.store.transaction() as theirs:
        lock = "SELECT seq FROM parked WHERE key = 'bad' FOR UPDATE"
        save = process.consumer.save
        attempts = []

        def fail_and_lose_the_head(conn: Any, changes: Any) -> None:
            attempts.append(1)
            if len(attempts) <= 3:
                raise KeyError("told to")
            save(conn, changes)

        consumer = type(process.consumer)(
            process.consumer.room, process.consumer.load, process.consumer.decide, fail_and_lose_the_head
        )
        books.mends("world")
        from topics.runtime.delivery import drain as module

        give_up = module._give_up

        def lose(*args: Any) -> Any:
            theirs.execute(lock)
            return give_up(*args)

        module._give_up = lose
        try:
            assert drain(process.store, consumer, later) is not None
        finally:
            module._give_up = give_up
    assert books.letters() == [("parked", "told_transient"), ("done", "told_transient")]
    process.drain(after_s=60)
    assert sorted(books.effects()) == [1, 1]


def test_one_that_spoils_the_drain_of_hundreds_is_found_and_put_away_alone(
    process: Process, books: Books, log: Log
) -> None:
    books.breaks("world")
    heads = [log.capture(f"k{i}", 1, "transient") for i in range(100)]
    process.apply(*heads, log.capture("k70", 2, "sql:22012"), log.capture("k70", 3))
    books.mends("world")
    assert process.drain(after_s=6) <= 2, "it is halved for, not come upon one by one"
    assert len(books.effects()) == 100
    assert books.rows("SELECT state, count(*) FROM parked GROUP BY 1 ORDER BY 1") == [
        ("dead", 1), ("done", 100), ("parked", 1)
    ]  # fmt: skip


# ── the ladder and its end ───────────────────────────────────────────────────────────────────────────────────────────


def test_at_the_ladders_end_the_letter_is_dead_and_a_copy_is_said(process: Process, books: Books, log: Log) -> None:
    books.breaks("world")
    message = log.capture("k", 1, "transient")
    process.apply(message)
    for pause in (6, 34):
        assert copies(process) == []
        process.drain(after_s=pause)
    assert books.letters() == [("dead", "told_transient")]
    (copy,) = copies(process)
    assert (copy.key, copy.value, tuple(copy.headers[: len(message.headers)])) == (
        message.key,
        message.value,
        message.headers,
    )
    said = dict(copy.headers)
    assert (said["tally_topic"], said["tally_offset"], said["tally_attempts"], said["tally_code"]) == (
        EXECUTIONS.encode(),
        b"0",
        b"3",
        b"told_transient",
    )


def test_nothing_is_tried_before_its_time(process: Process, books: Books, log: Log) -> None:
    books.breaks("world")
    process.apply(log.capture("k", 1, "transient"))
    books.mends("world")
    assert process.drain(after_s=4) == 0
    assert process.drain(after_s=2) == 1
    assert books.effects("k") == [1]


def test_a_dead_letter_holds_its_key_in_its_own_batch_and_after(process: Process, books: Books, log: Log) -> None:
    books.breaks("code")
    process.apply(log.capture("k", 1, "permanent"), log.capture("k", 2), log.capture("x", 1))
    process.apply(log.capture("k", 3))
    process.drain(after_s=10_000)
    assert (books.effects("k"), books.effects("x")) == ([], [1])
    books.mends("code")
    assert books.replay() == 1
    process.drain()
    assert books.effects("k") == [1, 2, 3]


def test_a_discarded_letter_lets_its_key_go_on(process: Process, books: Books, log: Log) -> None:
    books.breaks("code")
    process.apply(log.capture("k", 1, "permanent"), log.capture("k", 2))
    books.run("UPDATE parked SET state = 'discarded', ended_at = now() WHERE state = 'dead'")
    process.drain()
    assert books.effects("k") == [2]


def test_replaying_twice_changes_nothing(process: Process, books: Books, log: Log) -> None:
    books.breaks("code")
    process.apply(log.capture("k", 1, "permanent"))
    books.mends("code")
    assert (books.replay(), books.replay()) == (1, 0)
    process.drain()
    process.drain()
    assert books.effects("k") == [1]


# ── dead letters copied back ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_dead_letter_copied_back_is_a_replay_once(process: Process, books: Books, log: Log) -> None:
    books.breaks("code")
    message = log.capture("k", 1, "permanent")
    process.apply(message)
    (copy,) = copies(process)
    back = log.again(message, headers=copy.headers)
    process.apply(back, log.again(back))
    process.drain()
    assert books.rows("SELECT state, replays, attempts FROM parked") == [("dead", 1, 2)]
    books.mends("code")
    process.apply(log.again(back))
    process.drain()
    assert books.effects("k") == []
    newer = copies(process)[-1]
    process.apply(log.again(message, headers=newer.headers))
    process.drain()
    assert books.effects("k") == [1]
    process.apply(log.again(message, headers=newer.headers), log.again(back))
    process.drain()
    assert books.effects("k") == [1]


def test_a_dead_letter_copied_back_without_headers_is_a_replay_once(process: Process, books: Books, log: Log) -> None:
    books.breaks("code")
    message = log.capture("k", 1, "permanent")
    process.apply(message)
    books.mends("code")
    process.apply(log.again(message, headers=()))
    process.drain()
    assert books.effects("k") == [1]
    process.apply(log.again(message, headers=()), log.again(message, headers=()))
    process.drain()
    assert books.effects("k") == [1]
    assert books.letters() == [("done", "told_permanent")]


def test_a_redelivery_of_a_dead_event_is_a_duplicate_and_no_replay(process: Process, books: Books, log: Log) -> None:
    books.breaks("code")
    message = log.capture("k", 1, "permanent")
    process.apply(message)
    books.mends("code")
    (applied,) = process.apply(log.again(message))
    process.drain()
    assert (applied.duplicates, applied.revived, books.effects("k")) == (1, 0, [])


def test_an_unreadable_record_copied_back_is_known_by_its_letter(process: Process, books: Books, log: Log) -> None:
    process.apply(log.record(b"garbage", key=b"k", headers=(("a", b"b"),)))
    (copy,) = copies(process)
    (applied,) = process.apply(log.record(b"garbage", key=b"k", headers=copy.headers))
    assert applied.revived == 1
    process.drain()
    assert books.rows("SELECT state, attempts FROM parked") == [("dead", 2)]


def test_a_letter_that_names_another_message_revives_nothing(process: Process, books: Books, log: Log) -> None:
    books.breaks("code")
    process.apply(log.capture("victim", 1, "permanent"), log.capture("mine", 1))
    (copy,) = copies(process)
    stolen = [pair for pair in copy.headers if pair[0].startswith("tally_")]
    mine = log.capture("mine", 1)
    (applied,) = process.apply(log.again(mine, headers=(*mine.headers, *stolen)))
    assert (applied.revived, books.letters()) == (0, [("dead", "told_permanent")])


def test_a_letters_claim_outlives_the_inbox(process: Process, books: Books, log: Log) -> None:
    """Dead for longer than the inbox remembers: copied back, it is still a replay and not a second letter."""
    books.breaks("code")
    old, done = log.capture("k", 1, "permanent"), log.capture("x", 1)
    process.apply(old, done)
    books.run("UPDATE inbox SET claimed_at = now() - interval '61 days'")
    with process.store.transaction() as conn:
        inbox.trim(conn)
    assert books.rows("SELECT id::text FROM inbox") == [(event_id("k", 1),)]
    books.mends("code")
    process.apply(log.again(old, headers=copies(process)[0].headers))
    process.drain()
    assert books.effects("k") == [1]


@pytest.mark.parametrize("discarded", [True, False])
def test_what_was_closed_stays_closed_longer_than_the_inbox_remembers(
    discarded: bool, process: Process, books: Books, log: Log
) -> None:
    """Its repeat is no new letter (the room could not put it away a second time, and stopped), and takes no effect."""
    unreadable = log.record(b"{", key=b"k", headers=headers_of(captured("k", 1), event_id("k", 1)))
    process.apply(unreadable)
    (copy,) = copies(process)
    books.run("UPDATE parked SET state = %s, ended_at = now()", "discarded" if discarded else "done")
    books.run("UPDATE inbox SET claimed_at = now() - interval '61 days'")
    with process.store.transaction() as conn:
        inbox.trim(conn)
    process.apply(log.again(unreadable), log.again(unreadable, headers=copy.headers), log.capture("x", 1))
    assert books.effects() == [1]
    assert books.stops() == []
    assert len(books.letters()) == 1


# ── the limit ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_outsiders_got_wrong_stops_no_room(process: Process, books: Books, log: Log) -> None:
    """A PSP, for instance, whose notifications name other amounts."""
    process.apply(*[log.capture(f"k{i}", 1, "foreign") for i in range(30)], log.capture("x", 1))
    assert len(books.letters()) == 30
    assert books.effects() == [1]
    assert books.stops() == []


def test_too_many_faults_of_our_own_stop_the_room_for_all_its_processes_until_it_is_lifted(
    process: Process, other: Process, books: Books, log: Log
) -> None:
    books.breaks("code")
    process.apply(*[log.capture(f"k{i}", 1, "permanent" if i % 2 else "bug") for i in range(20)])
    assert books.stops() == []
    process.apply(log.capture("k20", 1, "permanent"))
    assert books.stops() == ["too_many_faults"]
    fine = log.capture("fine", 1)
    for one in (process, other):
        with pytest.raises(Stopped):
            one.apply(fine)
        with pytest.raises(Stopped):
            one.drain(after_s=60)
    assert books.effects() == []
    books.mends("code")
    books.lift()
    process.apply(fine)
    assert books.effects("fine") == [1]
    books.breaks("code")
    process.apply(log.capture("k21", 1, "permanent"))
    assert books.stops() == [], "a lift forgives what was before it"


def test_the_limit_is_one_in_a_hundred_of_many(process: Process, books: Books, log: Log) -> None:
    books.breaks("code")
    process.begin((EXECUTIONS, 0))
    books.run("UPDATE positions SET messages = 1000000")
    process.apply(*[log.capture(f"k{i}", 1, "permanent") for i in range(100)])
    assert books.stops() == []
    process.apply(log.capture("k100", 1, "permanent"))
    assert books.stops() == ["too_many_faults"]


def test_old_faults_do_not_count(process: Process, books: Books, log: Log) -> None:
    books.breaks("code")
    process.apply(*[log.capture(f"k{i}", 1, "permanent") for i in range(20)])
    books.run("UPDATE positions SET messages = messages + 10000")
    process.apply(*[log.capture(f"m{i}", 1, "permanent") for i in range(20)])
    assert books.stops() == []


def without_positions(process: Process, *messages: Message) -> None:
    """As calls and timers come."""
    for _ in apply(process.store, process.consumer, messages, None, process.now):
        pass


def test_a_room_without_positions_keeps_its_limit_after_a_lift(
    process: Process, books: Books, log: Log, settings: Settings
) -> None:
    books.breaks("code")

    def fail(key: str, times: int) -> list[str]:
        without_positions(process, *[log.capture(f"{key}{n}", 1, "permanent") for n in range(times)])
        return books.stops()

    assert fail("first", 20) == []
    books.run(
        "UPDATE message_counts SET messages = messages + 10000"
    )  # so many later, of which one in a hundred may fail
    assert fail("second", 100) == [], "what is long ago does not count"
    assert fail("third", 1) == ["too_many_faults"]
    assert resume(settings, "probe", AuditNote("ops@house", "the code is mended"))
    assert fail("fourth", 100) == [], "a lift forgives what was before it"
    assert fail("fifth", 1) == ["too_many_faults"]


def test_the_limit_of_a_room_without_positions_is_one_in_a_hundred_of_its_messages(
    process: Process, books: Books, log: Log
) -> None:
    books.breaks("code")
    for n in range(6):
        without_positions(process, *[log.capture(f"fine{n}-{k}", 1) for k in range(500)])
    without_positions(process, *[log.capture(f"k{n}", 1, "permanent") for n in range(30)])
    assert books.stops() == []
    without_positions(process, log.capture("k30", 1, "permanent"))
    assert books.stops() == ["too_many_faults"]


def test_processes_of_a_room_do_not_wait_for_each_other_to_count(
    process: Process, other: Process, books: Books
) -> None:
    process.store.count_slot, other.store.count_slot = 1, 2
    with process.store.transaction() as conn:
        count_messages(conn, process.store, 3)
        with other.store.transaction() as others:
            others.execute("SET LOCAL lock_timeout = '1ms'")
            count_messages(others, other.store, 4)
    assert books.rows("SELECT sum(messages) FROM message_counts") == [(7,)]


def test_neither_the_worlds_failures_nor_replays_count_as_our_faults(process: Process, books: Books, log: Log) -> None:
    books.breaks("world")
    books.breaks("code")
    process.apply(*[log.capture(f"k{i}", 1, "transient") for i in range(40)])
    process.apply(*[log.capture(f"m{i}", 1, "permanent") for i in range(15)])
    for _ in range(3):
        books.replay()
        process.drain()
    assert books.stops() == []

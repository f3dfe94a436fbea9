"""Batches handed straight to `apply` → inbox, positions, splitting: each message takes effect once, in order, or is put away."""

from __future__ import annotations

import threading

import psycopg
import pytest

from tests.contract.rooms import EXECUTIONS, REQUESTS, Books, Log, Process, event_id, said_movements
from tests.contract.running import wait
from topics.runtime.delivery.apply import Applied, stop_room
from topics.runtime.delivery.inbox import claim
from topics.runtime.shape.decode import decode
from topics.runtime.shape.store import Stopped

# ── inbox ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_repeat_changes_nothing(process: Process, books: Books, log: Log) -> None:
    first = log.capture("k", 1)
    process.apply(first, log.capture("k", 2), log.again(first))
    (again,) = process.apply(log.again(first))
    assert books.effects("k") == [1, 2]
    assert (again.duplicates, again.rows) == (1, [])
    assert books.letters() == []


def test_a_repeat_that_another_process_meets_at_the_same_moment_changes_nothing(
    process: Process, other: Process, books: Books, log: Log
) -> None:
    """The same record through two partitions at once, as after a careless copy: the second waits for the first."""
    messages = [log.capture(f"k{i}", 1) for i in range(50)]
    copies = [log.again(message, partition=1) for message in reversed(messages)]
    process.begin((EXECUTIONS, 0), (EXECUTIONS, 1))
    other.begin((EXECUTIONS, 0), (EXECUTIONS, 1))
    racing = [
        threading.Thread(target=process.apply, args=messages),
        threading.Thread(target=other.apply, args=copies),
    ]
    for thread in racing:
        thread.start()
    for thread in racing:
        thread.join(30)
    assert len(books.effects()) == 50
    assert books.letters() == []


def test_an_id_that_is_being_claimed_at_this_moment_is_waited_for(
    process: Process, other: Process, books: Books, log: Log
) -> None:
    """By a process that commits then, which the claim of the whole batch could not have seen."""
    messages = [log.capture("k", n) for n in (1, 2, 3)]
    ready = decode(messages[1], frozenset(), b"")
    applied: list[Applied] = []
    waiting = threading.Thread(target=lambda: applied.extend(other.apply(*messages)))
    with process.store.transaction() as conn:
        claim(conn, [ready])
        waiting.start()
        wait(
            "the other waits",
            lambda: books.rows(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'transactionid' AND datname = current_database()"
            ),
        )
    waiting.join(30)
    assert books.effects("k") == [1, 3]
    assert sum(each.duplicates for each in applied) == 1
    assert books.letters() == []


def test_the_same_id_with_other_contents_is_a_dead_letter_and_never_a_duplicate(
    process: Process, books: Books, log: Log
) -> None:
    process.apply(log.capture("k", 1))
    process.apply(log.capture("k", 666, id_=event_id("k", 1)))
    assert books.effects("k") == [1]
    assert books.letters() == [("dead", "id_reused")]


def test_two_contents_under_one_id_in_one_batch_are_an_effect_and_a_dead_letter(
    process: Process, books: Books, log: Log
) -> None:
    process.apply(log.capture("k", 1), log.capture("other", 666, id_=event_id("k", 1)))
    assert books.effects() == [1]
    assert books.letters() == [("dead", "id_reused")]


def test_a_reused_id_takes_no_effect_behind_a_held_key_either(process: Process, books: Books, log: Log) -> None:
    books.breaks("world")
    process.apply(log.capture("k", 1, "transient"))
    process.apply(log.capture("k", 666, id_=event_id("k", 1)))
    books.mends("world")
    process.drain(after_s=60)
    assert books.effects("k") == [1]
    assert books.letters() == [("done", "told_transient"), ("dead", "id_reused")]


def test_a_reused_id_on_a_door_holds_up_nobody(process: Process, books: Books, log: Log) -> None:
    process.apply(log.request("c", 1, id_="same"), log.request("c", 2, id_="same"), log.request("c", 3))
    assert books.effects("c") == [1, 3]
    assert books.letters() == [("dead", "id_reused")]


def test_a_reused_id_on_a_door_stays_dead_however_often_it_is_replayed(
    process: Process, books: Books, log: Log
) -> None:
    process.apply(log.request("c", 1, id_="same"), log.request("c", 2, id_="same"))
    books.replay()
    process.drain()
    assert books.effects("c") == [1]
    assert books.letters() == [("dead", "id_reused")]


def test_ids_on_a_door_are_the_senders_own(process: Process, books: Books, log: Log) -> None:
    """The same id from two sources, and one that equals an internal id: three messages."""
    internal = log.capture("k", 1)
    process.apply(internal, log.request("a", 1, id_=event_id("k", 1)), log.request("b", 1, id_="x"))
    shop = log.again(log.request("c", 1, id_="x"), topic="payment-requests.shop.v1")
    process.apply(shop)
    assert sorted(books.effects()) == [1, 1, 1, 1]
    assert books.letters() == []


# ── positions ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_where_someone_else_has_been_the_messages_are_thrown_away(
    process: Process, other: Process, books: Books, log: Log
) -> None:
    messages = [log.capture("k", n) for n in (1, 2, 3)]
    process.begin((EXECUTIONS, 0))
    other.begin((EXECUTIONS, 0))
    process.apply(*messages[:2])
    (thrown,) = other.apply(messages[0], messages[1], messages[2])
    assert thrown.foreign == {(EXECUTIONS, 0)}
    assert books.effects("k") == [1, 2]
    other.begin((EXECUTIONS, 0))
    other.apply(messages[2])
    assert books.effects("k") == [1, 2, 3]


def test_a_foreign_position_of_one_partition_does_not_hinder_the_others(
    process: Process, other: Process, books: Books, log: Log
) -> None:
    mine, theirs = log.capture("a", 1), log.capture("b", 1, partition=1)
    process.begin((EXECUTIONS, 0), (EXECUTIONS, 1))
    other.begin((EXECUTIONS, 0), (EXECUTIONS, 1))
    other.apply(theirs)
    (applied,) = process.apply(mine, theirs)
    assert applied.foreign == {(EXECUTIONS, 1)}
    assert books.effects() == [1, 1]
    assert books.rows("SELECT count(*) FROM effects WHERE key = 'a'") == [(1,)]


def test_two_processes_that_both_believe_a_partition_theirs_apply_it_once_and_in_order(
    process: Process, other: Process, books: Books, log: Log
) -> None:
    """A zombie beside its successor: whoever finds another's position reads on from there."""
    messages = [log.capture(f"k{n % 3}", n) for n in range(300)]

    def read(mine: Process) -> None:
        mine.begin((EXECUTIONS, 0))
        while (at := mine.placed[(EXECUTIONS, 0)]) < len(messages):
            if any(applied.foreign for applied in mine.apply(*messages[at : at + 7])):
                mine.begin((EXECUTIONS, 0))

    racing = [threading.Thread(target=read, args=[one]) for one in (process, other)]
    for thread in racing:
        thread.start()
    for thread in racing:
        thread.join(30)
    assert [books.effects(f"k{i}") for i in range(3)] == [list(range(i, 300, 3)) for i in range(3)]


# ── poison in the middle of a batch ──────────────────────────────────────────────────────────────────────────────────

SPOILERS = {
    "permanent": ("dead", "told_permanent"),
    "transient": ("parked", "told_transient"),
    "bug": ("parked", "unclassified"),
    "sql:22012": ("dead", "database_22012"),
    "sql:23514": ("dead", "database_23514"),
    "sql:54000": ("dead", "database_54000"),
    "sql:P0001": ("dead", "database_P0001"),
    "load:22012": ("dead", "database_22012"),
    "deferred": ("dead", "database_23505"),
    "nul": ("dead", "database_DataError"),
    "surrogate": ("dead", "database_UnicodeEncodeError"),
    "oddity": ("parked", "unclassified"),
}


@pytest.mark.parametrize("told", SPOILERS)
def test_poison_in_the_middle_of_a_batch_is_put_away_alone(told: str, process: Process, books: Books, log: Log) -> None:
    books.breaks("world")
    books.breaks("code")
    process.apply(
        log.capture("a", 1),
        log.capture("b", 1),
        log.capture("poison", 1, told),
        log.capture("poison", 2),
        log.capture("b", 2),
        log.capture("a", 2),
    )
    assert (books.effects("a"), books.effects("b"), books.effects("poison")) == ([1, 2], [1, 2], [])
    assert books.letters() == [SPOILERS[told], ("parked", None)]
    assert books.rows("SELECT next_offset FROM positions WHERE topic = %s", EXECUTIONS) == [(6,)]
    assert books.stops() == []


def test_what_cannot_be_loaded_is_put_away_neither_while_the_room_is_stopped_nor_where_another_has_been(
    process: Process, other: Process, books: Books, log: Log
) -> None:
    """What a room loads is asked for before it is known whether it may go on."""
    poison = log.capture("poison", 1, "load:22012")
    process.begin((EXECUTIONS, 0))
    other.begin((EXECUTIONS, 0))
    stop_room(process.store, "told", "to")
    with pytest.raises(Stopped):
        process.apply(poison)
    assert books.letters() == []
    books.lift()
    process.apply(poison)
    assert books.letters() == [("dead", "database_22012")]
    (thrown,) = other.apply(poison)
    assert thrown.foreign == {(EXECUTIONS, 0)}
    assert books.letters() == [("dead", "database_22012")]


@pytest.mark.parametrize("state", ["08006", "25P03", "40001", "40P01", "53300", "55P03", "57P01", "57014", "58030"])
def test_a_database_in_trouble_costs_no_message_its_place(state: str, process: Process, books: Books, log: Log) -> None:
    batch = [log.capture("a", 1), log.capture("a", 2, f"hiccup:{state}:2"), log.capture("a", 3)]
    for _ in range(2):
        with pytest.raises(psycopg.Error):
            process.apply(*batch)
        assert books.effects() == []
    process.apply(*batch)
    assert books.effects("a") == [1, 2, 3]
    assert books.letters() == []


def test_a_connection_that_dies_in_the_middle_is_replaced(process: Process, books: Books, log: Log) -> None:
    process.apply(log.capture("a", 1))
    books.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tally probe'"
        " AND datname = current_database()"
    )
    second = log.capture("a", 2)
    with pytest.raises(psycopg.OperationalError):
        process.apply(second)
    process.apply(second)
    assert books.effects("a") == [1, 2]


@pytest.mark.parametrize("state", ["42P01", "42501", "XX000"])
def test_a_bug_of_ours_or_the_servers_stops_the_room_at_once(
    state: str, process: Process, other: Process, books: Books, log: Log
) -> None:
    batch = [log.capture("a", 1), log.capture("a", 2, f"hiccup:{state}:1"), log.capture("a", 3)]
    with pytest.raises(Stopped):
        process.apply(*batch)
    assert (books.stops(), books.effects(), books.letters()) == (["database_refuses"], [], [])
    with pytest.raises(Stopped):
        other.apply(*batch)
    books.lift()
    other.apply(*batch)
    assert books.effects("a") == [1, 2, 3]


def test_every_message_poisonous_is_every_message_put_away_and_none_lost(
    process: Process, books: Books, log: Log
) -> None:
    kinds = [told for told, (state, _) in SPOILERS.items() if state == "dead" and told != "permanent"]
    process.apply(*[log.capture(f"k{i}", 1, told) for i, told in enumerate(kinds)])
    assert books.letters() == [SPOILERS[told] for told in kinds]


def test_what_is_said_of_a_split_batch_is_what_took_effect(process: Process, books: Books, log: Log) -> None:
    process.apply(*[log.capture("k" if n != 4 else "bad", n, "sql:22012" if n == 4 else "") for n in range(8)])
    assert said_movements(process.said) == {"k": [0, 1, 2, 3, 5, 6, 7]}
    assert books.effects("k") == [0, 1, 2, 3, 5, 6, 7]


def test_a_message_that_cannot_be_put_away_stops_the_room_and_is_not_dropped(
    process: Process, books: Books, log: Log
) -> None:
    books.run("ALTER TABLE parked ADD CONSTRAINT full_up CHECK (topic <> 'executions.v1') NOT VALID")
    batch = [log.capture("a", 1), log.capture("a", 2, "sql:22012"), log.capture("b", 1)]
    with pytest.raises(Stopped):
        process.apply(*batch)
    assert books.stops() == ["cannot_dead_letter"]
    books.run("ALTER TABLE parked DROP CONSTRAINT full_up")
    books.lift()
    rest = [m for m in batch if m.offset >= process.placed[(EXECUTIONS, 0)]]
    process.apply(*rest)
    assert sorted(books.rows("SELECT key, n FROM effects")) == [("a", 1), ("b", 1)]
    assert books.letters() == [("dead", "database_22012")]


def test_requests_and_executions_in_one_batch_each_keep_their_position(
    process: Process, books: Books, log: Log
) -> None:
    process.apply(log.capture("a", 1), log.request("b", 1), log.capture("c", 1, partition=3))
    assert sorted(books.rows("SELECT topic, partition, next_offset FROM positions")) == sorted(
        [(EXECUTIONS, 0, 1), (REQUESTS, 0, 1), (EXECUTIONS, 3, 1)]
    )

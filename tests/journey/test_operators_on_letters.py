"""Dead letters and stopped rooms in an operator's hands, on a real store."""

from __future__ import annotations

import json

import psycopg
import pytest

from consumers.payments.consumer import build
from operations.stack.servers import Servers
from tests.journey.letters import NOW, Tally, audit, cleared, give_up_on, letters_database, stack, store, tally
from topics.runtime.dead_letters import acts as operators
from topics.runtime.dead_letters import listing as dead_letters
from topics.runtime.dead_letters.acts import AuditNote
from topics.runtime.dead_letters.store import write_stop
from topics.runtime.delivery.apply import apply
from topics.runtime.delivery.drain import drain
from topics.runtime.shape.store import Stopped, Store
from topics.settings import Settings

__all__ = ["letters_database", "stack", "store", "tally"]


def test_a_dead_letter_says_who_gave_up_on_what_and_how_many_wait_behind_it(stack: Settings, store: Store) -> None:
    (letter,) = give_up_on(stack, store, [cleared("ghost", 1), cleared("ghost", 2)])
    assert (letter.room, letter.state, letter.topic, letter.key) == ("payments", "dead", "risk-decisions.v1", "ghost")
    assert letter.behind == 1
    assert letter.attempts == 1


def test_a_replayed_letter_is_tried_again_and_dies_again_of_the_same_cause(stack: Settings, store: Store) -> None:
    (letter,) = give_up_on(stack, store, [cleared("ghost")])
    acted = operators.replay(stack, "payments", [letter.letter_id], AuditNote("ann", "fixed"), NOW)
    assert acted.changed == (letter.letter_id,)
    assert drain(store, build(stack), NOW) is not None
    (again,) = dead_letters.list_letters(stack, "payments")
    assert (again.state, again.attempts, again.replays) == ("dead", 2, 1)
    assert audit(stack) == [("ann", "replay", "fixed")]


def test_replaying_twice_changes_nothing(stack: Settings, store: Store) -> None:
    (letter,) = give_up_on(stack, store, [cleared("ghost")])
    operators.replay(stack, "payments", [letter.letter_id], AuditNote("ann", "fixed"), NOW)
    acted = operators.replay(stack, "payments", [letter.letter_id], AuditNote("ben", "again"), NOW)
    assert acted == operators.ActResult((), {letter.letter_id: "parked"})
    assert audit(stack) == [("ann", "replay", "fixed")]


def test_discarding_lets_the_next_of_its_key_go_on(stack: Settings, store: Store) -> None:
    (letter,) = give_up_on(stack, store, [cleared("ghost", 1), cleared("ghost", 2)])
    assert drain(store, build(stack), NOW) is None
    operators.discard(stack, "payments", [letter.letter_id], AuditNote("ann", "a test"), NOW)
    assert drain(store, build(stack), NOW) is not None
    (head,) = dead_letters.list_letters(stack, "payments")
    assert head.letter_id != letter.letter_id
    assert head.attempts == 1


def test_letters_are_chosen_by_code_and_key(stack: Settings, store: Store) -> None:
    one, _ = give_up_on(stack, store, [cleared("ghost"), cleared("other")])
    assert dead_letters.matching_ids(stack, "payments", dead_letters.Filter(key="ghost")) == [one.letter_id]
    assert len(dead_letters.matching_ids(stack, "payments", dead_letters.Filter(code=one.code))) == 2
    assert dead_letters.matching_ids(stack, "payments", dead_letters.Filter(code="no such")) == []


def test_a_resumed_room_goes_on_and_counts_its_faults_anew(stack: Settings, store: Store) -> None:
    for number in range(21):
        list(apply(store, build(stack), [cleared(f"ghost-{number}")], None, NOW))
    with pytest.raises(Stopped):
        list(apply(store, build(stack), [cleared("one-too-many")], None, NOW))
    assert dead_letters.open_stop(stack, "payments") is not None
    lifted = operators.resume(stack, "payments", AuditNote("ann", "fixed"))
    assert lifted is not None
    assert lifted.code == "too_many_faults"
    list(apply(store, build(stack), [cleared("after")], None, NOW))
    assert dead_letters.open_stop(stack, "payments") is None
    assert audit(stack) == [("ann", "resume", "fixed")]


def test_resuming_a_room_that_has_not_stopped_does_nothing(stack: Settings, tally: Tally) -> None:
    done = tally("resume", "payments", "--reason", "just in case")
    assert done.exit_code == 0
    assert "nothing to do" in done.stderr
    assert audit(stack) == []


def test_the_command_names_the_ways_out_of_a_stop_that_has_several(stack: Settings, store: Store, tally: Tally) -> None:
    with store.transaction() as conn:
        write_stop(conn, "topic_replaced", "of a test", about={"topic": "payments.v1", "topic_id": "new"})
    refused = tally("resume", "payments", "--reason", "fixed")
    assert refused.exit_code == 1
    assert "start: begin at the start of the new topic" in refused.stderr
    assert dead_letters.open_stop(stack, "payments") is not None
    assert tally("resume", "payments", "--reason", "fixed", "--begin", "start").exit_code == 0
    assert dead_letters.open_stop(stack, "payments") is None


def test_the_commands_replay_and_discard_by_the_first_digits(stack: Settings, store: Store, tally: Tally) -> None:
    (letter,) = give_up_on(stack, store, [cleared("ghost")])
    assert letter.letter_id[:8] in tally("dlq", "list", "--each").stdout
    assert json.loads(tally("dlq", "list", "--each", "--json").stdout)[0]["letter_id"] == letter.letter_id
    replayed = tally("dlq", "replay", letter.letter_id[:8], "--reason", "fixed", "--wait", "0")
    assert (replayed.exit_code, "made due again" in replayed.stdout) == (0, True)
    again = tally("dlq", "replay", f"payments/{letter.letter_id}", "--reason", "fixed")
    assert (again.exit_code, "nothing to do" in again.stderr) == (0, True)
    drain(store, build(stack), NOW.replace(year=2100))
    gone = tally("dlq", "discard", "--all", "--room", "payments", "--code", str(letter.code), "--reason", "a test")
    assert (gone.exit_code, "discarded" in gone.stdout) == (0, True)
    assert dead_letters.list_letters(stack) == []


def test_a_wrong_id_or_room_exits_1_with_one_clear_line(stack: Settings, tally: Tally) -> None:
    for words in (
        ("dlq", "replay", "deadbeef", "--reason", "fixed"),
        ("dlq", "replay", "nowhere/deadbeef", "--reason", "fixed"),
        ("dlq", "list", "--room", "nowhere"),
        ("resume", "nowhere", "--reason", "fixed"),
    ):
        refused = tally(*words)
        assert refused.exit_code == 1
        assert len(refused.stderr.splitlines()) == 1


def test_operators_can_touch_nothing_but_letters_and_stops(stack: Settings) -> None:
    with psycopg.connect(stack.dsn("tally_ops"), autocommit=True) as conn:
        for statement in (
            "UPDATE payments.positions SET next_offset = 0",
            "DELETE FROM payments.parked",
            "UPDATE payments.parked SET value = 'forged'",
            "DELETE FROM payments.inbox",
            "SELECT * FROM payments.orders",
            "SELECT * FROM wallet.wallets",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement)


def test_nobody_can_change_or_delete_a_row_of_the_audit(stack: Settings, servers: Servers, store: Store) -> None:
    (letter,) = give_up_on(stack, store, [cleared("ghost")])
    operators.replay(stack, "payments", [letter.letter_id], AuditNote("ann", "fixed"), NOW)
    owner = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=stack.database)
    for dsn in (stack.dsn("tally_ops"), stack.dsn("tally_payments"), stack.dsn("tally_payments_read"), owner):
        with psycopg.connect(dsn, autocommit=True) as conn:
            for statement in (
                "UPDATE payments.ops_audit SET actor = 'nobody'",
                "DELETE FROM payments.ops_audit",
                "TRUNCATE payments.ops_audit",
            ):
                with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.RaiseException)):
                    conn.execute(statement)
    assert audit(stack) == [("ann", "replay", "fixed")]

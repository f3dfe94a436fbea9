"""Replays at a pace: dry runs, filters, one at a time, killed in the middle and resumed; nothing takes effect twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest

from consumers.payments.consumer import build
from tests.journey.letters import (
    NOW,
    Tally,
    audit,
    cleared,
    draining,
    environment,
    give_up_on,
    letters_database,
    requested,
    stack,
    store,
    tally,
)
from topics.runtime.dead_letters import acts as operators
from topics.runtime.dead_letters import listing as dead_letters
from topics.runtime.dead_letters.acts import AuditNote
from topics.runtime.dead_letters.listing import Filter
from topics.runtime.delivery.apply import apply
from topics.runtime.delivery.drain import drain
from topics.runtime.outbox.outbox import lowest_rows, records_of
from topics.runtime.shape.store import Store
from topics.settings import Settings

__all__ = ["letters_database", "stack", "store", "tally"]
LATER = NOW.replace(year=2100)
ANN = AuditNote("ann", "fixed")


def placed(store: Store) -> list[str]:
    """The checkouts whose order was placed, once for each time."""
    with store.transaction() as conn:
        said = records_of(lowest_rows(conn, 2**62))
    return [(record.key or b"").decode() for record in said if record.topic == "payment-orders.v1"]


def test_a_dry_run_says_what_would_run_and_what_not_and_does_nothing(
    stack: Settings, store: Store, tally: Tally
) -> None:
    give_up_on(stack, store, [cleared("a"), cleared("a", 2), cleared("b"), cleared("c")])
    a, b, c = (letter.letter_id for letter in dead_letters.list_letters(stack, "payments"))
    operators.discard(stack, "payments", [c], ANN, NOW)
    found = {each.letter_id: (each.does, each.why) for each in dead_letters.plan(stack, "payments", [a, b, c])}
    assert found == {a: ("run", "and 1 behind it"), b: ("run", ""), c: ("no-op", "is discarded, not dead")}
    said = tally("dlq", "replay", "--room", "payments", "--all", "--dry-run")
    assert (said.exit_code, "2 run" in said.stderr) == (0, True)
    assert [letter.state for letter in dead_letters.list_letters(stack, "payments")] == ["dead", "dead"]
    assert [action for _, action, _ in audit(stack)] == ["discard"]


def test_a_fourth_replay_needs_force(stack: Settings, store: Store, tally: Tally) -> None:
    (letter,) = give_up_on(stack, store, [cleared("ghost")])
    for _ in range(3):
        assert operators.replay(stack, "payments", [letter.letter_id], ANN, NOW).changed
        drain(store, build(stack), LATER)
    assert dead_letters.plan(stack, "payments", [letter.letter_id])[0].does == "refused"
    refused = tally("dlq", "replay", letter.letter_id, "--reason", "again")
    assert (refused.exit_code, "--force" in refused.stderr) == (0, True)
    assert operators.replay(stack, "payments", [letter.letter_id], ANN, NOW, force=True).changed


def test_a_replay_says_what_became_of_each_letter(stack: Settings, store: Store, tally: Tally) -> None:
    give_up_on(stack, store, [cleared("one"), cleared("two"), cleared("three")])
    list(apply(store, build(stack), [requested("one"), requested("three")], None, NOW))
    with draining(stack, LATER):
        said = tally("dlq", "replay", "--room", "payments", "--all", "--reason", "mended")
    (two,) = dead_letters.list_letters(stack)
    lines = ["payments: 3 of 3 made due again", "payments: 2 done, 1 failed again, 0 not tried yet"]
    assert (said.exit_code, said.stdout.splitlines()) == (1, lines)
    assert said.stderr == f"payments/{two.letter_id} is dead again\n"
    list(apply(store, build(stack), [requested("two")], None, NOW))
    with draining(stack, LATER):
        told = tally("dlq", "replay", two.letter_id, "--reason", "mended", "--json")
    assert (told.exit_code, json.loads(told.stdout)) == (
        0,
        {"room": "payments", "chosen": 1, "changed": 1, "unchanged": {}, "done": 1, "failed": {}, "untried": []},
    )


def test_where_no_room_runs_a_replay_says_that_nothing_was_tried(stack: Settings, store: Store, tally: Tally) -> None:
    (letter,) = give_up_on(stack, store, [cleared("ghost")])
    said = tally("dlq", "replay", letter.letter_id, "--reason", "mended", "--wait", "0.2")
    assert (said.exit_code, "1 not tried yet" in said.stdout, "is the room running" in said.stderr) == (1, True, True)


def test_only_a_dry_run_needs_no_reason(stack: Settings, store: Store, tally: Tally) -> None:
    (letter,) = give_up_on(stack, store, [cleared("ghost")])
    for words in (("replay",), ("discard",)):
        assert tally("dlq", *words, letter.letter_id, "--dry-run").exit_code == 0
        refused = tally("dlq", *words, letter.letter_id)
        assert (refused.exit_code, "--reason" in refused.stderr) == (2, True)
    assert (dead_letters.list_letters(stack)[0].state, audit(stack)) == ("dead", [])


def test_letters_are_chosen_by_the_time_of_their_last_failure(stack: Settings, store: Store, tally: Tally) -> None:
    give_up_on(stack, store, [cleared("old")])
    list(apply(store, build(stack), [cleared("new")], None, NOW + timedelta(hours=2)))
    new = dead_letters.matching_ids(stack, "payments", Filter(since=NOW + timedelta(hours=1)))
    old = dead_letters.matching_ids(stack, "payments", Filter(until=NOW + timedelta(hours=1)))
    assert (len(new), len(old), new == old) == (1, 1, False)
    said = tally("dlq", "discard", "--room", "payments", "--to", "2026-11-22T01:00:00Z", "--reason", "a test")
    assert (said.exit_code, said.stdout) == (0, "payments: 1 of 1 discarded\n")
    assert [letter.letter_id for letter in dead_letters.list_letters(stack)] == new


def test_one_at_a_time_stops_at_the_first_that_fails_again(stack: Settings, store: Store, tally: Tally) -> None:
    give_up_on(stack, store, [cleared("one"), cleared("two"), cleared("three")])
    list(apply(store, build(stack), [requested("one"), requested("three")], None, NOW))
    with draining(stack, LATER):
        said = tally("dlq", "replay", "--room", "payments", "--all", "--stop-on-error", "--reason", "mended")
    assert (said.exit_code, "dead again" in said.stderr) == (1, True)
    assert placed(store) == ["one"]
    two, three = dead_letters.list_letters(stack)
    assert (two.key, two.replays, three.key, three.replays) == ("two", 1, "three", 0)


def test_a_replay_of_nothing_says_so_and_is_no_failure(stack: Settings, tally: Tally) -> None:
    said = tally("dlq", "replay", "--room", "payments", "--code", "no_such", "--reason", "looking")
    assert (said.exit_code, "nothing to do" in said.stderr) == (0, True)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_in_the_middle_and_run_again_nothing_takes_effect_twice(
    how: signal.Signals, stack: Settings, tally: Tally
) -> None:
    """While the room drains, and a second operator replays the same letters."""
    raised = stack.model_copy(update={"stop_at_least": 1000})
    store, names = Store(raised, "payments"), [f"c{i}" for i in range(300)]
    give_up_on(stack, store, [cleared(name) for name in names])
    list(apply(store, build(stack), [requested(name) for name in names], None, NOW))
    again = ("dlq", "replay", "--room", "payments", "--all", "--reason", "mended")
    command = [sys.executable, "-m", "operations.cli.main", *again, "--rate", "100"]
    with draining(raised, LATER):
        running = subprocess.Popen(
            command, env={**os.environ, **environment(stack)}, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        end = time.monotonic() + 120
        while running.poll() is None and len(dead_letters.matching_ids(stack, "payments", Filter())) > 250:
            assert time.monotonic() < end
            time.sleep(0.02)
        running.send_signal(how)
        _, error = running.communicate(timeout=30)
        left = len(dead_letters.matching_ids(stack, "payments", Filter()))
        assert 0 < left < 300, "it was in the middle"
        if how is signal.SIGINT:
            assert (running.returncode, "goes on from here" in error) == (130, True)
        ended = f"payments: {left} done, 0 failed again, 0 not tried yet"
        assert tally(*again).stdout.splitlines() == [f"payments: {left} of {left} made due again", ended]
        while dead_letters.list_letters(stack):
            assert time.monotonic() < end
            time.sleep(0.05)
    assert sorted(placed(store)) == sorted(names)
    with store.transaction() as conn:
        assert conn.execute("SELECT DISTINCT state, replays, attempts FROM parked").fetchall() == [("done", 1, 1)]
        (counted,) = conn.execute("SELECT sum((counts->>'changed')::int) FROM ops_audit").fetchone() or (0,)
    assert counted == 300
    store.close()

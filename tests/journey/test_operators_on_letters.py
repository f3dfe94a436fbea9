"""Dead letters and stopped rooms in an operator's hands, on a real store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import psycopg
import pytest
from typer.testing import CliRunner, Result

from consumers.payments.consumer import build
from operations.cli import build as build_cli
from schemas.envelope import Envelope, derive_id, event_type, record_headers
from schemas.events import RiskCleared
from topics.catalog import RISK_DECISIONS
from topics.runtime import dead_letters
from topics.runtime.apply import apply
from topics.runtime.consumer import Message
from topics.runtime.drain import drain
from topics.runtime.store import Stopped, Store
from topics.settings import Settings

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def cleared(checkout_id: str, number: int = 1) -> Message:
    """Risk's word on a payment that nobody asked for: payments gives it up, and its key is held."""
    event = RiskCleared(checkout_id=checkout_id, rule="none", list_version="", score=0)
    event_id = derive_id(f"{checkout_id} {number}", "test", 0, 1)
    headers = record_headers(Envelope(event_id, "/test", event_type(RiskCleared), NOW))
    value = event.model_dump_json().encode()
    return Message(RISK_DECISIONS.name, 0, number, checkout_id.encode(), value, headers, 1)


@pytest.fixture
def store(stack: Settings) -> Store:
    return Store(stack, "payments")


@pytest.fixture
def tally(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Tally:
    for name, value in (
        ("HOME", str(stack.home)),
        ("POSTGRES", stack.postgres),
        ("DATABASE", stack.database),
        ("SECRET", stack.secret),
    ):
        monkeypatch.setenv(f"TALLY_{name}", value)
    return Tally()


class Tally:
    def __call__(self, *words: str) -> Result:
        return CliRunner().invoke(build_cli(["dlq", "resume"]), list(words))


def give_up_on(stack: Settings, store: Store, messages: Sequence[Message]) -> list[dead_letters.Letter]:
    list(apply(store, build(stack), messages, None, NOW))
    return dead_letters.list_letters(stack, "payments")


def audit(stack: Settings) -> list[tuple[str, str, str]]:
    with psycopg.connect(stack.dsn("tally_ops")) as conn:
        return conn.execute("SELECT actor, action, reason FROM payments.ops_audit ORDER BY id").fetchall()


def test_a_dead_letter_says_who_gave_up_on_what_and_how_many_wait_behind_it(stack: Settings, store: Store) -> None:
    (letter,) = give_up_on(stack, store, [cleared("ghost", 1), cleared("ghost", 2)])
    assert (letter.room, letter.state, letter.topic, letter.key) == ("payments", "dead", "risk-decisions.v1", "ghost")
    assert letter.behind == 1
    assert letter.attempts == 1


def test_a_replayed_letter_is_tried_again_and_dies_again_of_the_same_cause(stack: Settings, store: Store) -> None:
    (letter,) = give_up_on(stack, store, [cleared("ghost")])
    acted = dead_letters.replay(stack, "payments", [letter.letter_id], actor="ann", reason="fixed", now=NOW)
    assert acted.changed == (letter.letter_id,)
    assert drain(store, build(stack), NOW) is not None
    (again,) = dead_letters.list_letters(stack, "payments")
    assert (again.state, again.attempts, again.replays) == ("dead", 2, 1)
    assert audit(stack) == [("ann", "replay", "fixed")]


def test_replaying_twice_changes_nothing(stack: Settings, store: Store) -> None:
    (letter,) = give_up_on(stack, store, [cleared("ghost")])
    dead_letters.replay(stack, "payments", [letter.letter_id], actor="ann", reason="fixed", now=NOW)
    acted = dead_letters.replay(stack, "payments", [letter.letter_id], actor="ben", reason="again", now=NOW)
    assert acted == dead_letters.Acted((), {letter.letter_id: "parked"})
    assert audit(stack) == [("ann", "replay", "fixed")]


def test_discarding_lets_the_next_of_its_key_go_on(stack: Settings, store: Store) -> None:
    (letter,) = give_up_on(stack, store, [cleared("ghost", 1), cleared("ghost", 2)])
    assert drain(store, build(stack), NOW) is None
    dead_letters.discard(stack, "payments", [letter.letter_id], actor="ann", reason="a test", now=NOW)
    assert drain(store, build(stack), NOW) is not None
    (head,) = dead_letters.list_letters(stack, "payments")
    assert head.letter_id != letter.letter_id
    assert head.attempts == 1


def test_letters_are_chosen_by_code_and_key(stack: Settings, store: Store) -> None:
    one, _ = give_up_on(stack, store, [cleared("ghost"), cleared("other")])
    assert dead_letters.matching(stack, "payments", dead_letters.Filter(key="ghost")) == [one.letter_id]
    assert len(dead_letters.matching(stack, "payments", dead_letters.Filter(code=one.code))) == 2
    assert dead_letters.matching(stack, "payments", dead_letters.Filter(code="no such")) == []


def test_a_resumed_room_goes_on_and_counts_its_faults_anew(stack: Settings, store: Store) -> None:
    for number in range(21):
        list(apply(store, build(stack), [cleared(f"ghost-{number}")], None, NOW))
    with pytest.raises(Stopped):
        list(apply(store, build(stack), [cleared("one-too-many")], None, NOW))
    assert dead_letters.open_stop(stack, "payments") is not None
    lifted = dead_letters.resume(stack, "payments", actor="ann", reason="fixed")
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


def test_the_commands_replay_and_discard_by_the_first_digits(stack: Settings, store: Store, tally: Tally) -> None:
    (letter,) = give_up_on(stack, store, [cleared("ghost")])
    assert letter.letter_id[:8] in tally("dlq", "list").stdout
    assert json.loads(tally("dlq", "list", "--json").stdout)[0]["letter_id"] == letter.letter_id
    replayed = tally("dlq", "replay", letter.letter_id[:8], "--reason", "fixed")
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
            "UPDATE payments.ops_audit SET actor = 'nobody'",
            "SELECT * FROM payments.orders",
            "SELECT * FROM wallet.wallets",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement)

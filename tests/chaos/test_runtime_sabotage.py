"""The runtime with one thing left out → red. One scenario with a crash at two places, repeats, poison and a parked message."""

from __future__ import annotations

import signal
from collections import Counter

import pytest

from tests.contract.rooms import Books, Log
from tests.contract.running import advance_clock, nursery, violations, write_messages
from topics.runtime.shape.consumer import Message
from topics.settings import Settings

RED = {
    "": set(),
    "position_before_effects": {"lost"},
    "no_inbox": {"doubled"},
    "publish_before_commit": {"said: without effect"},
    "no_key_parking": {"overtaken"},
    "no_older_rows_first": {"said: overtaken"},
}


def scenario(log: Log) -> tuple[list[Message], dict[str, list[int]]]:
    """Batches of five; c waits for the world to be mended, d can never be stored, three messages come twice."""
    told = {("c", 1): "transient", ("d", 1): "deferred"}
    sent: dict[str, list[int]] = {}
    messages = []
    for key in ("acaab", "abcab", "abcab", "abcad"):
        for letter in key:
            numbers = sent.setdefault(letter, [])
            numbers.append(len(numbers) + 1)
            messages.append(log.capture(letter, numbers[-1], told.get((letter, numbers[-1]), "")))
    return [*messages, *(log.again(messages[place]) for place in (0, 5, 8))], sent


@pytest.mark.parametrize("build", RED)
def test_each_rule_of_delivery_is_needed(build: str, on_kafka: Settings, books: Books, log: Log) -> None:
    messages, sent = scenario(log)
    write_messages(on_kafka, messages)
    books.breaks("world")
    with nursery(on_kafka) as processes:
        for plan in ("after_claim=kill:2", "after_commit=kill:1"):
            assert processes.ended(processes.start("apply", plan, build)) == -signal.SIGKILL
        books.mends("world")
        advance_clock(on_kafka, 60)
        assert processes.ended(processes.start("apply", "", build)) == 0
    found = violations(on_kafka, books, sent, without="d")
    assert found >= RED[build]
    if not build:
        assert found == set()
        assert Counter(books.letters()) == {
            ("done", "told_transient"): 1,
            ("done", None): 3,
            ("dead", "database_23505"): 1,
        }

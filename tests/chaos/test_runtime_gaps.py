"""A Kafka client that loses records on their way to a room, and offsets that hold no message → nothing is lost, nothing waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition

from tests.contract import probe
from tests.contract.rooms import EXECUTIONS, Books, captured, event_id, headers_of
from tests.contract.running import LIMIT_S, Sender, settled, violations, wait
from topics.runtime import loop as loop_module
from topics.runtime.admin import kafka_config
from topics.runtime.loop import RoomLoop
from topics.settings import Settings

KEYS = [f"k{i}" for i in range(10)]


class Lossy:
    """A client that forgets every fifth record, and gives it when it is asked for it again."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.lost: set[tuple[str, int, int]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def consume(self, count: int, timeout_s: float) -> list[Any]:
        return [record for record in self._client.consume(count, timeout_s) if not self._loses(record)]

    def _loses(self, record: Any) -> bool:
        place = (record.topic(), record.partition(), record.offset())
        if record.error() is not None or place in self.lost or record.offset() % 5 != 3:
            return False
        self.lost.add(place)
        return True


class Deaf(Lossy):
    """A client that hears nothing of any partition until it is told anew to read it."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.told: set[tuple[str, int]] = set()

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        self.told |= {(p.topic, p.partition) for p in partitions}
        self._client.incremental_unassign(partitions)

    def _loses(self, record: Any) -> bool:
        return (record.topic(), record.partition()) not in self.told


@contextmanager
def member(settings: Settings, client: Callable[[Any], Any]) -> Iterator[Any]:
    """A process of the room, and its client."""
    stop = threading.Event()
    loop = RoomLoop(settings, probe.build(), stop)
    loop._kafka = client(loop._kafka)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield loop._kafka
    finally:
        stop.set()
        thread.join(LIMIT_S)
        assert not thread.is_alive()


def feed(sender: Sender, rounds: int) -> int:
    """One by one, so that they come in many batches. → how many in all"""
    for _ in range(rounds):
        for key in KEYS:
            sender.capture(key)
            sender.flush()
    return sum(map(len, sender.sent.values()))


def test_what_the_client_has_lost_is_read_again(on_kafka: Settings, books: Books) -> None:
    """Offsets go up by one: a record that is left out is missed when the next one of its partition comes."""
    sender = Sender(on_kafka)
    with member(on_kafka, Lossy) as client:
        sent = feed(sender, 15)
        wait("all are done and said but those after which none came", lambda: settled(books, sent - len(KEYS) + 1))
        assert client.lost
    done = {key: numbers[: len(books.effects(key))] for key, numbers in sender.sent.items()}
    unsaid = {"said: lost", "stale"}  # what was done as the member left
    assert violations(on_kafka, books, done) <= unsaid, "in order, each once"


def test_a_partition_that_says_nothing_although_it_holds_more_is_read_again(
    on_kafka: Settings, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "SILENT_S", 1.0)
    sender = Sender(on_kafka)
    sent = feed(sender, 2)
    with member(on_kafka, Deaf) as client:
        wait("all is done and said", lambda: settled(books, sent))
        assert client.told
    assert violations(on_kafka, books, sender.sent) == set()


def test_looking_for_the_silent_holds_up_nobody(
    on_kafka: Settings, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked over the consumer's own connection, each of a dozen ends would wait for a fetch: six seconds a message."""
    monkeypatch.setattr(loop_module, "SILENT_S", 0.0)
    sender = Sender(on_kafka)

    def one_after_another() -> bool:
        done = len(books.effects())
        if done == sum(map(len, sender.sent.values())) < 30:
            sender.capture("k")
            sender.flush()
        return done == 30

    with member(on_kafka, lambda client: client):
        wait("thirty are done, each sent when the one before was", one_after_another)
    assert books.effects("k") == list(range(1, 31))


def test_offsets_without_a_message_are_passed(on_kafka: Settings, books: Books) -> None:
    """A writer with transactions leaves its marks between the messages."""
    writer = Producer(kafka_config(on_kafka) | {"transactional.id": on_kafka.topic_prefix})
    writer.init_transactions(30)
    with member(on_kafka, lambda client: client):
        for n in range(1, 6):
            writer.begin_transaction()
            event = captured("k", n)
            value, headers = event.model_dump_json().encode(), headers_of(event, event_id("k", n))
            writer.produce(on_kafka.topic_prefix + EXECUTIONS, value, b"k", headers=list(headers))
            writer.commit_transaction(30)
        wait("all is done and said", lambda: settled(books, 5))
    assert books.effects("k") == [1, 2, 3, 4, 5]


class Watcher:
    """A client in the hands of a rebalance: where it was told to read."""

    def __init__(self) -> None:
        self.offsets: list[int] = []

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        self.offsets += [partition.offset for partition in partitions]

    def pause(self, partitions: list[TopicPartition]) -> None:
        """It is asked to."""


def test_a_partition_that_waits_for_its_position_does_not_stand_at_the_end(on_kafka: Settings) -> None:
    """The end is asked of the broker. A late answer took reading there, past what nobody had read (librdkafka 2.16)."""
    loop = RoomLoop(on_kafka.model_copy(update={"postgres": "127.0.0.1:1"}), probe.build(), threading.Event())
    watcher = Watcher()
    loop._on_assign(watcher, [TopicPartition(on_kafka.topic_prefix + EXECUTIONS, 0)])  # type: ignore[arg-type]
    assert watcher.offsets == [0]

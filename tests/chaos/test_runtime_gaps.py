"""A Kafka client that loses records on their way to a room, and offsets that hold no message → nothing is lost, nothing waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import Producer, TopicPartition

from tests.contract import probe
from tests.contract.rooms import EXECUTIONS, Books, captured, event_id, headers_of
from tests.contract.running import LIMIT_S, Sender, settled, violations, wait
from topics import catalog
from topics.runtime.process import kafka_loop as loop_module
from topics.runtime.process.kafka_loop import RoomLoop
from topics.runtime.shape.kafka import kafka_config, watermarks
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


# ── writers with transactions ────────────────────────────────────────────────────────────────────────────────────────


class Counting:
    """A client that counts how often it was told to read a partition again, and asked what is assigned: at each look."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.again = self.looks = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        self.again += 1
        self._client.incremental_unassign(partitions)

    def assignment(self) -> Any:
        self.looks += 1
        return self._client.assignment()


class Transactions:
    """An upstream that writes with Kafka's transactions: each takes one offset more than it has records."""

    def __init__(self, settings: Settings) -> None:
        self._name = settings.topic_prefix + EXECUTIONS
        config = {"transactional.id": settings.topic_prefix, "partitioner": "murmur2_random"}
        self._writer = Producer(kafka_config(settings) | config)
        self._writer.init_transactions(30)
        self.sent: dict[str, list[int]] = {}

    def begin(self, key: str, *numbers: int) -> None:
        """These records are at the broker, and their transaction is open."""
        self._writer.begin_transaction()
        for n in numbers:
            event = captured(key, n)
            value, headers = event.model_dump_json().encode(), headers_of(event, event_id(key, n))
            self._writer.produce(self._name, value, key.encode(), headers=list(headers))
        self._writer.flush(30)

    def commit(self, key: str, *numbers: int) -> None:
        self.begin(key, *numbers)
        self._writer.commit_transaction(30)
        self.sent.setdefault(key, []).extend(numbers)

    def abort(self, key: str = "", *numbers: int) -> None:
        if key:
            self.begin(key, *numbers)
        self._writer.abort_transaction(30)


def stands_at_the_end(settings: Settings, books: Books) -> bool:
    """Position and Kafka's offset of the one partition that holds anything: nothing is left of it, by anybody's count."""
    consumer = KafkaConsumer(kafka_config(settings) | {"group.id": f"{settings.topic_prefix}probe"})
    parts = [TopicPartition(settings.topic_prefix + EXECUTIONS, number) for number in range(catalog.PARTITIONS)]
    ends = [watermarks(consumer, part)[1] for part in parts]
    offsets = [part.offset for part in consumer.committed(parts, timeout=15)]
    consumer.close()
    stored = dict(books.rows("SELECT partition, next_offset FROM positions WHERE topic = %s", EXECUTIONS))
    return all(stored.get(number) == end == max(offsets[number], 0) for number, end in enumerate(ends) if end)


def test_many_small_transactions_are_read_once(on_kafka: Settings, books: Books) -> None:
    """Each leaves an offset without a message, which looks like one that the client has lost."""
    writer = Transactions(on_kafka)
    with member(on_kafka, Counting) as client:
        for n in range(1, 101):
            writer.commit("k", n)
        wait("all is done and said", lambda: settled(books, 100))
        assert client.again == 0
    assert violations(on_kafka, books, writer.sent) == set()


def test_a_message_lost_between_transactions_is_read_again(on_kafka: Settings, books: Books) -> None:
    writer = Transactions(on_kafka)
    with member(on_kafka, Lossy) as client:
        for n in range(1, 31):
            writer.commit("k", n)
        wait("all are done and said but the last, if none came after it", lambda: settled(books, 29))
        assert client.lost
    assert books.effects("k")[:29] == list(range(1, 30))


def test_aborted_records_are_never_applied_and_marks_do_not_count_as_lag(
    on_kafka: Settings, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "SILENT_S", 0.2)
    writer = Transactions(on_kafka)
    with member(on_kafka, Counting) as client:
        writer.abort("k", 1, 2, 3)
        wait("aborted records are passed", lambda: stands_at_the_end(on_kafka, books))
        assert books.effects() == []
        writer.commit("k", 4, 5)
        writer.abort("k", 6)
        writer.commit("k", 7)
        writer.abort("k", 8, 9)
        wait("all is done and said", lambda: settled(books, 3))
        wait("nothing is left to be read", lambda: stands_at_the_end(on_kafka, books))
        assert client.again == 0, "nothing is read again only because its writer uses transactions"
    assert violations(on_kafka, books, writer.sent) == set()


def test_what_an_open_transaction_holds_back_comes_once_it_ends(
    on_kafka: Settings, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writer hangs: what others wrote to the same partition after it cannot be read, and is not missed either."""
    monkeypatch.setattr(loop_module, "SILENT_S", 0.5)
    hanging, sender = Transactions(on_kafka), Sender(on_kafka)
    with member(on_kafka, Counting) as client:
        for key in KEYS:
            sender.capture(key)
        sender.flush()
        wait("the first are done", lambda: len(books.effects()) == len(KEYS))
        again, looks = client.again, client.looks
        hanging.begin("k1", 2)
        sender.sent["k1"].append(2)
        for key in KEYS:
            sender.capture(key)
        sender.flush()
        wait("other partitions are done", lambda: len(books.effects()) >= len(KEYS) + 3)
        wait("it was looked for silent partitions", lambda: client.looks > looks + 4)
        assert (books.effects("k1"), client.again) == ([1], again)
        hanging.abort()
        wait("so is this one", lambda: settled(books, 2 * len(KEYS)))
    assert books.effects("k1") == [1, 3]


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

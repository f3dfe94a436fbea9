"""A room whose messages come through Faust → each has one effect, in order, whatever happens to its processes."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from mode.utils.queues import FlowControlEvent

from reconciliation import app, host
from reconciliation.host import StreamCrashed, StreamLoop
from tests.contract import probe
from tests.contract.probe_process import SESSION_S
from tests.contract.rooms import EXECUTIONS, Books, captured, event_id, headers_of
from tests.contract.running import LIMIT_S, Sender, kill, nursery, send, settled, state_of, violations, wait
from topics.runtime.delivery.apply import stop_room
from topics.runtime.shape.consumer import Message
from topics.runtime.shape.kafka import kafka_config, partitions, watermarks
from topics.runtime.shape.store import Store
from topics.settings import Settings


@contextmanager
def member(settings: Settings, kind: type[StreamLoop] = StreamLoop) -> Iterator[StreamLoop]:
    """One process's loop, in a thread."""
    stop = threading.Event()
    loop = kind(settings, probe.build_streamed(), stop)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield loop
    finally:
        stop.set()
        thread.join(LIMIT_S)
        assert not thread.is_alive()


@pytest.fixture(autouse=True)
def short_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "SESSION_S", SESSION_S)


@contextmanager
def held_up(books: Books, key: str) -> Iterator[None]:
    """Batches with this key wait for us."""
    books.run("BEGIN")
    books.rows("SELECT 1 FROM counts WHERE key = %s FOR UPDATE", key)
    try:
        yield
    finally:
        books.run("COMMIT")


def committed(settings: Settings) -> int:
    """The sum of the offsets that Kafka has of the group."""
    group = f"{settings.topic_prefix}probe-stream"
    kafka = KafkaConsumer(kafka_config(settings) | {"group.id": group, "enable.auto.commit": False})
    found = kafka.committed(partitions(kafka, [settings.topic_prefix + EXECUTIONS]), timeout=10)
    kafka.close()
    return sum(max(0, each.offset) for each in found)


def soon(ready: Callable[[], bool], limit_s: float) -> None:
    """Until it is so; the time that it had otherwise."""
    end = time.monotonic() + limit_s
    while not ready() and time.monotonic() < end:
        time.sleep(0.05)


# ── processes that end, stand still, come and go ─────────────────────────────────────────────────────────────────────


def test_kills_pauses_and_newcomers_lose_and_double_nothing(on_kafka: Settings, books: Books) -> None:
    sender = Sender(on_kafka)
    with nursery(on_kafka) as processes:
        killed = processes.start("stream", failpoints="after_commit=kill:4")
        send(sender, 3)
        assert processes.ended(killed) == -signal.SIGKILL
        paused = processes.start("stream", failpoints="before_publish=stop:2")
        send(sender, 2)
        wait("it stands still", lambda: state_of(paused) == "T")
        heir = processes.start("stream", failpoints="before_publish=kill:6")
        send(sender, 3)
        assert processes.ended(heir) == -signal.SIGKILL, "it has taken over what the paused one held"
        kill(paused, signal.SIGCONT)
        newcomer = processes.start("stream")
        sent = send(sender, 3)
        cut = books.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'tally_probe'")
        wait("all has its effect", lambda: settled(books, sent))
        for pid in (paused, newcomer):
            kill(pid, signal.SIGTERM)
            assert processes.ended(pid) == 0
    assert cut, "their connections were lost, too"
    assert violations(on_kafka, books, sender.sent) == set()


RED: dict[str, set[str]] = {"": set(), "fausts_own_offsets": {"lost"}}


@pytest.mark.parametrize("build", RED)
def test_what_faust_cancels_is_not_taken_for_done(build: str, on_kafka: Settings, books: Books) -> None:
    """It acknowledges what it cancels: reading on at its offsets would lose that."""
    sender = Sender(on_kafka)
    with nursery(on_kafka) as processes:
        first = processes.start("stream", sabotage=build)
        sender.capture("k")
        sender.flush()
        wait("it reads", lambda: settled(books, 1))
        with held_up(books, "k"):
            sender.capture("k")
            sender.flush()
            wait("a batch is in hand", lambda: books.rows("SELECT 1 FROM pg_locks WHERE NOT granted"))
            kill(first, signal.SIGTERM)
            soon(lambda: committed(on_kafka) == 2, SESSION_S)
            kill(first)
        assert processes.ended(first) == -signal.SIGKILL
        second = processes.start("stream", sabotage=build)
        sender.capture("k")
        sender.flush()
        wait("the next is done", lambda: 3 in books.effects("k"))
        kill(second, signal.SIGTERM)
        assert processes.ended(second) == 0
    assert violations(on_kafka, books, sender.sent) & {"lost", "doubled", "overtaken"} == RED[build]


def test_a_process_whose_consumer_has_crashed_ends_with_an_error(on_kafka: Settings) -> None:
    """Its supervisor starts it again; by itself Faust would sit there for ever."""
    with nursery(on_kafka) as processes:
        assert processes.ended(processes.start("stream", sabotage="consumer_thread_crashes")) == 1


class Deaf(StreamLoop):
    """Hears nothing, however often it reads."""

    async def hear(self, messages: Sequence[Message]) -> None:
        pass


def test_a_process_that_stays_silent_although_there_is_more_ends(
    on_kafka: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "SILENT_S", 0.2)
    sender = Sender(on_kafka)
    sender.capture("k")
    sender.flush()
    with pytest.raises(StreamCrashed, match="silent"):
        Deaf(on_kafka, probe.build_streamed(), threading.Event()).run()


def test_without_a_broker_a_process_waits_and_can_be_ended(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"kafka": "127.0.0.1:1"})
    with member(nowhere) as loop:
        wait("it says so", lambda: loop.health.state == "paused" and loop.health.reason.startswith("kafka"))


def test_a_database_that_is_away_at_an_assignment_is_waited_for(
    on_kafka: Settings, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = [True]
    place = host.start_offsets

    def failing(*arguments: Any) -> Any:
        if away:
            raise psycopg.OperationalError("away")
        return place(*arguments)

    monkeypatch.setattr(host, "start_offsets", failing)
    sender = Sender(on_kafka)
    sent = send(sender, 1)
    with member(on_kafka) as loop:
        wait("it says so", lambda: loop.health.state == "paused" and loop.health.reason.startswith("database"))
        away.clear()
        wait("all is done", lambda: len(books.effects()) == sent)
        wait("and it says so", lambda: loop.health.state == "running")
    assert violations(on_kafka, books, sender.sent) == set()


def test_a_look_up_of_positions_that_takes_longer_than_faust_waits_is_waited_for(
    on_kafka: Settings, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faust gives up such an assignment without a word, and would sit there for ever."""
    request_s = SESSION_S
    monkeypatch.setattr(app, "REQUEST_S", request_s)
    monkeypatch.setattr(host, "PLACE_S_MAX", 0.2)
    asked, let_go, made = threading.Event(), threading.Event(), list[Any]()
    place, make_app = host.start_offsets, host.make_app

    def held(*arguments: Any) -> Any:
        asked.set()
        assert let_go.wait(LIMIT_S)
        return place(*arguments)

    def noting(*arguments: Any) -> Any:
        made.append(make_app(*arguments))
        return made[-1]

    monkeypatch.setattr(host, "start_offsets", held)
    monkeypatch.setattr(host, "make_app", noting)
    sender = Sender(on_kafka)
    sent = send(sender, 1)
    with member(on_kafka):
        assert asked.wait(LIMIT_S)
        soon(made[-1].flow_control.is_active, 1.5 * request_s)
        let_go.set()
        wait("all is done", lambda: len(books.effects()) == sent, 15)
    assert violations(on_kafka, books, sender.sent) == set()


def test_a_process_that_never_reads_again_after_an_assignment_ends(
    on_kafka: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else Faust may forget: its supervisor starts it again."""
    monkeypatch.setattr(host, "RESUME_S_MAX", 0.5)
    monkeypatch.setattr(FlowControlEvent, "resume", lambda self: None)
    with pytest.raises(StreamCrashed, match="not begun to read"):
        StreamLoop(on_kafka, probe.build_streamed(), threading.Event()).run()


# ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Lossy(StreamLoop):
    """Forgets every fifth message the first time."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.lost: set[tuple[str, int, int]] = set()

    async def hear(self, messages: Sequence[Message]) -> None:
        lost = {m[:3] for m in messages if m.offset % 5 == 3} - self.lost
        self.lost |= lost
        await super().hear([m for m in messages if m[:3] not in lost])


def test_what_the_client_has_lost_is_read_again(
    on_kafka: Settings, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the gap that it leaves, or where nothing follows by the partition's end."""
    monkeypatch.setattr(host, "SILENT_S", 0.5)
    sender = Sender(on_kafka)
    sent = send(sender, 3)
    with member(on_kafka, Lossy) as loop:
        wait("all is done and said", lambda: settled(books, sent))
        assert isinstance(loop, Lossy)
        assert loop.lost
    assert violations(on_kafka, books, sender.sent) == set()


def test_poison_is_a_dead_letter_each_and_the_rest_goes_on(on_kafka: Settings, books: Books) -> None:
    sender = Sender(on_kafka)
    good = captured("good", 1)
    headers = headers_of(good, event_id("good", 1))
    value = good.model_dump_json().encode()
    sender.send(EXECUTIONS, b"a", b"\xff garbage", headers_of(good, event_id("a", 1)))
    sender.send(EXECUTIONS, b"b", None, headers_of(good, event_id("b", 1)))
    sender.send(EXECUTIONS, None, value, headers_of(good, event_id("c", 1)))
    sender.send(EXECUTIONS, b"d", value, [])
    sender.send(EXECUTIONS, b"e", b"x" * 900_000, headers_of(good, event_id("e", 1)))
    sender.send(EXECUTIONS, b"good", value, headers)
    sender.flush()
    with member(on_kafka):
        wait("the good one is done", lambda: books.effects("good") == [1])
        wait("the others are letters", lambda: len(books.letters()) == 5)
    assert {state for state, _ in books.letters()} == {"dead"}


class NoText(str):
    """A name as bytes that are no text."""

    def encode(self, *_: Any) -> bytes:
        return b"\xff\xfe"


async def say_with_a_bad_name(settings: Settings, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
    """Only a client that packs records itself can."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka)
    await producer.start()
    batch = producer.create_batch()
    batch._builder = _DefaultRecordBatchBuilderPy(2, 0, False, -1, -1, -1, 1 << 20)
    batch.append(key=key, value=value, timestamp=None, headers=[(NoText("bad"), b"x"), *headers])
    await producer.send_batch(batch, settings.topic_prefix + EXECUTIONS, partition=0)
    await producer.stop()


def test_a_header_whose_name_is_no_text_makes_a_dead_letter_and_ends_no_process(
    on_kafka: Settings, books: Books
) -> None:
    sender = Sender(on_kafka)
    event = captured("bad", 1)
    headers = list(headers_of(event, event_id("bad", 1)))
    with member(on_kafka):
        sent = send(sender, 1)
        wait("it reads", lambda: settled(books, sent))
        asyncio.run(say_with_a_bad_name(on_kafka, b"bad", event.model_dump_json().encode(), headers))
        sent = send(sender, 1)
        wait("it is a letter", lambda: books.letters() == [("dead", "bad_headers")])
        wait("the others go on", lambda: len(books.effects()) == sent)
    assert books.rows("SELECT key, value FROM parked") == [(b"bad", event.model_dump_json().encode())]


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
def test_compressed_records_are_read(compression: str, on_kafka: Settings, books: Books) -> None:
    """A producer's option, or the broker's for a topic."""
    squeezed = on_kafka.model_copy(update={"kafka_options": {"compression.type": compression}})
    sender = Sender(squeezed)
    with member(on_kafka):
        sent = send(sender, 1)
        wait("all is done", lambda: len(books.effects()) == sent)


# ── stops ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stopped_room_reads_on_once_the_stop_is_lifted(on_kafka: Settings, books: Books) -> None:
    sender = Sender(on_kafka)
    sent = send(sender, 1)
    with member(on_kafka) as loop:
        wait("it reads", lambda: settled(books, sent))
        store = Store(on_kafka, "probe")
        stop_room(store, "told", "by a test")
        store.close()
        sent = send(sender, 1)
        wait("it stops", lambda: loop.health.state == "stopped")
        assert len(books.effects()) < sent
        books.lift()
        wait("it goes on", lambda: settled(books, sent))
        wait("and says so", lambda: loop.health.state == "running")
    assert violations(on_kafka, books, sender.sent) == set()


def test_an_offset_of_kafka_ahead_of_ours_stops_the_room(on_kafka: Settings, books: Books) -> None:
    """As after a restore: what lies between would be skipped. Kafka's offset is set back, so that the lift helps."""
    sender = Sender(on_kafka)
    sent = send(sender, 2)
    with member(on_kafka):
        wait("all is done", lambda: settled(books, sent))
    assert committed(on_kafka) == sent
    books.run("DELETE FROM effects")
    books.run("DELETE FROM inbox")
    books.run("UPDATE counts SET count = 0")
    books.run("UPDATE positions SET next_offset = 0")
    with member(on_kafka) as loop:
        wait("it stops", lambda: loop.health.state == "stopped")
        assert books.stops() == ["offset_ahead"]
        wait("Kafka's offsets are ours", lambda: committed(on_kafka) == 0)
        books.lift()
        wait("all is done again", lambda: len(books.effects()) == sent)


def test_a_message_that_kafka_has_deleted_before_it_was_read_stops_the_room(on_kafka: Settings, books: Books) -> None:
    sender = Sender(on_kafka)
    for _ in range(3):
        sender.capture("k")
    sender.flush()
    kafka = KafkaConsumer(kafka_config(on_kafka) | {"group.id": "of a test"})
    places = partitions(kafka, [on_kafka.topic_prefix + EXECUTIONS])
    (where,) = [each for each in places if watermarks(kafka, each)[1] == 3]
    kafka.close()
    books.run("INSERT INTO positions (topic, partition, next_offset) VALUES (%s, %s, 0)", EXECUTIONS, where.partition)
    admin = AdminClient(kafka_config(on_kafka))  # its answers come while it is there
    deleted = admin.delete_records([TopicPartition(where.topic, where.partition, 2)])
    for each in deleted.values():
        each.result()
    with member(on_kafka) as loop:
        wait("it stops", lambda: loop.health.state == "stopped")
    assert books.stops() == ["offset_gone"]
    assert books.effects("k") == []

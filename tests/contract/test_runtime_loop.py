"""A room's loop on real Kafka and PostgreSQL: members come and go, servers go away, offsets and stops are respected."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import confluent_kafka
import psycopg
import pytest
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import TopicPartition
from prometheus_client import REGISTRY

from operations.stack.servers import Servers
from tests.contract import probe
from tests.contract.rooms import EXECUTIONS, Books, Process, leave
from tests.contract.running import Member, Sender, heard, members, send, settled, violations, wait
from topics.runtime.outbox import latest as saying
from topics.runtime.outbox.latest import LatestPublisher
from topics.runtime.outbox.outbox import OutboxRecord, Publisher
from topics.runtime.process.kafka_loop import RoomLoop
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.consumer import Message
from topics.runtime.shape.kafka import kafka_config
from topics.runtime.shape.store import Store
from topics.settings import Settings


def measured_state() -> float | None:
    """What an alert sees of the room whose threads these are."""
    return REGISTRY.get_sample_value("tally_room_state", {"room": "probe"})


def test_members_come_and_go_under_load_and_no_message_minds(on_kafka: Settings, books: Books) -> None:
    settings = on_kafka.model_copy(update={"batch_max": 20})
    sender = Sender(settings)
    send(sender, 10)
    with members(settings, 2) as found:
        wait("the two have begun", lambda: len(books.effects()) > 50)
        found.append(Member(settings))
        send(sender, 10)
        found[0].leave()
        found.append(Member(settings))
        sent = send(sender, 10)
        wait("all is done and said", lambda: settled(books, sent))
    assert violations(settings, books, sender.sent) == set()


def test_kafkas_offsets_follow_ours_and_never_lead(on_kafka: Settings, books: Books) -> None:
    sender = Sender(on_kafka)
    with members(on_kafka, 1):
        sent = send(sender, 3)
        wait("all is done", lambda: settled(books, sent))
    committed = offsets_of(on_kafka)
    stored = dict(books.rows("SELECT partition, next_offset FROM positions WHERE topic = %s", EXECUTIONS))
    assert committed == {partition: offset for partition, offset in stored.items() if offset}


def offsets_of(settings: Settings) -> dict[int, int]:
    """The group's committed offsets of executions, as Kafka has them."""
    consumer = KafkaConsumer(kafka_config(settings) | {"group.id": f"{settings.topic_prefix}probe"})
    asked = [TopicPartition(settings.topic_prefix + EXECUTIONS, partition) for partition in range(12)]
    found = {p.partition: p.offset for p in consumer.committed(asked, timeout=15) if p.offset > 0}
    consumer.close()
    return found


def test_an_offset_ahead_of_ours_stops_the_room_until_an_operator_has_looked(on_kafka: Settings, books: Books) -> None:
    """The store was restored, or someone skipped: going on from Kafka's offset would lose what lies between."""
    sender = Sender(on_kafka)
    with members(on_kafka, 1):
        sent = send(sender, 1)
        wait("the first are done", lambda: settled(books, sent))
    skipped = [TopicPartition(on_kafka.topic_prefix + EXECUTIONS, p, at + 1) for p, at in offsets_of(on_kafka).items()]
    outsider = KafkaConsumer(kafka_config(on_kafka) | {"group.id": f"{on_kafka.topic_prefix}probe"})
    outsider.commit(offsets=skipped[:1], asynchronous=False)
    outsider.close()
    sent = send(sender, 1)
    with members(on_kafka, 2) as found:
        wait("the room has stopped", lambda: books.stops() == ["offset_ahead"])
        wait("both processes say so", lambda: [member.state for member in found] == ["stopped"] * 2)
        assert len(books.effects()) <= sent - 1
        wait(
            "Kafka's offset is set back",
            lambda: offsets_of(on_kafka).get(skipped[0].partition) == skipped[0].offset - 1,
        )
        books.lift()
        wait("nothing was skipped", lambda: settled(books, sent))
    assert violations(on_kafka, books, sender.sent) == set()


def test_a_stop_holds_all_processes_and_new_ones_until_it_is_lifted(on_kafka: Settings, books: Books) -> None:
    books.run("INSERT INTO stops (code, reason, messages) VALUES ('test', 'told to', 0)")
    sender = Sender(on_kafka)
    sent = send(sender, 1)
    with members(on_kafka, 2) as found:
        wait("both have stopped", lambda: [member.state for member in found] == ["stopped"] * 2)
        found.append(Member(on_kafka))
        wait("so does a third", lambda: found[2].state == "stopped")
        assert measured_state() == -1
        assert books.effects() == []
        books.lift()
        wait("they go on", lambda: settled(books, sent) and measured_state() == 1)
    assert violations(on_kafka, books, sender.sent) == set()


def test_the_database_goes_away_and_comes_back(on_kafka: Settings, books: Books, servers: Servers) -> None:
    """In the middle of the load, and while a member joins: the room pauses, keeps its place, and goes on."""
    settings = on_kafka.model_copy(update={"batch_max": 20})
    sender = Sender(settings)
    send(sender, 5)
    with members(settings, 2) as found, psycopg.connect(servers.postgres_admin, autocommit=True) as admin:
        wait("they have begun", lambda: len(books.effects()) > 20)
        books.close()
        admin.execute(f"ALTER DATABASE {settings.database} ALLOW_CONNECTIONS false")
        try:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [settings.database]
            )
            found.append(Member(settings))
            wait("they pause", lambda: [member.state for member in found[:2]] == ["paused"] * 2)
            assert measured_state() == 0
            send(sender, 5)
        finally:
            admin.execute(f"ALTER DATABASE {settings.database} ALLOW_CONNECTIONS true")
        again = Books(servers, settings)
        sent = send(sender, 5)
        wait("all is done and said", lambda: settled(again, sent))
        assert all(member.alive for member in found)
    assert violations(settings, again, sender.sent) == set()
    assert again.letters() == []
    again.close()


def test_the_database_is_read_only_for_a_while_and_nobody_needs_to_start_again(
    on_kafka: Settings, books: Books, servers: Servers
) -> None:
    """A failover as managed services do it: sessions end, and new ones may only read. They must not be kept for later."""
    settings = on_kafka.model_copy(update={"batch_max": 20})
    sender = Sender(settings)
    send(sender, 5)
    read_only = f"ALTER DATABASE {settings.database} {{}} default_transaction_read_only {{}}"
    with members(settings, 2) as found, psycopg.connect(servers.postgres_admin, autocommit=True) as admin:
        wait("they have begun", lambda: len(books.effects()) > 20)
        books.close()
        admin.execute(read_only.format("SET", "= on"))
        try:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [settings.database]
            )
            found.append(Member(settings))
            send(sender, 5)
            wait("they say why", lambda: all("read-only" in member.loop.health.reason for member in found[:2]))
            assert [member.state for member in found[:2]] == ["paused"] * 2
        finally:
            admin.execute(read_only.format("RESET", ""))
        again = Books(servers, settings)
        sent = send(sender, 5)
        wait("all is done and said", lambda: settled(again, sent))
        assert [member.state for member in found] == ["running"] * 3
    assert violations(settings, again, sender.sent) == set()
    assert again.letters() == []
    again.close()


def test_two_owners_of_the_same_partitions_disturb_nobody(on_kafka: Settings, books: Books) -> None:
    """Somebody else applies from the stored positions although Kafka gives the partitions to us, as a zombie does."""
    settings = on_kafka.model_copy(update={"batch_max": 20})
    sender, zombie = Sender(settings), Process(settings)
    sent = send(sender, 20)
    records = by_partition(settings)
    with members(settings, 1):
        for partition, messages in records.items():
            zombie.begin((EXECUTIONS, partition))
            zombie.apply(*messages[zombie.placed[(EXECUTIONS, partition)] :][:10])
        wait("all is done and said", lambda: settled(books, sent))
    zombie.store.close()
    assert violations(settings, books, sender.sent) == set()


def by_partition(settings: Settings) -> dict[int, list[Message]]:
    found: dict[int, list[Message]] = {}
    for record in heard(settings, EXECUTIONS):
        place, headers = (record.partition(), record.offset()), tuple(record.headers())
        message = Message(EXECUTIONS, *place, record.key(), record.value(), headers, record.timestamp()[1])
        found.setdefault(message.partition, []).append(message)
    return found


def test_who_leaves_leaves_no_lease_behind(on_kafka: Settings, books: Books) -> None:
    """The next process would publish no balance for ten seconds."""
    sender = Sender(on_kafka)
    with members(on_kafka, 1):
        sent = send(sender, 1)
        wait("all is done and said", lambda: settled(books, sent))
        assert ("latest",) in books.rows("SELECT name FROM leases")
    assert books.rows("SELECT name FROM leases") == []


# ── strange records, stopped rooms ───────────────────────────────────────────────────────────────────────────────────


def test_a_header_whose_name_is_no_text_holds_up_nobody(on_kafka: Settings, books: Books) -> None:
    """The client cannot say such headers, and raises; the process ended, and so did the next at the same record."""
    sender = Sender(on_kafka)
    sent = send(sender, 1)
    name = on_kafka.topic_prefix + EXECUTIONS
    send_raw(on_kafka.kafka, name, b"caf\xe9")
    sent = send(sender, 1)
    with members(on_kafka, 1):
        wait("all else is done", lambda: settled(books, sent))
    assert books.letters() == [("dead", "bad_headers")]


def send_raw(kafka: str, topic: str, header: bytes) -> None:
    """With a header of that name, as a client in C would; Python's takes text only."""
    (path,) = Path(confluent_kafka.__file__).parent.parent.glob("confluent_kafka.libs/librdkafka-*")
    library, error = ctypes.CDLL(str(path)), ctypes.create_string_buffer(512)
    library.rd_kafka_conf_new.restype = library.rd_kafka_new.restype = ctypes.c_void_p
    conf = ctypes.c_void_p(library.rd_kafka_conf_new())
    library.rd_kafka_conf_set(conf, b"bootstrap.servers", kafka.encode(), error, ctypes.c_size_t(512))
    producer = ctypes.c_void_p(library.rd_kafka_new(0, conf, error, ctypes.c_size_t(512)))
    text, size = ctypes.c_char_p, ctypes.c_ssize_t
    tags = {"topic": 1, "value": 4, "key": 5, "copy": 7, "header": 9, "end": 0}
    told = (
        *(tags["topic"], text(topic.encode()), tags["value"], text(b"{}"), size(2), tags["key"], text(b"k1"), size(2)),
        *(tags["copy"], 2, tags["header"], text(header), text(b"x"), size(1), tags["end"]),
    )
    assert library.rd_kafka_producev(producer, *told) == 0
    assert library.rd_kafka_flush(producer, 10_000) == 0
    library.rd_kafka_destroy(producer)


@pytest.mark.usefixtures("swept_soon")
def test_a_stopped_room_still_says_what_it_has_committed(on_kafka: Settings, books: Books) -> None:
    """A process that died between its commit and saying so: whoever comes next is stopped, and sweeps all the same."""
    books.run("INSERT INTO stops (code, reason, messages) VALUES ('test', 'a test', 0)")
    leave(books, OutboxRecord("wallet-movements.v1", b"k", [], b"{}"))
    dirty(books, 1)
    with members(on_kafka, 1):
        wait("it is said", lambda: settled(books, 0))
    assert books.stops() == ["test"]


# ── compacted topics ─────────────────────────────────────────────────────────────────────────────────────────────────


def dirty(books: Books, version: int, key: str = "w") -> None:
    """The row is at that version, and nobody has said so."""
    books.run(
        "INSERT INTO counts VALUES (%s, %s, 0) ON CONFLICT (key) DO UPDATE SET count = excluded.count", key, version
    )
    books.run(
        "INSERT INTO latest_outbox VALUES ('wallet-balances.v1', %s, %s)"
        " ON CONFLICT (topic, key) DO UPDATE SET version = excluded.version",
        *(key, version),
    )


class Sayer:
    """One process's publisher of compacted topics."""

    def __init__(self, settings: Settings) -> None:
        self.store = Store(settings, "probe")
        self.publisher = Publisher(settings)
        self.latest = LatestPublisher(probe.build(), self.publisher, count=int)

    def tick(self) -> bool:
        return self.latest.tick(self.store.connection(), Clock().now())

    def finish(self) -> None:
        wait("it has nothing more to say", lambda: not self.tick() or self.publisher.flush(1))

    def close(self) -> None:
        self.store.close()


@pytest.fixture
def sayers(on_kafka: Settings) -> Iterator[tuple[Sayer, Sayer]]:
    one, other = Sayer(on_kafka), Sayer(on_kafka)
    yield one, other
    one.close()
    other.close()


def last_said(settings: Settings) -> int:
    return int(dict(heard(settings, "wallet-balances.v1")[-1].headers())["ce_revision"])


def test_only_who_holds_the_lease_speaks(sayers: tuple[Sayer, Sayer], books: Books) -> None:
    dirty(books, 1)
    one, other = sayers
    assert one.tick()
    assert not other.tick()


def test_balances_that_move_all_the_time_hold_up_no_others(
    sayers: tuple[Sayer, Sayer], on_kafka: Settings, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than are said at once, and those that are said first have moved again when the next are looked for."""
    monkeypatch.setattr(saying, "KEYS_MAX", 2)
    monkeypatch.setattr(saying, "EVERY_S", 0.0)
    monkeypatch.setattr(saying, "SHARE", 1.0)
    for key in "abcde":
        dirty(books, 1, key)
    for version in range(2, 22):
        dirty(books, version, "a")
        dirty(books, version, "b")
        sayers[0].tick()
        sayers[0].publisher.flush(5)
    assert {record.key() for record in heard(on_kafka, "wallet-balances.v1")} == {b"a", b"b", b"c", b"d", b"e"}


@pytest.mark.parametrize("heir_is_gone", [False, True], ids=["its heir goes on", "its heir is gone as well"])
def test_a_publisher_that_lost_its_lease_says_again_what_is_newer(
    heir_is_gone: bool, sayers: tuple[Sayer, Sayer], on_kafka: Settings, books: Books
) -> None:
    """The late one's record lands after its heir's: the last word must still be the latest version."""
    late, heir = sayers
    held = overtaken(late.latest, late.tick, heir, books)
    assert last_said(on_kafka) == 2
    if heir_is_gone:
        books.run("UPDATE leases SET until = now() - interval '1 s'")
    held.let_go()
    late.finish()
    assert last_said(on_kafka) == 2
    assert len(heard(on_kafka, "wallet-balances.v1")) == 3


def test_who_kept_its_lease_says_again_what_another_said_without_one(
    sayers: tuple[Sayer, Sayer], on_kafka: Settings, books: Books
) -> None:
    """The late one says again what is newer, and deletes the mark; the heir's older word lands after that."""
    late, heir = sayers
    held = []
    for version, sayer in enumerate(sayers, 1):
        dirty(books, version)
        sayer.latest._publisher = Held(sayer.publisher)
        held.append(sayer.latest._publisher)
        sayer.tick()
        books.run("UPDATE leases SET until = now() + make_interval(secs => %s)", -1 if sayer is late else 60)
    dirty(books, 3)
    held[0].let_go()
    late.finish()
    assert last_said(on_kafka) == 3
    held[1].let_go()
    heir.finish()
    assert [int(dict(r.headers())["ce_revision"]) for r in heard(on_kafka, "wallet-balances.v1")] == [1, 3, 2, 3]


def test_what_a_broken_producer_may_have_said_is_said_again(
    sayers: tuple[Sayer, Sayer], on_kafka: Settings, books: Books
) -> None:
    """Its old word landed after the heir's, and it was replaced before it heard so."""
    late, heir = sayers
    held = overtaken(late.latest, late.tick, heir, books)
    held.let_go()
    late.publisher.generation += 1
    late.finish()
    assert last_said(on_kafka) == 2


def test_a_process_that_ends_looks_at_its_last_words_again(
    sayers: tuple[Sayer, Sayer], on_kafka: Settings, books: Books
) -> None:
    """They landed after the heir's, a moment before its end."""
    loop, heir = RoomLoop(on_kafka, probe.build(), threading.Event()), sayers[0]
    assert loop._desk.latest
    held = overtaken(loop._desk.latest, loop._desk.publish_latest, heir, books)
    held.let_go()
    loop._close()
    assert last_said(on_kafka) == 2


def overtaken(latest: LatestPublisher, say: Callable[[], object], heir: Sayer, books: Books) -> Held:
    """It has said version 1, which is still on its way; its lease ran out, and its heir has said version 2."""
    dirty(books, 1)
    latest._publisher = held = Held(latest._publisher)  # type: ignore[assignment]
    say()
    books.run("UPDATE leases SET until = now() - interval '1 s'")
    dirty(books, 2)
    heir.finish()
    return held


class Held:
    """A publisher whose records are on their way for a long time."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._waiting: list[tuple[object, ...]] | None = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._publisher, name)

    @property
    def empty_at(self) -> float:
        return self._publisher.empty_at if self._waiting is None else 0.0

    def produce(self, *record: object) -> bool:
        if self._waiting is None:
            return self._publisher.produce(*record)  # type: ignore[arg-type]
        self._waiting.append(record)
        return True

    def let_go(self) -> None:
        records, self._waiting = self._waiting or [], None
        for record in records:
            self._publisher.produce(*record)  # type: ignore[arg-type]
        self._publisher.flush(10)


def test_a_key_that_changes_all_the_time_ends_at_its_last_version(on_kafka: Settings, books: Books) -> None:
    sender = Sender(on_kafka)
    with members(on_kafka, 2):
        for _ in range(300):
            sender.capture("hot")
        sender.flush()
        wait("all is said", lambda: settled(books, 300))
    assert violations(on_kafka, books, sender.sent) == set()
    versions = [int(dict(r.headers())["ce_revision"]) for r in heard(on_kafka, "wallet-balances.v1")]
    assert versions[-1] == 300

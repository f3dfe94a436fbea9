"""Rows of the outbox → Kafka: whoever wrote them, in their order, though a broker refuses them or a queue is never empty."""

from __future__ import annotations

import itertools

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from tests.contract.rooms import Books, leave
from tests.contract.running import Sender, heard, members, send, settled, violations, wait
from topics.runtime.outbox import outbox
from topics.runtime.outbox.outbox import OutboxRecord, Publisher, hashed_key, insert
from topics.runtime.shape.kafka import kafka_config
from topics.runtime.shape.store import Store
from topics.settings import Settings


@pytest.mark.usefixtures("swept_soon")
def test_the_dead_ones_rows_are_swept(on_kafka: Settings, books: Books) -> None:
    """As a door or a dead process leaves them."""
    leave(books, OutboxRecord("wallet-movements.v1", b"k", [("ce_id", b"x")], b'{"movement_id": "1"}'))
    with members(on_kafka, 2):
        wait("it is said", lambda: settled(books, 0))
    assert [record.key() for record in heard(on_kafka, "wallet-movements.v1")] == [b"k"]


def test_a_broker_that_refuses_is_told_all_of_it_later_in_order(on_kafka: Settings, books: Books) -> None:
    """Deliveries fail, not only wait: publishing starts again at the lowest row, and nothing slips through between."""
    settings = on_kafka.model_copy(update={"batch_max": 10})
    sender = Sender(settings)
    send(sender, 2)
    with members(settings, 2) as found:
        wait("they have begun", lambda: len(books.effects()) > 10)
        limit(settings, "wallet-movements.v1", 70)
        sent = send(sender, 5)
        wait("they say so", lambda: "paused" in [member.state for member in found])
        wait("they go on deciding", lambda: len(books.effects()) == sent)
        limit(settings, "wallet-movements.v1", 1_048_588)
        sent = send(sender, 1)
        wait("all is said", lambda: settled(books, sent))
        assert all(member.alive for member in found)
    assert violations(settings, books, sender.sent) == set()


def test_a_record_that_is_refused_lets_none_of_its_key_past(on_kafka: Settings, books: Books) -> None:
    """The broker refuses one and would take the others: they must wait. It knows the producer: to the very first batch of a
    producer that it refuses it may take the next (librdkafka sends one more, whose sequence number is then the first)."""
    limit(on_kafka, "wallet-movements.v1", 10_000)
    store, publisher = Store(on_kafka, "probe"), Publisher(on_kafka)

    def say(size: int) -> None:
        with store.transaction() as conn:
            rows = insert(conn, [OutboxRecord("wallet-movements.v1", b"k", [("size", b"x")], b"x" * size)])()
        publisher.publish(store, rows)
        publisher.poll(0.01)

    def tidied() -> Publisher:
        publisher.poll(0.05)
        publisher.tidy(store)
        return publisher

    say(300)
    wait("the broker knows the producer", lambda: tidied().idle)
    say(50_000)
    for size in range(1, 101):
        say(size)
    wait("it has been tried again, and again", lambda: tidied().generation > 2)
    for size in range(101, 201):
        say(size)
    limit(on_kafka, "wallet-movements.v1", 1_048_588)
    wait("all is said", lambda: tidied() and books.rows("SELECT count(*) FROM outbox") == [(0,)])
    records = [record for record in heard(on_kafka, "wallet-movements.v1") if record.key() == b"k"]
    sizes = [len(record.value() or b"") for record in records]
    assert list(dict.fromkeys(sizes)) == [300, 50_000, *range(1, 201)]
    store.close()


def limit(settings: Settings, topic: str, bytes_max: int) -> None:
    """The largest batch of records that the broker takes; back when it is so."""
    admin = AdminClient(kafka_config(settings))
    entry = ConfigEntry("max.message.bytes", str(bytes_max), incremental_operation=AlterConfigOpType.SET)
    name = settings.topic_prefix + topic
    for done in admin.incremental_alter_configs(
        [ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])]
    ).values():
        done.result(15)
    refused: list[bool] = []
    probe_ = Producer(kafka_config(settings))

    def as_wanted() -> bool:
        refused.clear()
        probe_.produce(
            name, b"x" * 60_000, b"of no key", on_delivery=lambda error, _: refused.append(error is not None)
        )
        probe_.flush(10)
        return refused == [bytes_max < 60_000]

    if bytes_max < 60_000:
        wait("the broker refuses", as_wanted)


def test_what_other_topics_took_is_done_with_although_one_refuses(on_kafka: Settings, books: Books) -> None:
    """It would be said again every second, for as long as the one refuses, and nothing after it would be."""
    limit(on_kafka, "wallet-movements.v1", 10_000)
    store, publisher = Store(on_kafka, "probe"), Publisher(on_kafka)
    for topic, key in (("probe.dlq.v1", b"a"), ("wallet-movements.v1", b"too large"), ("probe.dlq.v1", b"b")):
        with store.transaction() as conn:
            rows = insert(conn, [OutboxRecord(topic, key, [], key * 5_000)])()
        publisher.publish(store, rows)

    def left() -> list[tuple[int]]:
        publisher.poll(0.05)
        publisher.tidy(store)
        return books.rows("SELECT id FROM outbox ORDER BY id")

    (large,) = (rows[0].id - 1,)
    wait("the others are gone", lambda: left() == [(large,)])
    wait("it has been tried again, and again", lambda: left() and publisher.generation > 2)
    assert left() == [(large,)]
    limit(on_kafka, "wallet-movements.v1", 1_048_588)
    wait("it is said too", lambda: not left())
    store.close()


def test_a_refused_record_holds_up_its_own_key_and_no_other(on_kafka: Settings, books: Books) -> None:
    """All that was committed after it waited, of every key and topic, for as long as the broker refused it."""
    limit(on_kafka, "wallet-movements.v1", 10_000)
    store, publisher = Store(on_kafka, "probe"), Publisher(on_kafka)

    def say(topic: str, key: bytes, size: int) -> None:
        with store.transaction() as conn:
            rows = insert(conn, [OutboxRecord(topic, key, [], b"x" * size)])()
        publisher.publish(store, rows)

    def left() -> list[tuple[int]]:
        publisher.poll(0.05)
        publisher.tidy(store)
        return books.rows("SELECT count(*) FROM outbox")

    say("wallet-movements.v1", b"k", 50_000)
    wait("it is refused", lambda: publisher.flush(0.05) or publisher.failing)
    for topic, key in (("wallet-movements.v1", b"k"), ("wallet-movements.v1", b"other"), ("probe.dlq.v1", b"other")):
        say(topic, key, 1)
    wait("the others are gone", lambda: left() == [(2,)], limit_s=20)
    wait("it has been tried again, and again", lambda: left() and publisher.generation > 2)
    limit(on_kafka, "wallet-movements.v1", 1_048_588)
    wait("it is said too", lambda: left() == [(0,)])
    said = [record for record in heard(on_kafka, "wallet-movements.v1") if record.key() == b"k"]
    assert list(dict.fromkeys(len(record.value() or b"") for record in said)) == [50_000, 1]
    store.close()


def test_records_without_a_key_and_new_keys_have_nothing_older(on_kafka: Settings, books: Books) -> None:
    store = Store(on_kafka, "probe")
    leave(books, OutboxRecord("probe.dlq.v1", None, [], b"x"), OutboxRecord("wallet-movements.v1", b"k", [], b"x"))
    with store.transaction() as conn:
        (keyless,) = insert(conn, [OutboxRecord("probe.dlq.v1", None, [], b"x")])()
        (new,) = insert(conn, [OutboxRecord("wallet-movements.v1", b"k", [], b"x")], new_keys=True)()
        (late,) = insert(conn, [OutboxRecord("wallet-movements.v1", b"k", [], b"x")])()
    assert (keyless.older, new.older, len(late.older)) == ([], [], 2)
    store.close()


def test_of_anothers_row_only_what_is_older_of_the_same_keys_is_said_first(on_kafka: Settings, books: Books) -> None:
    """Of the same keys, not of those that share a hash by chance; the row stays for who says all of it."""
    ours, twin = two_of_one_hash("wallet-movements.v1")
    said = [
        OutboxRecord("wallet-movements.v1", key, [], value)
        for key, value in ((ours, b"1"), (b"other", b"x"), (ours, b"2"))
    ]
    leave(books, *said)
    leave(books, OutboxRecord("wallet-movements.v1", twin, [], b"x"))
    store, publisher = Store(on_kafka, "probe"), Publisher(on_kafka)
    with store.transaction() as conn:
        rows = insert(conn, [OutboxRecord("wallet-movements.v1", ours, [], b"3")])()
    assert len(rows[0].older) == 2
    publisher.publish(store, rows)
    publisher.flush(10)
    assert [(record.key(), record.value()) for record in heard(on_kafka, "wallet-movements.v1")] == [
        (ours, b"1"),
        (ours, b"2"),
        (ours, b"3"),
    ]
    publisher.tidy(store)
    assert books.rows("SELECT cardinality(keys) FROM outbox ORDER BY id") == [(3,), (1,)]
    store.close()


def two_of_one_hash(topic: str) -> tuple[bytes, bytes]:
    seen: dict[int | None, bytes] = {}
    for number in itertools.count():
        key = b"%d" % (number * number)  # neighbours never share one
        hashed = hashed_key(topic, key)
        if hashed in seen:
            return seen[hashed], key
        seen[hashed] = key
    raise AssertionError


def test_a_queue_that_is_never_found_empty_is_waited_for(
    on_kafka: Settings, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only then is it known that all of it was acknowledged; its rows would stay."""
    monkeypatch.setattr(outbox, "BUSY_S", 0.1)
    store, publisher = Store(on_kafka, "probe"), Publisher(on_kafka)
    poll = publisher.poll

    def busy_poll(timeout_s: float = 0) -> None:
        publisher.produce("wallet-movements.v1", b"more", [], b"{}")
        poll(timeout_s)

    monkeypatch.setattr(publisher, "poll", busy_poll)
    with store.transaction() as conn:
        rows = insert(conn, [OutboxRecord("wallet-movements.v1", b"k", [], b"{}")])()
    publisher.publish(store, rows)

    def gone() -> bool:
        publisher.publish(store, [])
        publisher.tidy(store)
        return books.rows("SELECT count(*) FROM outbox") == [(0,)]

    wait("its row is gone", gone)
    store.close()

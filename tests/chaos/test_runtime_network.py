"""A room whose way to PostgreSQL or Kafka is slow, cut, half-closed, silent or gone → each message has one effect, in order."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from confluent_kafka.admin import AdminClient

from producers.client import UpstreamClient
from tests.chaos.proxy import PIPELINED_S, Proxy, proxied
from tests.contract.rooms import Books
from tests.contract.running import Nursery, Sender, heard, kill, newest_last, nursery, settled, violations, wait
from topics.runtime.outbox.outbox import OutboxRecord, Publisher, insert
from topics.runtime.shape.store import Store
from topics.settings import Settings

KEYS = [f"k{i}" for i in range(60)]
PROCESSES = 2


@pytest.fixture
def ways(on_kafka: Settings) -> Iterator[Mapping[str, Proxy]]:
    """Kafka and PostgreSQL as the room reaches them."""
    with ExitStack() as stack:
        yield {
            "kafka": stack.enter_context(proxied(on_kafka.kafka, kafka=True)),
            "postgres": stack.enter_context(proxied(on_kafka.postgres)),
        }


@pytest.fixture
def room(on_kafka: Settings, ways: Mapping[str, Proxy]) -> Iterator[Nursery]:
    """Two processes of a room that reaches its servers through proxies only."""
    behind = {name: proxy.address for name, proxy in ways.items()}
    with nursery(on_kafka.model_copy(update={**behind, "batch_max": 20})) as processes:
        pids = [processes.start("busy loop") for _ in range(PROCESSES)]
        yield processes
        for pid in pids:
            kill(pid, signal.SIGTERM)
            assert processes.ended(pid) == 0, "it lived through it"


@dataclass(frozen=True)
class Trouble:
    """How it begins, how long it lasts, and whether connections break at its end."""

    name: str
    begin: Callable[[Proxy], object]
    seconds: float = 0.4
    breaks: bool = False


TROUBLES = (
    Trouble("slow", lambda way: way.delay(0.1)),
    Trouble("cut", Proxy.cut, 0),
    Trouble("half-closed", lambda way: way.half_close(random.Random(7)), 0),
    Trouble("silent", Proxy.stall),
    Trouble("silent, then cut", Proxy.stall, breaks=True),  # an answer to COMMIT, for instance, never comes
    Trouble("gone", Proxy.go_away, 5),  # longer than a member's session, which is 3 s here
)


def endure(trouble: Trouble, way: Proxy, sender: Sender) -> None:
    """From its beginning to its end, under load."""
    trouble.begin(way)
    end = time.monotonic() + trouble.seconds
    while time.monotonic() < end:
        feed(sender, 1)
        time.sleep(trouble.seconds / 4)
    if trouble.breaks:
        way.cut()
    way.flow()


def feed(sender: Sender, rounds: int) -> int:
    """→ how many messages were sent in all."""
    for _ in range(rounds):
        for key in KEYS:
            sender.capture(key, twice=len(sender.sent.get(key, ())) % 5 == 0)
    sender.flush()
    return sum(map(len, sender.sent.values()))


@pytest.mark.parametrize("server", ["kafka", "postgres"])
def test_no_trouble_on_the_way_loses_or_doubles_anything(
    server: str, ways: Mapping[str, Proxy], room: Nursery, on_kafka: Settings, books: Books
) -> None:
    """Each kind of it in the middle of the load. The room works in between, and goes on by itself."""
    sender = Sender(on_kafka)
    sent = feed(sender, 2)
    for trouble in TROUBLES:
        half = sent // 2
        wait(f"it works before this: {trouble.name}", lambda half=half: len(books.effects()) > half)
        feed(sender, 4)
        endure(trouble, ways[server], sender)
        sent = feed(sender, 2)
    wait("all is done and said", lambda: settled(books, sent))
    wait("what was said last is the newest", lambda: newest_last(on_kafka, books))
    assert violations(on_kafka, books, sender.sent) == set()
    assert books.letters() == []


def test_kafka_names_the_proxy_as_its_address(ways: Mapping[str, Proxy]) -> None:
    """Otherwise clients would ask the proxy once, and then go around it."""
    brokers = AdminClient({"bootstrap.servers": ways["kafka"].address}).list_topics(timeout=15).brokers
    assert [f"{broker.host}:{broker.port}" for broker in brokers.values()] == [ways["kafka"].address]


def test_a_record_that_is_refused_while_the_broker_starts_is_said_again(
    ways: Mapping[str, Proxy], on_kafka: Settings, books: Books
) -> None:
    """With the next already on its way, a broker that knows nothing of this producer takes it, and the first is lost."""
    store, publisher = Store(on_kafka, "probe"), Publisher(on_kafka.model_copy(update={"kafka": ways["kafka"].address}))

    def say(key: bytes, value: bytes) -> None:
        with store.transaction() as conn:
            rows = insert(conn, [OutboxRecord("wallet-movements.v1", key, [], value)])()
        publisher.publish(store, rows)
        publisher.poll(PIPELINED_S / 4)

    say(b"elsewhere", b"the producer has its id")
    wait("it is said", lambda: publisher.poll() or publisher.unacknowledged == 0)
    ways["kafka"].refuse()
    for n in b"123":
        say(b"k", bytes([n]))
    wait("the first was refused", lambda: ways["kafka"].refused)
    wait("all is acknowledged", lambda: publisher.poll() or publisher.unacknowledged == 0)
    said = [record.value() for record in heard(on_kafka, "wallet-movements.v1") if record.key() == b"k"]
    assert said == [b"1", b"2", b"3"]
    store.close()


def test_nor_is_an_upstreams_request_lost_so(ways: Mapping[str, Proxy], on_kafka: Settings) -> None:
    topic, kafka = "payment-requests.shop.v1", ways["kafka"]
    with UpstreamClient(kafka.address, "shop", on_kafka.topic_prefix, {"linger.ms": "0"}) as client:
        client.send_raw(b"elsewhere", b"the producer has its id", [])
        client.flush()
        kafka.refuse()
        for n in b"123":
            client.send_raw(b"k", bytes([n]), [])
            client._producer.poll(PIPELINED_S / 4)
        wait("the first was refused", lambda: kafka.refused)
    said = [record.value() for record in heard(on_kafka, topic) if record.key() == b"k"]
    assert said == [b"1", b"2", b"3"]

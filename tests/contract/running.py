"""Processes of the probe, records on its topics, and the one checker: each input has one effect, in order, and is said so."""

from __future__ import annotations

import json
import os
import pickle
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import Message as KafkaMessage
from confluent_kafka import Producer, TopicPartition

from tests.contract import probe, probe_process
from tests.contract.rooms import EXECUTIONS, Books, captured, event_id, headers_of
from tests.stack.forked import Forked, fork
from topics import catalog
from topics.runtime.process.kafka_loop import RoomLoop
from topics.runtime.shape.consumer import Message
from topics.runtime.shape.kafka import kafka_config, watermarks
from topics.settings import Settings

LIMIT_S = 60
KEYS = [f"k{i}" for i in range(40)]


def wait(what: str, ready: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    """Until it is so."""
    end = time.monotonic() + limit_s
    while not ready():
        assert time.monotonic() < end, f"not within {limit_s} s: {what}"
        time.sleep(0.05)


class Nursery:
    """Starts processes of the probe, and knows how they ended."""

    def __init__(self, settings: Settings) -> None:
        self._log = settings.home / "probe.log"
        self._variables = {
            "TALLY_HOME": str(settings.home),
            "TALLY_KAFKA": settings.kafka,
            "TALLY_POSTGRES": settings.postgres,
            "TALLY_DATABASE": settings.database,
            "TALLY_TOPIC_PREFIX": settings.topic_prefix,
            "TALLY_SECRET": settings.secret,
            "TALLY_UPSTREAMS": json.dumps(sorted(settings.upstreams)),
            "TALLY_BATCH_MAX": str(settings.batch_max),
            "TALLY_SETTLEMENT_SOURCES": json.dumps(
                [each.model_dump(mode="json") for each in settings.settlement_sources]
            ),
        }
        self._children: dict[int, Forked] = {}

    def start(self, work: str = "loop", failpoints: str = "", sabotage: str = "", sweep_after_s: float = 2) -> int:
        """→ its pid."""
        variables = self._variables | {"TALLY_FAILPOINTS": failpoints}
        child = fork(self._log, variables, probe_process.run, work, sabotage, sweep_after_s)
        self._children[child.pid] = child
        return child.pid

    def has_ended(self, pid: int) -> bool:
        return self._children[pid].poll() is not None

    def ended(self, pid: int) -> int:
        """Wait for its end. → exit code, or minus the signal."""
        return self._children[pid].wait()

    def close(self) -> None:
        for child in self._children.values():
            child.kill()
            child.wait(30)


@contextmanager
def nursery(settings: Settings) -> Iterator[Nursery]:
    found = Nursery(settings)
    try:
        yield found
    finally:
        found.close()


def state_of(pid: int) -> str:
    """As /proc says: R, S, T (stopped)."""
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0]


@dataclass
class Sender:
    """Captures onto the topic, as the executor would say them; remembers what each key was sent, in order."""

    settings: Settings
    sent: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Idempotent: a broker that is still electing must not put the messages of a key into another order.
        self._producer = Producer(
            kafka_config(self.settings) | {"partitioner": "murmur2_random", "linger.ms": 1, "enable.idempotence": True}
        )

    def capture(self, key: str, told: str = "", twice: bool = False) -> None:
        n = len(self.sent.setdefault(key, [])) + 1
        self.sent[key].append(n)
        event = captured(key, n, told)
        for _ in range(2 if twice else 1):
            self.send(EXECUTIONS, key.encode(), event.model_dump_json().encode(), headers_of(event, event_id(key, n)))

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, Any]]) -> None:
        self._producer.produce(self.settings.topic_prefix + topic, value, key, headers=list(headers))
        self._producer.poll(0)

    def flush(self) -> None:
        assert self._producer.flush(30) == 0


def heard(settings: Settings, topic: str) -> list[KafkaMessage]:
    """Every record of a topic, each partition in its order."""
    consumer = KafkaConsumer(kafka_config(settings) | {"group.id": "reader", "enable.auto.commit": False})
    name = settings.topic_prefix + topic
    ends: dict[int, int] = {}
    for partition in consumer.list_topics(name, timeout=15).topics[name].partitions:
        if end := _end(consumer, TopicPartition(name, partition)):
            ends[partition] = end
    found: list[KafkaMessage] = []
    consumer.assign([TopicPartition(name, partition, 0) for partition in ends])
    end = time.monotonic() + LIMIT_S
    while ends:
        assert time.monotonic() < end, f"{topic} cannot be read to its end"
        for record in consumer.consume(1000, 0.2):
            assert record.error() is None
            found.append(record)
            if record.offset() + 1 >= ends.get(record.partition(), 1 << 62):
                ends.pop(record.partition(), None)
    consumer.close()
    return found


def _end(consumer: KafkaConsumer, partition: TopicPartition) -> int:
    """The partition's end; 0 where it holds nothing."""
    low, high = watermarks(consumer, partition, LIMIT_S)
    return high if high > low else 0


def first_said(records: Sequence[KafkaMessage]) -> dict[str, list[int]]:
    """Per key the numbers of the messages that outgoing movements speak of, repeats by event id dropped."""
    seen: set[bytes] = set()
    by_key: dict[str, list[int]] = {}
    for record in records:
        if record.headers() is None:
            continue  # a test's own probe of the broker
        id_ = dict(record.headers())["ce_id"]
        if id_ not in seen:
            seen.add(id_)
            by_key.setdefault(record.key().decode(), []).append(int(json.loads(record.value())["movement_id"]))
    return by_key


def violations(settings: Settings, books: Books, sent: dict[str, list[int]], without: Sequence[str] = ()) -> set[str]:
    """What is wrong, by kind: lost, doubled, overtaken; said: lost, without effect, out of order; stale, ahead.

    Keys in `without` are those whose messages were given up.
    """
    wrong: set[str] = set()
    done: dict[str, list[int]] = {}
    for key, n in books.rows("SELECT key, n FROM effects ORDER BY id"):
        done.setdefault(key, []).append(n)
    for key, numbers in sent.items():
        wrong |= _compare([] if key in without else numbers, done.get(key, []), "")
    said = first_said(heard(settings, catalog.WALLET_MOVEMENTS.name))
    for key in sent.keys() | said.keys():
        wrong |= _compare(done.get(key, []), said.get(key, []), "said: ")
    return wrong if newest_last(settings, books) else wrong | {"stale"}


def _compare(wanted: Sequence[int], found: Sequence[int], what: str) -> set[str]:
    wrong = set()
    more, less = Counter(found) - Counter(wanted), Counter(wanted) - Counter(found)
    if less:
        wrong.add(f"{what}lost")
    if any(n in wanted for n in more):
        wrong.add(f"{what}doubled")
    if any(n not in wanted for n in more):
        wrong.add(f"{what}without effect" if what else "out of nothing")
    firsts = [n for n in dict.fromkeys(found) if n in wanted]
    if firsts != [n for n in wanted if n in set(firsts)]:
        wrong.add(f"{what}overtaken")
    return wrong


def newest_last(settings: Settings, books: Books) -> bool:
    """Compacted topics: the last record of a key is its latest version, where any was said.

    A process whose way to Kafka was cut for longer than a lease may say an old version after another's new one. It
    says the new one again then: half a second after the books look settled.
    """
    last = {r.key().decode(): json.loads(r.value())["balance_version"] for r in heard(settings, "wallet-balances.v1")}
    now = dict(books.rows("SELECT key, count FROM counts WHERE count > 0"))
    return not last or last == now


def settled(books: Books, effects: int) -> bool:
    """All that was sent has its effect, and all of it is said."""
    ((done, unsaid, dirty),) = books.rows(
        "SELECT (SELECT count(*) FROM effects), (SELECT count(*) FROM outbox), (SELECT count(*) FROM latest_outbox)"
    )
    return bool(done >= effects and not unsaid and not dirty)


def write_messages(settings: Settings, messages: Sequence[Message]) -> None:
    """For processes that apply without a group."""
    (settings.home / "messages").write_bytes(pickle.dumps(list(messages)))


def advance_clock(settings: Settings, seconds: float) -> None:
    new = settings.clock_file.with_suffix(".new")
    new.write_text(str(seconds))
    new.replace(settings.clock_file)


def kill(pid: int, signum: int = signal.SIGKILL) -> None:
    os.kill(pid, signum)


class Member:
    """One process's loop, in a thread."""

    def __init__(self, settings: Settings) -> None:
        self._stop = threading.Event()
        self.loop = RoomLoop(settings, probe.build(), self._stop)
        self._thread = threading.Thread(target=self.loop.run)
        self._thread.start()

    def leave(self) -> None:
        self._stop.set()
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive()

    @property
    def state(self) -> str:
        return self.loop.health.state

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()


@contextmanager
def members(settings: Settings, count: int) -> Iterator[list[Member]]:
    """So many; those that were not asked to leave leave at the end."""
    found = [Member(settings) for _ in range(count)]
    try:
        yield found
    finally:
        for member in found:
            member.leave()


def send(sender: Sender, rounds: int) -> int:
    """So many messages for each key. → how many were sent in all."""
    for _ in range(rounds):
        for key in KEYS:
            sender.capture(key)
    sender.flush()
    return sum(map(len, sender.sent.values()))

"""A stranger's 60 lines rebuild every account balance from the ledger's topic, as docs/dashboards.md shows."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka import Message as Record

from consumers.ledger.consumer import build
from schemas.money import Money
from tests.captures import capture, record
from topics import catalog
from topics.runtime.process.kafka_loop import RoomLoop
from topics.runtime.shape.kafka import watermarks
from topics.runtime.shape.reading import read
from topics.settings import Settings

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "rebuild_balances.py"
ORDERS = 60
LIMIT_S = 60


@pytest.fixture
def booked(stack: Settings) -> Settings:
    """Sixty orders of three sellers in two currencies, each capture heard twice, a third again under another event id;
    then every third journal is on the ledger's topic twice, as after a crash between publishing and tidying up."""
    captures = [
        capture(
            f"order-{number}",
            seller_account=f"seller-{number % 3}",
            gross=Money(1000 + number, currency),
            fee=Money(number % 2, currency),
            net=Money(1000 + number - number % 2, currency),
        )
        for number, currency in ((number, ("EUR", "JPY")[number % 2]) for number in range(ORDERS))
    ]
    once = [record(event, event.payment_order_id) for event in captures]
    again = [record(event, f"again {event.payment_order_id}") for event in captures[::3]]
    say(stack, catalog.EXECUTIONS.name, [(m.key, m.value, list(m.headers)) for m in [*once, *again, *once]])
    with running(stack):
        wait_until(lambda: nothing_left(stack, messages=2 * ORDERS + ORDERS // 3), "the ledger has booked and said all")
    journals = everything_on(stack, catalog.LEDGER_ENTRIES.name)
    assert len(journals) == ORDERS
    say(stack, catalog.LEDGER_ENTRIES.name, [(r.key(), r.value(), r.headers()) for r in journals[::3]])
    return stack


def test_every_balance_is_rebuilt_from_the_entries_alone_and_a_forged_one_is_seen(booked: Settings) -> None:
    done = rebuild(booked)
    assert done.returncode == 0, done.stderr
    assert f"{ORDERS} journals, 9 balances, 0 differ" in done.stderr
    rows = read(booked, "ledger", "SELECT account, currency, debits, credits FROM account_view")
    balances = {
        (row["account"], row["currency"]): Money(row["debits"] - row["credits"], row["currency"]) for row in rows
    }
    rebuilt = {(account, currency): amount for account, currency, amount, _ in table(done.stdout)}
    assert rebuilt == {account: balance.amount for account, balance in balances.items()}

    forged = everything_on(booked, catalog.LEDGER_ENTRIES.name)[0]
    headers = [(name, b"0" * 36 if name == "ce_id" else value) for name, value in forged.headers() or []]
    say(booked, catalog.LEDGER_ENTRIES.name, [(forged.key(), forged.value(), headers)])
    done = rebuild(booked, wait_s="3")  # it waits in vain for the two topics to agree
    assert done.returncode == 1
    assert "DIFFERS" in done.stdout


def rebuild(settings: Settings, wait_s: str = "10") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE), settings.kafka, "--prefix", settings.topic_prefix, "--wait", wait_s]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def table(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


@contextmanager
def running(settings: Settings) -> Iterator[None]:
    """The ledger room, twice."""
    stop = threading.Event()
    threads = [threading.Thread(target=RoomLoop(settings, build(settings), stop).run) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def nothing_left(settings: Settings, messages: int) -> bool:
    (row,) = read(
        settings,
        "ledger",
        "SELECT (SELECT sum(messages) FROM positions) AS heard, (SELECT count(*) FROM outbox) AS unsaid,"
        " (SELECT count(*) FROM latest_outbox) AS dirty",
    )
    return (row["heard"], row["unsaid"], row["dirty"]) == (messages, 0, 0)


def wait_until(ready: object, what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not ready():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"not in {LIMIT_S} s: {what}"
        time.sleep(0.05)


def say(settings: Settings, topic: str, records: Sequence[tuple[object, object, object]]) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka, "partitioner": "murmur2_random"})
    for key, value, headers in records:
        producer.produce(settings.topic_prefix + topic, value, key, headers=headers)  # type: ignore[arg-type]
    assert producer.flush(LIMIT_S) == 0


def everything_on(settings: Settings, topic: str) -> list[Record]:
    """All that is on a topic now."""
    config = {"bootstrap.servers": settings.kafka, "group.id": "everything", "enable.auto.commit": False}
    consumer = Consumer(config)
    name = settings.topic_prefix + topic
    numbers = consumer.list_topics(name, timeout=LIMIT_S).topics[name].partitions
    parts = [TopicPartition(name, number, OFFSET_BEGINNING) for number in numbers]
    ends = [watermarks(consumer, part)[1] for part in parts]
    consumer.assign(parts)
    found: list[Record] = []
    wait_until(lambda: found.extend(consumer.consume(500, 0.2)) or len(found) >= sum(ends), f"all of {topic} is read")
    consumer.close()
    return found

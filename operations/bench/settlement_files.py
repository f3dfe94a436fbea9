"""A seed → large settlement files, by the simulator, and what our books know of them: as records on Kafka, or saved at once."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from confluent_kafka import Producer

from operations.bench import ledger
from reconciliation import facts
from reconciliation.expected import Sources, expected
from schemas.envelope import Envelope, derive_id, event_type, record_headers
from schemas.events import PaymentCaptured
from schemas.money import Money
from topics import catalog
from topics.runtime.shape.kafka import kafka_config
from topics.runtime.shape.store import Store
from topics.settings import Settings
from topics.settlement_sources import FeeScheduleRow, SettlementSource

PSP = "southpay"
ACCOUNT = "southpay-account"  # as the files name it
WRONG_BY = 77  # minor units, of a line with an odd amount
BATCH = 5000  # lines, as a worker folds them
# As the simulated PSP charges: what it passes on of interchange and scheme fees is a band.
FEES = tuple(
    FeeScheduleRow(valid_from=date(2020, 1, 1), scheme=scheme, percent="1.2", fixed="0.10", band_percent=band)
    for scheme, band in ((None, "0.25"), ("amex", "0.35"))
)
SOURCE = SettlementSource(name=PSP, psp=PSP, bank_account="main", accounts=frozenset({ACCOUNT}), fees=FEES)
Row = TypeVar("Row")


class Known(NamedTuple):
    """A capture as our books know it, in minor units; of one that is `unknown` they know nothing."""

    call_id: str
    order: str
    amount: int
    currency: str
    scheme: str
    odd: str  # how the file differs: amount, fee, missing, unknown; empty: it does not


@dataclass(frozen=True, slots=True)
class LargeFile:
    """A batch of the simulator, and what is known of it."""

    path: Path
    known: Path
    lines: int

    def captures(self) -> Iterator[Known]:
        """In the order of the file."""
        with self.known.open(encoding="utf-8", newline="") as file:
            for call_id, order, amount, currency, scheme, odd in csv.reader(file):
                yield Known(call_id, f"{self.path.stem}-{order}", int(amount), currency, scheme, odd)

    def events(self, now: datetime) -> Iterator[PaymentCaptured]:
        """What the executor has said of its captures."""
        event = _captured(now)
        return (event(known) for known in self.captures() if known.odd != "unknown")


def make(folder: Path, seed: int, number: int, lines: int) -> LargeFile:
    """Let the simulator write a batch and its captures. Errors: subprocess.CalledProcessError."""
    file = LargeFile(folder / f"batch-{number}.csv", folder / f"batch-{number}.known", lines)
    words = ["--rows", str(lines), "--seed", str(seed), "--number", str(number), "--expected", str(file.known)]
    subprocess.run([sys.executable, "-m", "simulator.settlements.large", str(file.path), *words], check=True)
    return file


def _captured(now: datetime) -> Callable[[Known], PaymentCaptured]:
    pattern = ledger._captured(now).model_copy(update={"psp": PSP})

    def event(known: Known) -> PaymentCaptured:
        gross = Money(known.amount, known.currency)
        own = {"payment_order_id": known.order, "call_id": known.call_id, "scheme": known.scheme}
        return pattern.model_copy(update={**own, "gross": gross, "net": gross - pattern.fee})

    return event


def expect(settings: Settings, file: LargeFile) -> None:
    """Save the captures of a file as the room saves them, without Kafka."""
    now, sources = datetime.now(UTC), Sources([SOURCE])
    found = (expected(event, sources, now) for event in file.events(now))
    with closing(Store(settings, "reconciliation")) as own:
        for batch in in_batches(fact for fact in found if fact is not None):
            with own.transaction() as conn:
                facts.save(conn, batch, (), now)


def in_batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(islice(rows, BATCH)):
        yield batch


def publish(settings: Settings, file: LargeFile) -> int:
    """Publish the captures of a file as the executor does. → how many"""
    now, count = datetime.now(UTC), 0
    own = {"enable.idempotence": True, "linger.ms": 20, "queue.buffering.max.messages": 200_000}
    producer = Producer({**kafka_config(settings), **own})
    topic = settings.topic_prefix + catalog.EXECUTIONS.name
    for event in file.events(now):
        while not _published(producer, topic, event, now):
            producer.poll(0.1)
        producer.poll(0)
        count += 1
    producer.flush(60)
    return count


def _published(producer: Producer, topic: str, event: PaymentCaptured, now: datetime) -> bool:
    """→ False while the producer's queue is full."""
    event_id = derive_id(event.call_id, "bench", 0, int(now.timestamp() * 1000))
    envelope = Envelope(event_id, "/tallystick/executor", event_type(type(event)), now)
    value = event.__pydantic_serializer__.to_json(event, exclude_none=True)
    try:
        producer.produce(topic, value, event.key.encode(), headers=list(record_headers(envelope)))
    except BufferError:
        return False
    return True

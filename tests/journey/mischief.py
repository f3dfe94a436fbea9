"""The rooms' topics → some of their records once more, verbatim, at once or seconds later."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
import zlib
from collections import Counter

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as KafkaMessage

from topics.catalog import CONSUMERS, names
from topics.settings import Settings

LATE_S = 6.0


class Copier:
    """A thread that delivers a share of all messages twice, a third of these late."""

    def __init__(self, settings: Settings, seed: int, share: float = 0.1) -> None:
        self.copies = 0  # acknowledged by Kafka
        self.drops_due = 0  # by the rooms that hear them
        self._settings = settings
        self._share = share
        self._seed = str(seed).encode()
        self._chance = random.Random(seed)
        self._readers = _readers(settings)
        self._seen: set[tuple[str, bytes]] = set()
        self._later: list[tuple[float, int, KafkaMessage]] = []
        self._number = itertools.count()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="copier", daemon=True)
        self._producer = Producer({"bootstrap.servers": settings.kafka, "message.timeout.ms": 0, "log_level": 0})

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Everything that is late comes now; ends when Kafka has it all."""
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "Kafka does not take the copies"

    def _run(self) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self._settings.kafka,
                "group.id": f"{self._settings.topic_prefix}copier",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "log_level": 0,
            }
        )
        consumer.assign([TopicPartition(topic, p, 0) for topic in self._readers for p in range(12)])
        while not self._stop.is_set():
            for record in consumer.consume(500, 0.1):
                if record.error() is None:
                    self._consider(record)
            self._repeat_due(time.monotonic())
        consumer.close()
        self._repeat_due(float("inf"))
        while self._later or self._producer.flush(1):
            self._repeat_due(float("inf"))
            self._producer.poll(0.1)

    def _consider(self, record: KafkaMessage) -> None:
        """By the event's id, so that a copy is not copied."""
        topic, event_id = record.topic(), dict(record.headers() or ()).get("ce_id")
        if topic is None or not isinstance(event_id, bytes) or (topic, event_id) in self._seen:
            return
        self._seen.add((topic, event_id))
        if zlib.crc32(self._seed + event_id) % 1000 < self._share * 1000:
            late_s = self._chance.uniform(1, LATE_S) if self._chance.random() < 1 / 3 else 0
            heapq.heappush(self._later, (time.monotonic() + late_s, next(self._number), record))

    def _repeat_due(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            try:
                self._repeat(self._later[0][2])
            except KafkaException:  # a broker that has just come back knows no topic yet
                break
            heapq.heappop(self._later)
        self._producer.poll(0)

    def _repeat(self, record: KafkaMessage) -> None:
        topic, partition = record.topic(), record.partition()
        assert topic is not None
        assert partition is not None
        self._producer.produce(
            topic,
            record.value(),
            record.key(),
            partition,
            headers=record.headers(),
            on_delivery=lambda error, message: self._delivered(message) if error is None else None,
        )

    def _delivered(self, message: KafkaMessage) -> None:
        self.copies += 1
        self.drops_due += self._readers[str(message.topic())]


def _readers(settings: Settings) -> Counter[str]:
    """Topic → how many rooms hear it."""
    heard = [topic for room in CONSUMERS for topic in room.reads if topic.on_kafka]
    return Counter(settings.topic_prefix + name for topic in heard for name in names(topic, settings.upstreams))

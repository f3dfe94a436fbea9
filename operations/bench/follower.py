"""Topics from their ends on → each record to whoever measures, from a thread of its own."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing

from confluent_kafka import OFFSET_END, Consumer, Message, TopicPartition

from topics.catalog import Topic
from topics.runtime.shape.kafka import kafka_config, partitions, watermarks
from topics.settings import Settings

READY_S = 30.0


class Follower:
    """`add` is called with every record that comes after the start, by this thread alone."""

    def __init__(self, settings: Settings, topics: Sequence[Topic], add: Callable[[Message], None]) -> None:
        self._settings = settings
        self._names = [settings.topic_prefix + topic.name for topic in topics]
        self._add = add
        self._ready, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        """Returns once nothing that comes later can be missed. Errors: TimeoutError."""
        self._thread.start()
        if not self._ready.wait(READY_S):
            raise TimeoutError(f"{', '.join(self._names)} cannot be read")

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)

    def _follow(self) -> None:
        group = {"group.id": f"bench-{uuid.uuid4().hex}", "enable.auto.commit": False}
        with closing(Consumer({**kafka_config(self._settings), **group})) as consumer:
            ends = []
            for where in partitions(consumer, self._names):
                _, high = watermarks(consumer, where, 10)
                ends.append(TopicPartition(where.topic, where.partition, high if high >= 0 else OFFSET_END))
            consumer.assign(ends)
            self._ready.set()
            while not self._stop.is_set():
                records = consumer.consume(1, 0.05)
                for record in records + (consumer.consume(2000, 0) if records else []):
                    if record.error() is None:
                        self._add(record)

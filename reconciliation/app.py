"""Settings → a Faust app that is transport alone: it hands a room's streamed messages over, and reads where the room says.

Faust's own offsets count a message as done when its agent was cancelled in the middle of it (measured: 1,500 of 200,000
lines lost in a minute of kills). So the room's positions in PostgreSQL decide: reading begins there after each assignment,
and Kafka's committed offsets, which show the lag, are never ahead of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from yarl import URL

from reconciliation.credentials import credentials
from reconciliation.record_batches import read_broken_records
from topics import catalog
from topics.runtime.delivery.positions import Offsets
from topics.runtime.shape.consumer import AnyConsumer, Message
from topics.settings import Settings

BATCH = 10  # messages of a transaction: 5,000 lines
WITHIN_S = 0.1  # so long a batch that is not full waits
COMMIT_S = 1.0
SESSION_S = 6.0  # after it the broker gives the partitions of a silent process to others
REQUEST_S = 90.0


class Positions(Protocol):
    """The side of PostgreSQL. Offsets are by topic (without prefix) and partition."""

    def assigned(self, wheres: set[tuple[str, int]]) -> Awaitable[Offsets]:
        """These partitions, and no others, are ours now. → where to read on, without those that cannot be placed now. Raises
        nothing."""

    def to_commit(self) -> Offsets:
        """Applied offsets of partitions that are ours."""

    def hear(self, messages: Sequence[Message]) -> Awaitable[None]:
        """Returns once they are applied, or will be read again. Raises nothing."""


class StreamConsumer(driver.Consumer):
    """Kafka's consumer of the app. What Faust would do about acknowledgements is left out."""

    positions: Positions  # given to the class that the app makes of this one
    prefix: str

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._read_offset = _NothingRead()

    def ack(self, message: Any) -> bool:
        return False

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Called after each assignment."""
        offsets = await self.positions.assigned({self.where(tp) for tp in self.assignment()})
        return await self.read_from(offsets)

    async def read_from(self, offsets: Offsets) -> Mapping[TP, int]:
        """Read these partitions (again) from there; those that were taken from us meanwhile are left out."""
        ours = self.assignment()
        named = {self.kafka_name(where): offset for where, offset in offsets.items()}
        seeking = {tp: offset for tp, offset in named.items() if tp in ours}
        if seeking:
            await self.seek_wait(seeking)
        return seeking

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """To show the lag only. Called every COMMIT_S and at the end."""
        return await self.commit_offsets(self.positions.to_commit())

    async def commit_offsets(self, offsets: Offsets) -> bool:
        return bool(offsets) and await self._commit({self.kafka_name(w): offset for w, offset in offsets.items()})

    def where(self, tp: TP) -> tuple[str, int]:
        return tp.topic[len(self.prefix) :], tp.partition

    def kafka_name(self, where: tuple[str, int]) -> TP:
        return TP(self.prefix + where[0], where[1])


class _NothingRead(dict[TP, int | None]):
    """Faust drops messages before the last that it read, also after a seek back that crossed them: here it drops none."""

    def __getitem__(self, tp: TP) -> int | None:
        return None


def make_app(settings: Settings, consumer: AnyConsumer, positions: Positions) -> faust.App:
    """An app whose one agent hands over what comes on the room's streamed topics. Needs a running event loop.

    Errors: SettingsError if TALLY_KAFKA_OPTIONS has what aiokafka cannot do.
    """
    read_broken_records()
    kind = type("Consumer", (StreamConsumer,), {"positions": positions, "prefix": settings.topic_prefix})
    transport = type("Transport", (driver.Transport,), {"Consumer": kind})

    class App(faust.App):
        def _new_transport(self) -> Any:
            return transport(self.conf.broker_consumer, self)

    (settings.home / "run").mkdir(parents=True, exist_ok=True)
    app = App(group(settings, consumer), **_options(settings))
    names = [name for topic in consumer.room.streamed for name in catalog.names(topic, settings.upstreams)]
    channel = app.topic(
        *[settings.topic_prefix + name for name in names],
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        internal=False,
    )

    @app.agent(channel, name="messages")
    async def listen(stream: Any) -> None:
        async for events in stream.take_events(BATCH, within=WITHIN_S):
            await positions.hear([_message(event.message, settings.topic_prefix) for event in events])

    return app


def group(settings: Settings, consumer: AnyConsumer) -> str:
    """The consumer group; beside it the room's RoomLoop has one of its own."""
    return f"{settings.topic_prefix}{consumer.name}-stream"


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "broker": [URL(f"kafka://{address}") for address in settings.kafka.split(",")],
        "broker_credentials": credentials(settings.kafka_options),
        "datadir": str(settings.home / "run" / "faust"),  # else Faust makes a folder where the process stands
        "store": "memory://",
        "web_enabled": False,
        "autodiscover": False,
        "topic_disable_leader": True,
        "topic_allow_declare": False,
        "processing_guarantee": "at_least_once",
        "consumer_auto_offset_reset": "earliest",
        "broker_session_timeout": SESSION_S,
        "broker_heartbeat_interval": SESSION_S / 4,
        "broker_commit_interval": COMMIT_S,
        "broker_request_timeout": REQUEST_S,
        "stream_wait_empty": False,
        # By default 4,096 messages of 50 KB.
        "stream_buffer_maxsize": 4 * BATCH,
        "broker_max_poll_records": 4 * BATCH,
        "consumer_max_fetch_size": 1_048_588,
        "key_serializer": "raw",
        "value_serializer": "raw",
        "reply_create_topic": False,
    }


def _message(record: Any, prefix: str) -> Message:
    headers = record.headers.items() if hasattr(record.headers, "items") else record.headers or ()
    stamp = int(record.timestamp * 1000)
    topic = record.topic[len(prefix) :]
    return Message(topic, record.partition, record.offset, record.key, record.value, tuple(headers), stamp)

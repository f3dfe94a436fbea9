"""Builds of the runtime with one thing left out, as in an ordinary consumer. Each must turn a suite red."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from topics.runtime.dead_letters import store as letters
from topics.runtime.delivery import apply as delivery
from topics.runtime.outbox import outbox
from topics.runtime.outbox.outbox import Publisher
from topics.runtime.shape.consumer import Message
from topics.runtime.shape.decode import Incoming

_producer: list[Publisher] = []


def producing_with(publisher: Publisher) -> None:
    """The publisher that a build uses which publishes where it should not."""
    _producer.append(publisher)


def nothing() -> None:
    """The build that is shipped."""


def position_before_effects() -> None:
    """Offsets first, work later: what dies between is lost."""
    lock = delivery.lock_positions

    def lock_and_move(conn: Any, begins: Any, incomings: Sequence[Incoming]) -> Any:
        lock(conn, begins, incomings)()
        delivery.move_positions(conn, incomings, [])
        conn.commit()
        return lambda: None

    delivery.lock_positions = lock_and_move


def no_inbox() -> None:
    """Every message is new."""
    delivery.claim = lambda conn, incomings: lambda: (list(incomings), [])


def publish_before_commit() -> None:
    """Said, and then perhaps not done."""
    insert = outbox.insert

    def insert_and_publish(conn: Any, unsaid: Any) -> Any:
        rows = insert(conn, unsaid)()
        for publisher in _producer:
            for row in rows:
                publisher._publish_row(row)
            publisher.flush(10)
        return lambda: rows

    outbox.insert = insert_and_publish


def no_key_parking() -> None:
    """A failed message is tried again on its own, and its followers pass it."""
    letters.ask_held = lambda conn, incomings: set
    Incoming.holds = property(lambda self: False)  # type: ignore[assignment, method-assign]


def no_older_rows_first() -> None:
    """Each process publishes its own rows only; what the dead left is swept some time later."""
    Publisher._publish_older = lambda self, store, row, ids: None  # type: ignore[method-assign]


def fausts_own_offsets() -> None:
    """As an ordinary Faust app: what it acknowledges is done, and reading begins where it says."""
    from faust.transport.drivers.aiokafka import Consumer as FaustConsumer

    from reconciliation.app import StreamConsumer
    from reconciliation.host import StreamLoop

    for name in ("seek_to_committed", "ack", "commit"):
        setattr(StreamConsumer, name, getattr(FaustConsumer, name))

    def place_wherever_it_is(self: StreamLoop, messages: Sequence[Message]) -> None:
        first = {(m.topic, m.partition): m.offset for m in reversed(messages)}
        for where, offset in first.items():
            with self._store.transaction() as conn:
                conn.execute(
                    "INSERT INTO positions (topic, partition, next_offset) VALUES (%s, %s, %s)"
                    " ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset",
                    [*where, offset],
                )
            self._placed.offsets[where] = offset
        apply(self, messages)

    async def not_drained(self: StreamLoop) -> None:
        pass

    apply = StreamLoop._apply
    StreamLoop._apply = place_wherever_it_is  # type: ignore[method-assign]
    StreamLoop._place = lambda self, wheres: {}  # type: ignore[method-assign]
    StreamLoop._drained = not_drained  # type: ignore[method-assign]


def consumer_thread_crashes() -> None:
    """A thread of Faust's ends, and nothing else does."""
    from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

    async def crash(self: object, *arguments: object, **more: object) -> None:
        raise RuntimeError("told to crash")

    AIOKafkaConsumerThread._fetch_records = crash  # type: ignore[method-assign]


BUILDS: dict[str, Callable[[], None]] = {
    "": nothing,
    **{
        build.__name__: build
        for build in (
            position_before_effects,
            no_inbox,
            publish_before_commit,
            no_key_parking,
            no_older_rows_first,
            fausts_own_offsets,
            consumer_thread_crashes,
        )
    },
}

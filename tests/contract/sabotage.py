"""Builds of the runtime with one thing left out, as in an ordinary consumer. Each must turn a suite red."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from topics.runtime.dead_letters import store as letters
from topics.runtime.delivery import apply as delivery
from topics.runtime.outbox import outbox
from topics.runtime.outbox.outbox import Publisher
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


BUILDS: dict[str, Callable[[], None]] = {
    "": nothing,
    **{
        build.__name__: build
        for build in (position_before_effects, no_inbox, publish_before_commit, no_key_parking, no_older_rows_first)
    },
}

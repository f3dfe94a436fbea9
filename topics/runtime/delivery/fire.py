"""Due timers → applied as messages without positions; a timer's row is deleted in the transaction of its effect."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from topics.runtime.calls import timers
from topics.runtime.delivery.apply import Applied, apply
from topics.runtime.outbox.outbox import take_lease
from topics.runtime.shape.consumer import AnyConsumer
from topics.runtime.shape.store import Store

LEASE_S = 10


def fire(store: Store, consumer: AnyConsumer, holder: str, now: datetime) -> Iterator[Applied]:
    """Apply due timers, at most `timers.DUE_MAX`; yields after each commit. `now` is business time. Errors: as `apply`.

    The lease only saves work: the inbox drops a timer that a second process fires.
    """
    with store.transaction() as conn:
        due = timers.due(conn, now)
        if not due or not take_lease(conn, "timers", holder, LEASE_S):
            return
    yield from apply(store, consumer, due, None, now)

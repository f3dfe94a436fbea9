"""Rows that a door has just committed → Kafka, where it answers soon; else the sweep of any API process says them."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from topics.runtime.outbox.outbox import Publisher, Row
from topics.runtime.shape.store import Store
from topics.settings import Settings

log = structlog.get_logger()

SAID_WITHIN_S = 2.0


class Sayer:
    """One door's producer, made on first use: most processes never need it. Not thread-safe."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._publisher: Publisher | None = None

    def say(self, rows: Sequence[Row]) -> None:
        """Never raises: they are committed. While Kafka owes an answer nobody waits for the next one."""
        try:
            if self._publisher is None:
                self._publisher = Publisher(self._settings)
            self._publisher.poll()
            if not self._publisher.unacknowledged:
                self._publisher.publish(self._store, rows)
                self._publisher.flush(SAID_WITHIN_S)
            self._publisher.tidy(self._store)
        except Exception as error:
            log.warning("left to the sweep", action="publish", error=str(error).strip()[:200])
            self._store.close()

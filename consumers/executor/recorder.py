"""Replies → stored on their calls' rows → applied to the room → its events published. One thread, in batches."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import psycopg
import structlog

from consumers.executor import early
from consumers.executor.early import ReadyNotification
from topics.runtime.calls import rows as calls
from topics.runtime.calls.rows import CallReply, LeasedCall, StoredReply
from topics.runtime.outbox.desk import Chore
from topics.runtime.process.room_desk import TIDY_EVERY_S, RoomDesk
from topics.runtime.shape.consumer import AnyConsumer, Connection, Message
from topics.runtime.shape.failpoints import hit
from topics.runtime.shape.store import Stopped
from topics.settings import Settings

log = structlog.get_logger()

IDLE_S = 0.05
LINGER_S = 0.001  # the replies to one checkout share a commit
BATCH_MAX = 500
AWAY_S = 0.5
CLEAR_OF_ORDERS = ("captured", "authorised", "voided", "refunded", "reversed", "declined", "dispute")
CLEAR = (*CLEAR_OF_ORDERS, "accepted", "paid", "rejected", "failed", "returned")

Item = (
    CallReply | LeasedCall | StoredReply | ReadyNotification
)  # answered; leased and not sent; stored and not applied; early
Result = TypeVar("Result")


class Recorder:
    """Takes replies by `put` from any thread. `close` returns when all are recorded, unless the database is away."""

    def __init__(self, settings: Settings, consumer: AnyConsumer, wake: threading.Event) -> None:
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._died: BaseException | None = None
        self._desk = RoomDesk(settings, consumer, self._closing, wake)
        self._tidying = Chore(TIDY_EVERY_S, self._tidy)
        self._thread = threading.Thread(target=self._run, name="recorder")

    def start(self) -> None:
        self._thread.start()

    def put(self, item: Item) -> None:
        self._items.put(item)

    @property
    def backlogged(self) -> bool:
        """Whether the broker is so far behind that the outcome of a call could not be published."""
        return self._desk.backlogged

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def raise_if_dead(self) -> None:
        if self._died is not None:
            raise self._died

    def _run(self) -> None:
        try:
            while not (self._closing.is_set() and self._items.empty()):
                self._handle(self._collect())
                self._tidying.do()
            self._guard(self._desk.finish)
        except BaseException as error:
            self._died = error
        finally:
            self._desk.store.close()

    def _collect(self) -> list[Item]:
        """Collect replies: for LINGER_S, or under load for half of the time that the last batch took."""
        try:
            items = [self._items.get(timeout=IDLE_S)]
        except queue.Empty:
            return []
        time.sleep(max(LINGER_S, self._desk.gather_s()))
        while len(items) < BATCH_MAX:
            try:
                items.append(self._items.get_nowait())
            except queue.Empty:
                break
        return items

    def _handle(self, items: Sequence[Item]) -> None:
        if not items:
            return
        started = time.monotonic()
        unsent = [item for item in items if isinstance(item, LeasedCall)]
        answers = [item for item in items if isinstance(item, CallReply)]
        found = [item for item in items if isinstance(item, StoredReply)]
        ready = [item for item in items if isinstance(item, ReadyNotification)]
        if unsent:
            self._in_transaction(lambda conn: calls.release(conn, unsent))
        messages = self._record(answers) + [calls.message(stored) for stored in found]
        messages += [one.message() for one in ready]
        if messages:
            hit("call.after_record")
            applied = self._apply(messages)
            hit("call.after_apply")
            if applied and found:
                self._in_transaction(lambda conn: calls.release_parked(conn, found))
            if applied and ready:
                self._in_transaction(lambda conn: early.mark_taken(conn, ready))
        self._desk.ended(started)

    def _record(self, answers: Sequence[CallReply]) -> list[Message]:
        """Store replies. A reply that came after its lease had expired counts only if it is a yes or no."""
        if not answers:
            return []
        now = datetime.now(UTC)
        recorded = self._in_transaction(lambda conn: calls.record(conn, answers, now))
        if recorded is None:
            return []
        stored, late = recorded()
        clear = [answer for answer in late if answer.reply["reply"] in CLEAR]
        return [calls.message(s) for s in stored] + [calls.late_message(answer, now) for answer in clear]

    def _apply(self, messages: Sequence[Message]) -> bool:
        """Apply, and try again while the database is away. If the room is stopped or this process ends, the rows are applied
        later. → whether they were applied
        """
        try:
            return self._until_back(lambda: self._apply_once(messages)) is not None
        except Stopped as stopped:
            log.error("room stopped", action="stop", code=stopped.code, reason=stopped.reason)
            return False

    def _apply_once(self, messages: Sequence[Message]) -> bool:
        for _ in self._desk.apply(messages, None):
            pass
        return True

    def _tidy(self) -> None:
        self._guard(self._desk.tidy)

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except psycopg.Error as error:
            self._away(error)

    def _in_transaction(self, work: Callable[[Connection], Result]) -> Result | None:
        """The result of `work`; None if the database stayed away until `close`."""

        def once() -> Result:
            with self._desk.store.batch() as conn:
                return work(conn)

        return self._until_back(once)

    def _until_back(self, work: Callable[[], Result]) -> Result | None:
        while True:
            try:
                return work()
            except psycopg.Error as error:
                self._away(error)
            if self._closing.is_set():
                return None

    def _away(self, error: psycopg.Error) -> None:
        self._desk.on_database_away(error, "record")
        self._closing.wait(AWAY_S)

"""Requests that wait → one transaction for all of them → the 202s, then the events on Kafka.

Group commit without a timer: while one batch is being committed the next one gathers. One thread owns the store's
connection and the Kafka producer.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Sequence

import psycopg
import structlog

from producers.doors.payments import Answer, Asked, Outcomes, Terms, claim
from producers.problems import RETRY_SOON, Problem
from topics.runtime.outbox.outbox import Publisher, Row
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.failpoints import hit
from topics.runtime.shape.store import Store, verdict
from topics.settings import Settings

log = structlog.get_logger()

BATCH_MAX = 200
WAITING_MAX = 5_000
BACKLOG_MAX = 20_000  # unacknowledged records, above which rows stay in the outbox for the sweep
TIDY_S = 0.1
CHECK_S = 0.5  # while the store is away
IDLE_S = 0.05
# After a batch of n the next one gathers for 5 ms × n, up to 50: a lone request never waits, and under load a
# transaction's fixed cost (five times that of a request) is shared.
GATHER_S, GATHER_MAX_S = 0.005, 0.05

Outcome = Answer | Problem
Waiting = tuple[Asked, "asyncio.Future[Outcome]"]


class Intake:
    """`submit` from the event loop; everything else happens in one thread."""

    def __init__(self, settings: Settings) -> None:
        self._store = Store(settings, "doors")
        self._publisher = Publisher(settings)
        self._clock = Clock(settings.clock_file)
        self._deadline_s = settings.payment_deadline_s
        self._hash_key = bytes.fromhex(settings.derive("doors:contents"))
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._later: deque[Waiting] = deque()  # wait for an earlier request of the same ids
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tidied_at = 0.0
        self._closing = False
        self.trouble = ""  # why requests cannot be taken now

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread.start()

    def close(self) -> None:
        """Ends when all that was submitted is answered and, for up to five seconds, published."""
        self._closing = True
        self._queue.put(None)
        self._thread.join()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def publishing_trouble(self) -> str | None:
        return self._publisher.failing

    async def submit(self, asked: Asked) -> Answer:
        """Returns after the commit. Errors: Problem; after `unavailable` the same may be submitted again."""
        if self._queue.qsize() > WAITING_MAX or self._closing:
            raise Problem("busy", headers=RETRY_SOON)
        assert self._loop is not None
        future: asyncio.Future[Outcome] = self._loop.create_future()
        self._queue.put((asked, future))
        outcome = await future
        if isinstance(outcome, Problem):
            raise outcome
        return outcome

    # ── the thread ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while not (self._closing and self._queue.empty() and not self._later):
            try:
                self._turn()
            except Exception as error:
                self.trouble = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                log.exception("a turn failed", action="turn")
                time.sleep(IDLE_S)
        self._end()

    def _turn(self) -> None:
        batch = self._gather()
        if batch:
            self._answer(batch)
        self._tidy()
        if batch and not self._closing:
            time.sleep(min(GATHER_S * len(batch), GATHER_MAX_S))

    def _gather(self) -> list[Waiting]:
        """What waits, except where two claim the same id: then the later one comes with the next batch."""
        waiting = list(self._later)
        self._later.clear()
        if not waiting:
            first = self._next(IDLE_S)
            waiting = [first] if first else []
        while waiting and len(waiting) < BATCH_MAX:
            one = self._next(0)
            if one is None:
                break
            waiting.append(one)
        return self._apart(waiting)

    def _next(self, timeout_s: float) -> Waiting | None:
        try:
            return self._queue.get(timeout=timeout_s) if timeout_s else self._queue.get_nowait()
        except queue.Empty:
            return None

    def _apart(self, waiting: list[Waiting]) -> list[Waiting]:
        claimed: set[tuple[str, ...]] = set()
        batch = []
        for one in waiting:
            ids = one[0].ids()
            if claimed.isdisjoint(ids):
                batch.append(one)
            else:
                self._later.append(one)
            claimed.update(ids)
        return batch

    def _answer(self, batch: Sequence[Waiting]) -> None:
        outcomes, rows = self._decide([asked for asked, _ in batch])
        self._resolve([(future, outcomes[asked.checkout_id]) for asked, future in batch])
        hit("before_publish")
        if self._publisher.unacknowledged < BACKLOG_MAX:
            self._publisher.publish(self._store, rows)
        hit("after_publish")

    def _decide(self, batch: list[Asked]) -> tuple[Outcomes, list[Row]]:
        """A request that the database refuses does not spoil those beside it."""
        try:
            decided = self._commit_or_again(batch)
            self.trouble = ""
            return decided
        except Exception as error:
            kind = verdict(error)
            if kind == "away":
                return self._refuse(batch, "unavailable", error)
            if kind == "bug" or len(batch) == 1:
                return self._refuse(batch, "internal", error)
            outcomes: Outcomes = {}
            rows: list[Row] = []
            for one in batch:
                outcome, row = self._decide([one])
                outcomes |= outcome
                rows += row
            return outcomes, rows

    def _commit_or_again(self, batch: list[Asked]) -> tuple[Outcomes, list[Row]]:
        """A connection that died while it was idle costs nobody a 503; where the commit's answer was lost, these are
        replays now, and the sweep says their events."""
        try:
            return self._commit(batch)
        except psycopg.Error as error:
            if verdict(error) != "away":
                raise
            return self._commit(batch)

    def _commit(self, batch: list[Asked]) -> tuple[Outcomes, list[Row]]:
        terms = Terms(self._clock.now(), self._deadline_s, self._hash_key)
        with self._store.batch() as conn:
            outcomes, rows = claim(conn, batch, terms)
            hit("before_commit")
        hit("after_commit")
        return outcomes, rows()

    def _refuse(self, batch: list[Asked], code: str, error: Exception) -> tuple[Outcomes, list[Row]]:
        why = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        log.warning("requests not taken", action="refuse", code=code, requests=len(batch), error=why)
        self.trouble = f"database: {why}" if code == "unavailable" else why
        problem = Problem(code, headers=RETRY_SOON if code == "unavailable" else ())
        return {one.checkout_id: problem for one in batch}, []

    def _resolve(self, answers: list[tuple[asyncio.Future[Outcome], Outcome]]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(_set_results, answers)
        except RuntimeError:
            pass  # the loop has ended: nobody waits any more

    def _tidy(self) -> None:
        """Delete what Kafka has acknowledged; publish again what it has not, and what others left behind."""
        now = time.monotonic()
        if now - self._tidied_at < (CHECK_S if self.trouble else TIDY_S):
            return
        self._tidied_at = now
        try:
            self._publisher.tidy(self._store)
            if self.trouble:  # there may have been nothing to tidy
                self._store.check()
                self.trouble = ""
        except psycopg.Error as error:
            self.trouble = f"database: {error}".splitlines()[0][:200]
            self._store.close()

    def _end(self) -> None:
        try:
            self._publisher.flush(5)
            self._publisher.tidy(self._store)
        except psycopg.Error as error:
            log.warning("unclean end", action="close", error=str(error).strip()[:200])
        self._store.close()


def _set_results(answers: list[tuple[asyncio.Future[Outcome], Outcome]]) -> None:
    for future, outcome in answers:
        if not future.done():
            future.set_result(outcome)

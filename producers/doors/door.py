"""Waiting requests → one transaction for all of them → their answers, then their events on Kafka.

Group commit without a timer: requests gather while the batch before them is committed. One thread owns the store's connection
and the Kafka producer.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Hashable, Sequence
from typing import Generic, Protocol, TypeVar

import structlog

from producers.doors.commits import Claim, Commits
from producers.problems import RETRY_SOON, Problem
from topics.settings import Settings

log = structlog.get_logger()

BATCH_MAX = 200
WAITING_MAX = 5_000
IDLE_S, QUIET_S = 0.05, 0.5  # between polls for Kafka's acknowledgements; the second while none is due
# After a batch of n the next one gathers for 5 ms × n, up to 50: a lone request never waits, and under load a
# transaction's fixed cost (five times that of a request) is shared.
GATHER_S, GATHER_MAX_S = 0.005, 0.05


class Claimable(Protocol):
    """A request that a door can take."""

    def ids(self) -> Sequence[Hashable]:
        """The ids that the request claims. Requests of one batch never claim the same id."""
        ...


Request = TypeVar("Request", bound=Claimable)
Answer = TypeVar("Answer")
Future = asyncio.Future[Answer | Problem]
Waiting = tuple[Request, asyncio.Future[Answer | Problem]]


class Door(Generic[Request, Answer]):
    """Takes requests by `submit` from the event loop, and commits them in a thread, which the first request starts."""

    def __init__(
        self, settings: Settings, name: str, claim: Claim[Request, Answer], batch_max: int = BATCH_MAX
    ) -> None:
        self._settings = settings
        self._claim = claim
        self._batch_max = batch_max
        self._queue: queue.SimpleQueue[Waiting[Request, Answer] | None] = queue.SimpleQueue()
        # requests that wait for an earlier one with the same id
        self._later: deque[Waiting[Request, Answer]] = deque()
        self._thread = threading.Thread(target=self._run, name=f"{name} door", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._commits: Commits[Request, Answer] | None = None
        self._closing = False
        self._trouble = ""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the thread before the first request, so that it sweeps rows that other processes left."""
        self._loop = loop
        self._commits = Commits(self._settings, self._claim)
        self._thread.start()

    def close(self) -> None:
        """Return when all submitted requests are answered and, within five seconds, published."""
        self._closing = True
        if self._commits is not None:
            self._queue.put(None)
            self._thread.join()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def trouble(self) -> str:
        """Why requests cannot be taken now; empty if they can."""
        return self._trouble or (self._commits.trouble if self._commits else "")

    @property
    def publishing_trouble(self) -> str | None:
        return self._commits.publishing_trouble if self._commits else None

    async def submit(self, request: Request) -> Answer:
        """The answer, after the commit. Errors: Problem; after `unavailable` the request may be submitted again."""
        if self._queue.qsize() > WAITING_MAX or self._closing:
            raise Problem("busy", headers=RETRY_SOON)
        if self._loop is None:
            self.start(asyncio.get_running_loop())
        assert self._loop is not None
        future: Future[Answer] = self._loop.create_future()
        self._queue.put((request, future))
        outcome = await future
        if isinstance(outcome, Problem):
            raise outcome
        return outcome

    # ── the thread ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        assert self._commits is not None
        while not (self._closing and self._queue.empty() and not self._later):
            try:
                self._turn(self._commits)
                self._trouble = ""
            except Exception as error:
                self._trouble = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                log.exception("a turn failed", action="turn")
                time.sleep(IDLE_S)
        self._commits.close()

    def _turn(self, commits: Commits[Request, Answer]) -> None:
        batch = self._gather(QUIET_S if commits.idle else IDLE_S)
        if batch:
            futures = [future for _, future in batch]
            commits.take([request for request, _ in batch], lambda outcomes: self._resolve(futures, outcomes))
        commits.tidy()
        if batch and not self._closing:
            time.sleep(min(GATHER_S * len(batch), GATHER_MAX_S))

    def _gather(self, wait_s: float) -> list[Waiting[Request, Answer]]:
        """The waiting requests. Of two that claim the same id the later one is left for the next batch."""
        waiting = list(self._later)
        self._later.clear()
        if not waiting:
            first = self._next(wait_s)
            waiting = [first] if first else []
        while waiting and len(waiting) < self._batch_max:
            one = self._next(0)
            if one is None:
                break
            waiting.append(one)
        return self._without_shared_ids(waiting)

    def _next(self, timeout_s: float) -> Waiting[Request, Answer] | None:
        try:
            return self._queue.get(timeout=timeout_s) if timeout_s else self._queue.get_nowait()
        except queue.Empty:
            return None

    def _without_shared_ids(self, waiting: list[Waiting[Request, Answer]]) -> list[Waiting[Request, Answer]]:
        claimed: set[Hashable] = set()
        batch = []
        for one in waiting:
            ids = one[0].ids()
            if claimed.isdisjoint(ids):
                batch.append(one)
            else:
                self._later.append(one)
            claimed.update(ids)
        return batch

    def _resolve(self, futures: Sequence[Future[Answer]], outcomes: Sequence[Answer | Problem]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(_set_results, list(zip(futures, outcomes, strict=True)))
        except RuntimeError:
            pass  # the event loop has ended, and with it the callers


def _set_results(answers: Sequence[tuple[Future[Answer], Answer | Problem]]) -> None:
    for future, outcome in answers:
        if not future.done():
            future.set_result(outcome)

"""due deliveries → leased → sent, many endpoints concurrently → outcomes recorded on their rows. In its own thread.

The process may die at any line: a delivery whose lease expires is sent again, under the same webhook-id.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import structlog
from prometheus_client import Counter as Metric
from prometheus_client import Histogram

from consumers.webhooks import queue
from consumers.webhooks.queue import LEASED, DeliveryAttempt, LeasedDelivery, Outcome
from topics.catalog import WEBHOOKS_ROOM
from topics.runtime.dead_letters.store import is_stopped
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.store import Store, error_kind
from topics.settings import Settings

if TYPE_CHECKING:
    from consumers.webhooks.client import WebhookClient

log = structlog.get_logger()

IN_FLIGHT_MAX = 1000
ONE_AT_A_TIME_AFTER = 5  # failures in a row; after them an endpoint gets one delivery at a time until one succeeds
POLL_S = 0.1  # while there are due deliveries
BUSY_FOR_S = 5.0
IDLE_POLL_S = 1.0
NO_ENDPOINTS_POLL_S = 2.0  # no endpoint is registered
SWEEP_EVERY_S = 2.0
AWAY_S = 0.5
LEASE_MARGIN_S = 2.0
REPLY_SPARE_S = 2.0
LOOKUP_THREADS = 32  # a DNS look-up blocks a thread

ATTEMPTS = Metric("tally_webhook_attempts_total", "Attempts to deliver a webhook", ["outcome"])
SECONDS = Histogram("tally_webhook_seconds", "From opening the connection to the reply")


def run_sender(settings: Settings, stop: threading.Event) -> None:
    """Run until `stop` is set, and finish the exchanges in flight. Raises only on a bug."""
    asyncio.run(WebhookSender(settings, stop).run())


def next_state(outcome: Outcome, tries: int, ladder_s: Sequence[float], now: datetime) -> tuple[str, datetime]:
    """→ the delivery's next state, and when: delivered, due again after the ladder's step (± 10 %), or given up."""
    if outcome.error is None:
        return "delivered", now
    if tries > len(ladder_s):
        return "given_up", now
    return "due", now + timedelta(seconds=ladder_s[tries - 1] * random.uniform(0.9, 1.1))


class WebhookSender:
    """Sends deliveries, in one process. Several processes share them by leases."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._settings = settings
        self._limits = settings.webhooks
        self._stop = stop
        self._clock = Clock(settings.clock_file)
        self._store = Store(settings, WEBHOOKS_ROOM.name)
        self._client: WebhookClient | None = None
        self._in_flight: Counter[str] = Counter()  # endpoint → deliveries
        self._failures: Counter[str] = Counter()  # endpoint → in a row
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: list[DeliveryAttempt] = []
        self._unsent: list[LeasedDelivery] = []  # their lease might have ended before the reply came
        self._exchange_ended = asyncio.Event()
        self._busy_until = self._sweep_at = 0.0
        self._nothing_to_send = True

    async def run(self) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(LOOKUP_THREADS, "webhook names"))
        try:
            while not self._stop.is_set():
                await self._guarded_turn()
                await self._wait_for_work()
            await self._finish()
        finally:
            if self._client is not None:
                await self._client.close()
            self._store.close()

    async def _wait_for_work(self) -> None:
        """Wait until an exchange has ended, or it is time to poll."""
        left_s = self._poll_s()
        while left_s > 0 and not self._stop.is_set() and not self._exchange_ended.is_set():
            try:
                async with asyncio.timeout(min(left_s, IDLE_POLL_S)):
                    await self._exchange_ended.wait()
            except TimeoutError:
                left_s -= IDLE_POLL_S
        self._exchange_ended.clear()

    def _poll_s(self) -> float:
        if self._nothing_to_send:
            return NO_ENDPOINTS_POLL_S if not self._tasks else IDLE_POLL_S
        return POLL_S if time.monotonic() < self._busy_until else IDLE_POLL_S

    async def _guarded_turn(self) -> None:
        """While the database is away, outcomes are kept in memory; expired leases are sent again."""
        try:
            self._turn()
        except psycopg.Error as error:
            if error_kind(error) != "away":
                raise
            log.warning("database away", action="deliver", error=str(error).strip()[:200])
            await asyncio.sleep(AWAY_S)

    def _turn(self) -> None:
        """Queries run in the event loop: they are few and short, and only the exchanges share it."""
        self._record()
        if time.monotonic() >= self._sweep_at:
            self._sweep()
            self._sweep_at = time.monotonic() + SWEEP_EVERY_S
        if not self._nothing_to_send:
            self._lease()

    def _sweep(self) -> None:
        now = self._clock.now()
        with self._store.transaction() as conn:
            stopped = is_stopped(conn)
            self._nothing_to_send = stopped or not queue.has_endpoints(conn)
            if self._nothing_to_send:
                return
            lost, cancelled = queue.expire(conn, now), queue.cancel(conn, now)
        if lost or cancelled:
            log.info("swept", action="deliver", lost=lost, cancelled=cancelled)

    def _lease(self) -> None:
        room = IN_FLIGHT_MAX - self._in_flight.total()
        if room <= 0:
            return
        leased_at, now = time.monotonic(), self._clock.now()
        with self._store.transaction() as conn:
            leased = queue.lease(conn, self._free_slots(), self._limits.endpoint_concurrency, room, now)
        for one in leased:
            self._start_exchange(one, leased_at)
        if leased:
            self._busy_until = time.monotonic() + BUSY_FOR_S

    def _free_slots(self) -> dict[str, int]:
        """How many more deliveries may be in flight, for endpoints that have some or have failed."""
        known = self._in_flight.keys() | self._failures.keys()
        return {id_: max(0, self._concurrency(id_) - self._in_flight[id_]) for id_ in known}

    def _concurrency(self, endpoint_id: str) -> int:
        return 1 if self._failures[endpoint_id] >= ONE_AT_A_TIME_AFTER else self._limits.endpoint_concurrency

    def _start_exchange(self, leased: LeasedDelivery, leased_at: float) -> None:
        self._in_flight[leased.endpoint_id] += 1
        task = asyncio.get_running_loop().create_task(self._exchange(leased, leased_at))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _exchange(self, leased: LeasedDelivery, leased_at: float) -> None:
        try:
            if not LEASED.lasts(leased_at, self._limits.timeout_s + LEASE_MARGIN_S):
                self._unsent.append(leased)
                return
            outcome = await self._loaded_client().send(leased)
            self._note_outcome(leased, outcome)
        finally:
            self._in_flight[leased.endpoint_id] -= 1
            if not self._in_flight[leased.endpoint_id]:
                del self._in_flight[leased.endpoint_id]
            self._exchange_ended.set()

    def _loaded_client(self) -> WebhookClient:
        """The HTTP client takes 20 MB, so it is loaded for the first webhook."""
        if self._client is None:
            from consumers.webhooks.client import WebhookClient

            self._client = WebhookClient(self._settings)
        return self._client

    def _note_outcome(self, leased: LeasedDelivery, outcome: Outcome) -> None:
        now = self._clock.now()
        state, due_at = next_state(outcome, leased.tries, self._limits.ladder_s, now)
        if outcome.error is None:
            self._failures.pop(leased.endpoint_id, None)
        else:
            self._failures[leased.endpoint_id] += 1
        ATTEMPTS.labels(state if state != "due" else "failed").inc()
        SECONDS.observe(outcome.took_ms / 1000)
        attempt = DeliveryAttempt(
            delivery_id=leased.delivery_id,
            attempt_no=leased.attempt_no,
            at=now,
            took_ms=outcome.took_ms,
            status=outcome.status,
            error=outcome.error,
            reply=outcome.reply,
            state=state,
            due_at=due_at,
        )
        self._ended.append(attempt)
        if state == "given_up":
            why = {"delivery": leased.delivery_id, "endpoint": leased.endpoint_id, "error": outcome.error}
            log.warning("webhook given up", action="deliver", **why)

    def _record(self) -> None:
        ended, unsent = self._ended[:], self._unsent[:]
        if ended or unsent:
            with self._store.transaction() as conn:
                if unsent:
                    queue.release(conn, unsent)
                if ended:
                    queue.record(conn, ended, self._clock.now())
            del self._ended[: len(ended)], self._unsent[: len(unsent)]
            self._busy_until = time.monotonic() + BUSY_FOR_S

    async def _finish(self) -> None:
        """Wait for the exchanges in flight, at most their time-out, and record them."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._limits.timeout_s + REPLY_SPARE_S)
        try:
            self._record()
        except psycopg.Error as error:
            log.warning("unclean end", action="deliver", error=str(error).strip()[:200])

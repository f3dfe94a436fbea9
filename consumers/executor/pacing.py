"""Calls that have ended → how many more may be sent to one PSP: calls in flight, calls per second, a circuit breaker.

Used by the thread that leases and the thread that sends. While the breaker is open calls wait in the table, where they
cost nothing; when it closes they are sent at the PSP's rate.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Result = Literal["success", "failure", "neither"]  # neither: 429, or not sent at all

OPEN_AFTER = 10  # consecutive failures
COOL_S = 1.0
COOL_S_MAX = 10.0  # a PSP that is reachable again is noticed within this time
PROBE_S = 2.0  # the next probe is sent after this time even if the last one has no answer
BURST_S = 0.1


@dataclass(slots=True)
class Breaker:
    """A circuit breaker: closed; open until a time; then half open, in which probes are sent until one succeeds.

    A probe may hang until its hard deadline, so the next one is sent after PROBE_S.
    """

    failures: int = 0
    open_until: float | None = None
    cool_s: float = COOL_S
    probing_since: float | None = None

    def permits(self, now: float) -> int | None:
        """How many calls may be sent; None: any number."""
        if self.open_until is None:
            return None
        patient = self.probing_since is not None and now < self.probing_since + PROBE_S
        return 0 if now < self.open_until or patient else 1

    def sent(self, now: float) -> None:
        self.probing_since = None if self.open_until is None else now

    def ended(self, result: Result, now: float) -> None:
        match result:
            case "success":
                self.failures, self.open_until, self.cool_s, self.probing_since = 0, None, COOL_S, None
            case "failure":
                self._failed(now)
            case "neither":
                self.probing_since = None

    def _failed(self, now: float) -> None:
        self.failures += 1
        probing = self.probing_since is not None
        if probing:
            self.cool_s = min(self.cool_s * 2, COOL_S_MAX)
        if probing or (self.open_until is None and self.failures >= OPEN_AFTER):
            self.open_until, self.probing_since = now + self.cool_s, None


class Pace:
    """The limits of one PSP. `permits` says how many calls may be leased; each is reported by `sent`, later by `ended`."""

    def __init__(
        self,
        concurrency: int,
        rate_per_s: float,
        clock: Callable[[], float] = time.monotonic,
        breaker: Breaker | None = None,
    ) -> None:
        self._concurrency = concurrency
        self._rate_per_s = rate_per_s
        self._clock = clock
        self._burst = max(1.0, rate_per_s * BURST_S)
        self._tokens = self._burst
        self._filled_at = clock()
        self._in_flight = 0
        self._breaker = breaker or Breaker()
        self._lock = threading.Lock()

    @property
    def open(self) -> bool:
        """Whether the breaker is open."""
        with self._lock:
            return self._breaker.open_until is not None

    @property
    def half_free(self) -> bool:
        """Whether half of the places are free, which makes another lease worth its cost."""
        with self._lock:
            return self._in_flight * 2 <= self._concurrency

    def permits(self) -> int:
        with self._lock:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate_per_s)
            self._filled_at = now
            free = min(self._concurrency - self._in_flight, int(self._tokens))
            probes = self._breaker.permits(now)
            return free if probes is None else min(free, probes)

    def sent(self, calls: int) -> None:
        with self._lock:
            self._in_flight += calls
            self._tokens -= calls
            self._breaker.sent(self._clock())

    def ended(self, result: Result) -> None:
        with self._lock:
            self._in_flight -= 1
            self._breaker.ended(result, self._clock())

"""Requests that each end in several bookings → the running stack: how many a second, how late, doubled, lost.

Phases: throughput (as many as the stack books, with a limit on accepted and unbooked ones), latency (a steady rate).
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import orjson
from confluent_kafka import Message

from operations.bench.client import Client
from operations.bench.follower import Follower
from operations.bench.pay_in import CONNECTIONS, REFUSALS_MAX, Progress, cost
from operations.stack.home import StackError
from operations.stack.running import StackStatus
from schemas.envelope import header
from topics.catalog import Topic
from topics.settings import Settings

DRAIN_S = 60.0
SOON_S = 5.0


@dataclass(frozen=True, slots=True)
class BookingsPlan:
    measure_s: float
    latency_s: float = 30
    latency_per_s: int = 20
    backlog: int = 1000  # accepted and not yet booked, above which the load waits


@dataclass(frozen=True, slots=True)
class Request:
    """One request that is to be booked."""

    id: str
    path: str
    body: bytes


class Booking(NamedTuple):
    """How one kind of event says what is booked: the field with the request's id, and what else it must say."""

    id_field: str
    says: Mapping[str, str] = {}


@dataclass(slots=True)
class Bookings:
    """The bookings of each request, one event type for each place. A second one in one place is a double."""

    places: Mapping[str, Booking]  # by event type
    failures: Mapping[str, Booking]  # events that end a request without a booking, by their type
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)  # event type, request
    booked: dict[str, float] = field(default_factory=dict)  # request → when its last booking was consumed
    failed: dict[str, str] = field(default_factory=dict)  # request → code

    def add(self, record: Message) -> None:
        kind = header(cast(Sequence[tuple[str, bytes]], record.headers() or ()), "ce_type")
        booking = self.places.get(kind or "") or self.failures.get(kind or "")
        value = record.value()
        if kind is None or booking is None or value is None:
            return
        event = orjson.loads(value)
        if any(event.get(name) != said for name, said in booking.says.items()):
            return
        id_ = event[booking.id_field]
        if kind in self.failures:
            self.failed[id_] = event["code"]
            return
        self.seen[kind, id_] += 1
        if all(self.seen[each, id_] for each in self.places):
            self.booked.setdefault(id_, time.monotonic())

    @property
    def doubles(self) -> int:
        return sum(count - 1 for count in self.seen.values())


class Sender:
    """Sends requests and notes their times."""

    def __init__(self, client: Client, requests: Iterator[Request], bookings: Bookings) -> None:
        self._client, self._requests, self.bookings = client, requests, bookings
        self.sent_at: dict[str, float] = {}
        self.refused: list[str] = []
        self.exhausted = False
        self._latest: deque[Request] = deque(maxlen=CONNECTIONS)  # that were accepted

    @property
    def waiting(self) -> int:
        return len(self.sent_at) - len(self.bookings.booked) - len(self.bookings.failed)

    async def send(self) -> None:
        """Send the next request, if any is left. Errors: OSError; StackError if the API refuses too many."""
        request = next(self._requests, None)
        if request is None:
            self.exhausted = True
            return
        self.sent_at[request.id] = time.monotonic()
        status, answer = await self._client.post(request.path, request.body)
        if status == 202:
            self._latest.append(request)
            return
        del self.sent_at[request.id]
        self.refused.append(f"{status} {answer[:200].decode(errors='replace')}")
        if len(self.refused) > REFUSALS_MAX:
            raise StackError(f"the API refuses what it is sent: {self.refused[-1]}")

    async def drain(self, is_ended: Callable[[bytes], bool]) -> None:
        """Wait until all accepted requests are booked or have failed, and the last of them are shown as ended; DRAIN_S at
        most: those left count as lost. What has not been shown yet would count against whoever comes next.
        """
        until = time.monotonic() + DRAIN_S
        while self.waiting > 0:
            if time.monotonic() > until:
                return
            await asyncio.sleep(0.02)
        for request in self._latest:
            while not await self._shows(request, is_ended):
                if time.monotonic() > until:
                    return
                await asyncio.sleep(0.05)

    async def _shows(self, request: Request, is_ended: Callable[[bytes], bool]) -> bool:
        status, answer = await self._client.get(f"{request.path}/{request.id}")
        return status == 200 and is_ended(answer)


async def measure(
    settings: Settings,
    topics: Sequence[Topic],
    bookings: Bookings,
    client: Client,
    requests: Iterator[Request],
    is_ended: Callable[[bytes], bool],
    status: StackStatus,
    plan: BookingsPlan,
    progress: Progress,
) -> Measured:
    """Both phases, one after the other; `is_ended` looks at what the API shows of a request. Errors: as of `Sender.send`."""
    follower = Follower(settings, topics, bookings.add)
    follower.start()
    sender = Sender(client, requests, bookings)
    progress("throughput", 0)
    per_s, took, cpu = await throughput(sender, status, plan)
    await sender.drain(is_ended)
    soon = share_within(sender, SOON_S)
    progress("latency", 0)
    sent = await steady(sender, plan)
    await sender.drain(is_ended)
    follower.stop()
    progress("done", 1)
    return Measured(per_s, took, cpu, soon, *latency(sender, sent), len(sender.sent_at), faults(sender))


class Measured(NamedTuple):
    """The figures of both phases."""

    per_s: float
    measured_s: float
    cpu_s: float  # of all servers, for each request
    soon: float  # the share of the throughput phase's requests that were booked within SOON_S
    p50_ms: float | None
    p99_ms: float | None
    latency_requests: int
    requests: int
    faults: Mapping[str, object]

    def named(self, what: str) -> dict[str, object]:
        """As the benchmarks print them, with the plural of what was asked for in their names."""
        return {
            f"{what}_per_s": self.per_s,
            "measured_s": self.measured_s,
            f"cpu_s_per_{what.removesuffix('s')}": self.cpu_s,
            "booked_in_5_s": self.soon,
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            f"latency_{what}": self.latency_requests,
            what: self.requests,
            **self.faults,
        }


async def throughput(sender: Sender, status: StackStatus, plan: BookingsPlan) -> tuple[float, float, float]:
    """Under a load that waits while too much is not booked yet. → booked a second, seconds, CPU of all servers for each"""
    booked = sender.bookings.booked
    before, count, began = cost(status), len(booked), time.monotonic()

    async def flood() -> None:
        while time.monotonic() - began < plan.measure_s and not sender.exhausted:
            if sender.waiting >= plan.backlog:
                await asyncio.sleep(0.005)
            else:
                await sender.send()

    await asyncio.gather(*(flood() for _ in range(CONNECTIONS)))
    took, done, after = time.monotonic() - began, len(booked) - count, cost(status)
    used = sum(after.cpu_s.values()) - sum(before.cpu_s.values())
    return round(done / took, 1), round(took, 1), round(used / max(1, done), 6)


async def steady(sender: Sender, plan: BookingsPlan) -> set[str]:
    """Send at a fixed rate; no request waits for another. → the requests that were sent"""
    before = set(sender.sent_at)
    began, pending = time.monotonic(), []
    for turn in range(int(plan.latency_s * plan.latency_per_s)):
        await asyncio.sleep(max(0.0, began + turn / plan.latency_per_s - time.monotonic()))
        pending.append(asyncio.create_task(sender.send()))
    await asyncio.gather(*pending)
    return sender.sent_at.keys() - before


def latency(sender: Sender, sent: set[str]) -> tuple[float | None, float | None, int]:
    """From a request's first byte to the consumption of the last of its bookings. → p50 ms, p99 ms, requests"""
    booked = sender.bookings.booked
    times = [booked[id_] - sender.sent_at[id_] for id_ in sent if id_ in booked]
    if len(times) < 2:
        return None, None, len(times)
    cuts = statistics.quantiles(times, n=100)
    return round(cuts[49] * 1000, 1), round(cuts[98] * 1000, 1), len(times)


def share_within(sender: Sender, seconds: float) -> float:
    """Of all requests so far, the share that was booked within so many seconds."""
    booked = sender.bookings.booked
    soon = sum(1 for id_, sent in sender.sent_at.items() if id_ in booked and booked[id_] - sent <= seconds)
    return round(soon / max(1, len(sender.sent_at)), 4)


def faults(sender: Sender) -> dict[str, object]:
    bookings = sender.bookings
    lost = [id_ for id_ in sender.sent_at if id_ not in bookings.booked and id_ not in bookings.failed]
    figures: dict[str, object] = {"doubles": bookings.doubles, "lost": len(lost)}
    if bookings.failed:
        figures["failed"] = Counter(bookings.failed.values())
    if sender.refused:
        figures |= {"refused": len(sender.refused), "first_refusal": sender.refused[0]}
    return figures

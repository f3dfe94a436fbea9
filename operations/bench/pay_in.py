"""HTTP requests → the running stack → wallet and ledger booked: throughput, latency and cost.

Phases: history (put through the system itself, so that every store, topic and PSP agrees on it), half of the floor,
throughput (as many checkouts as the stack books, with a bound on what is accepted and not yet booked), the other half of
the floor, latency (a steady 100 orders/s).
"""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import orjson
import psutil
import uvloop
from confluent_kafka import Message

from operations.bench.client import Client
from operations.bench.floor import opened_floor
from operations.bench.follower import Follower
from operations.stack.home import StackError
from operations.stack.running import StackStatus
from topics import catalog
from topics.settings import Settings

ORDERS_PER_CHECKOUT = 3
SELLERS = 2000
BUYERS = 20_000
CONNECTIONS = 64
REFUSALS_MAX = 20
FILLING_S = 10.0  # until as much waits to be booked as may
Progress = Callable[[str, float], None]  # phase, share done
Heard = Callable[[Sequence[str]], None]


@dataclass(frozen=True, slots=True)
class PayInPlan:
    history_orders: int
    measure_s: float
    latency_s: float = 30
    latency_orders_per_s: int = 100
    backlog_orders: int = 4000  # accepted and not yet booked, above which the load waits


class BookedOrders:
    """Follows the wallet's and the ledger's topics: an order is booked once both have published its event."""

    def __init__(self, settings: Settings) -> None:
        self._half: set[bytes] = set()
        self._watched: dict[bytes, float] = {}
        self._follower = Follower(settings, (catalog.WALLET_MOVEMENTS, catalog.LEDGER_ENTRIES), self._note_booked)
        self.start, self.stop = self._follower.start, self._follower.stop
        self.count = 0
        self.latencies_s: list[float] = []

    def watch(self, payment_order_id: str) -> None:
        """Measure from now until this order is booked."""
        self._watched[payment_order_id.encode()] = time.monotonic()

    def waiting(self) -> set[bytes]:
        """The watched orders that are not booked yet."""
        return set(self._watched.copy())  # copied atomically, since another thread changes it

    def _note_booked(self, record: Message) -> None:
        key = record.key()
        if key is None:
            return
        if key not in self._half:
            self._half.add(key)
            return
        self._half.discard(key)
        self.count += 1
        began = self._watched.pop(key, None)
        if began is not None:
            self.latencies_s.append(time.monotonic() - began)


@dataclass(slots=True)
class Load:
    """Checkouts of three orders over skewed sellers and distinct buyers."""

    status: StackStatus
    seed: int
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex[:10])
    accepted: int = 0  # orders
    offered: int = 0
    refused: list[str] = field(default_factory=list)
    latest: deque[str] = field(default_factory=lambda: deque(maxlen=CONNECTIONS))  # checkouts that were accepted
    unanswered: list[str] = field(default_factory=list)  # requests of `steady` without an answer: outcome unknown
    _number: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def checkout(self) -> tuple[list[str], bytes]:
        """→ the order ids and the body of one request."""
        self._number += 1
        number, draw = self._number, self._random
        ids = [f"b{self.run_id}-{number}-{place}" for place in range(ORDERS_PER_CHECKOUT)]
        orders = [
            {
                "payment_order_id": id_,
                "seller_account": f"bench-seller-{int(SELLERS * draw.random() ** 3)}",  # few sell much
                "amount": f"{draw.randint(1, 500)}.{draw.randint(0, 99):02d}",
                "currency": "EUR" if draw.random() < 0.8 else "USD",
                "platform_fee": "0.50",
            }
            for id_ in ids
        ]
        buyer = number % BUYERS
        body = {
            "checkout_id": f"b{self.run_id}-{number}",
            "buyer_info": {"buyer_account": f"bench-buyer-{buyer}", "name": f"Bench Buyer {buyer}", "country": "NL"},
            "payment_method": {"token": draw.choice(("tok_visa", "tok_mastercard", "tok_amex", "tok_discover"))},
            "payment_orders": orders,
        }
        return ids, orjson.dumps(body)

    async def send(self, client: Client, watch: Callable[[str], None] | None = None) -> Sequence[str]:
        """→ the orders that were accepted, all or none."""
        ids, body = self.checkout()
        self.offered += len(ids)
        if watch:
            for id_ in ids:
                watch(id_)
        status, answer = await client.post("/v1/payments", body)
        if status == 202:
            self.accepted += len(ids)
            self.latest.append(ids[-1].rpartition("-")[0])
            return ids
        self.refused.append(f"{status} {answer[:200].decode(errors='replace')}")
        if len(self.refused) > REFUSALS_MAX:
            raise StackError(f"the API refuses what it is sent: {self.refused[-1]}")
        return ()

    def client(self) -> Client:
        headers = {"Authorization": f"Bearer {self.status.api_key}", "Content-Type": "application/json"}
        assert self.status.api_url is not None, "a running stack has an API"
        return Client(self.status.api_url, headers)


async def flood(load: Load, booked: BookedOrders, plan: PayInPlan, until: Callable[[], bool]) -> None:
    """Send checkouts as fast as the stack books them: the load waits while too much is accepted and not yet booked."""
    start_accepted, start_booked = load.accepted, booked.count
    first_in_line = asyncio.Lock()  # one sender at a time polls for room: sixty-four cost a tenth of each order's CPU

    def is_full() -> bool:
        return (load.accepted - start_accepted) - (booked.count - start_booked) > plan.backlog_orders

    async def sender() -> None:
        while not until():
            async with first_in_line:
                if is_full():
                    await asyncio.sleep(0.005)
                    continue
            await load.send(client)

    with closing(load.client()) as client:
        await asyncio.gather(*(sender() for _ in range(CONNECTIONS)))


async def drain(load: Load, booked: BookedOrders, accepted: int, count: int, limit_s: float = 60) -> None:
    """Wait until everything accepted since is booked. Errors: TimeoutError."""
    deadline = time.monotonic() + limit_s
    while load.accepted - accepted > booked.count - count:
        if time.monotonic() > deadline:
            missing = (load.accepted - accepted) - (booked.count - count)
            raise TimeoutError(f"{missing} orders were accepted and not booked within {limit_s:.0f} s")
        await asyncio.sleep(0.05)


async def settle(load: Load, limit_s: float = 60) -> None:
    """Wait until the last accepted payments are done, too: `payments` consumes captures and bookings after they are made,
    and what waits there would count against whoever comes next. Errors: TimeoutError.
    """
    deadline = time.monotonic() + limit_s
    with closing(load.client()) as client:
        for checkout_id in load.latest:
            while not await _is_done(client, checkout_id):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{checkout_id} is booked and was not done within {limit_s:.0f} s")
                await asyncio.sleep(0.05)


async def _is_done(client: Client, checkout_id: str) -> bool:
    status, answer = await client.get(f"/v1/payments/{checkout_id}")
    return status == 200 and bool(orjson.loads(answer)["is_payment_done"])


async def steady(
    load: Load,
    booked: BookedOrders,
    orders_per_s: float,
    until: Callable[[float], bool],
    heard: Heard = lambda ids: None,
) -> None:
    """One checkout after another at a fixed rate, whatever the stack does: no request waits for another.

    Ends when `until`, given the seconds since the beginning, says so; `heard` is told of the orders that were accepted.
    """
    pause = ORDERS_PER_CHECKOUT / orders_per_s
    began = time.monotonic()
    pending: set[asyncio.Task[None]] = set()

    async def send() -> None:
        try:
            heard(await load.send(client, booked.watch))
        except OSError as error:  # a TimeoutError is one
            load.unanswered.append(repr(error))

    with closing(load.client()) as client:
        for turn in itertools.count():
            due = began + turn * pause
            if until(due - began):
                break
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(send())
            pending.add(task)
            task.add_done_callback(pending.discard)
        await asyncio.gather(*pending)


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU and memory that the stack's processes have used by now."""

    cpu_s: dict[str, float]
    memory_mb: dict[str, float]


def cost(status: StackStatus) -> Cost:
    """By process name, children included. Shared memory is counted once, by its proportional share."""
    cpu: dict[str, float] = {}
    memory: dict[str, float] = {}
    for entry in status.processes:
        for process in _family(entry.pid):
            try:
                times = process.cpu_times()
                cpu[entry.name] = cpu.get(entry.name, 0) + times.user + times.system
                memory[entry.name] = memory.get(entry.name, 0) + process.memory_full_info().pss / 1e6
            except psutil.Error:
                continue
    return Cost(cpu, memory)


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def run(settings: Settings, status: StackStatus, plan: PayInPlan, seed: int, progress: Progress) -> dict[str, object]:
    """Measure the running stack. → the figures, keys as `tally bench pay-in --json` prints them."""
    return uvloop.run(_run(settings, status, plan, seed, progress))


async def _run(
    settings: Settings, status: StackStatus, plan: PayInPlan, seed: int, progress: Progress
) -> dict[str, object]:
    load, booked = Load(status, seed), BookedOrders(settings)
    booked.start()
    progress("history", 0)
    await flood(load, booked, plan, lambda: _report_phase(progress, "history", load.accepted / plan.history_orders))
    await drain(load, booked, 0, 0)
    await settle(load)
    floors = [await _floor(settings, load, "half of the floor", progress)]
    progress("throughput", 0)
    throughput = await _throughput(load, booked, plan, status, progress)
    await settle(load)
    floors.append(await _floor(settings, load, "the other half of the floor", progress))
    progress("latency", 0)
    await steady(load, booked, plan.latency_orders_per_s, lambda elapsed_s: elapsed_s > plan.latency_s)
    await drain(load, booked, 0, 0)
    booked.stop()
    if load.unanswered:
        throughput["unanswered"] = len(load.unanswered)
    if load.refused:
        throughput["refused"] = len(load.refused)
        throughput["first_refusal"] = load.refused[0]
    progress("done", 1)
    return (
        _ratio(floors, throughput)
        | _latency(booked.latencies_s)
        | {"history_orders": plan.history_orders, "seed": seed}
    )


async def _floor(settings: Settings, load: Load, phase: str, progress: Progress) -> float:
    """Measure half of the floor. It is open for each half only: beside its databases, topics and simulator the stack took a
    sixth more CPU.
    """
    progress(phase, 0)
    with opened_floor(settings, load.run_id) as floor:
        return await floor.measure()


def _ratio(floors: Sequence[float], throughput: dict[str, Any]) -> dict[str, object]:
    """The ratio first: it is comparable between machines."""
    floor = statistics.mean(floors)
    ratio = round(throughput["orders_per_s"] / floor, 3)
    return {"ratio": ratio, "orders_per_s": throughput["orders_per_s"], "floor_orders_per_s": round(floor)} | throughput


def _report_phase(progress: Progress, phase: str, share: float) -> bool:
    progress(phase, min(1.0, share))
    return share >= 1


async def _throughput(
    load: Load, booked: BookedOrders, plan: PayInPlan, status: StackStatus, progress: Progress
) -> dict[str, Any]:
    """Measure a constant load that was begun before, with as many orders waiting as allowed."""
    flooded, booked_before = load.accepted, booked.count
    ended = asyncio.Event()
    flooding = asyncio.create_task(flood(load, booked, plan, ended.is_set))
    try:
        await asyncio.sleep(FILLING_S)
        before = cost(status)  # first, since it takes a while and the stack goes on
        accepted, count, began = load.accepted, booked.count, time.monotonic()
        while (took := time.monotonic() - began) < plan.measure_s and not flooding.done():
            progress("throughput", took / plan.measure_s)
            await asyncio.sleep(0.5)
        took = time.monotonic() - began
        applied, took_in, after = booked.count - count, load.accepted - accepted, cost(status)
    finally:
        ended.set()
        await flooding
    await drain(load, booked, flooded, booked_before)
    cpu = {name: after.cpu_s[name] - before.cpu_s.get(name, 0) for name in after.cpu_s}
    return {
        "orders_per_s": round(applied / took, 1),
        "accepted_per_s": round(took_in / took, 1),
        "applied_of_accepted": round(applied / max(1, took_in), 4),
        "measured_s": round(took, 1),
        "cpu_s_per_order": round(sum(cpu.values()) / max(1, applied), 6),
        "cpu_ms_per_order_by_process": {name: round(1000 * used / max(1, applied), 4) for name, used in cpu.items()},
        "memory_mb": round(sum(after.memory_mb.values())),
        "memory_mb_by_process": {name: round(used) for name, used in after.memory_mb.items()},
    }


def _latency(latencies_s: list[float]) -> dict[str, object]:
    """From the request's first byte until the later of the two booking events is consumed from Kafka."""
    cuts = statistics.quantiles(latencies_s, n=100)
    return {
        "p50_ms": round(cuts[49] * 1000, 1),
        "p99_ms": round(cuts[98] * 1000, 1),
        "latency_orders": len(latencies_s),
    }

"""HTTP requests for refunds → the running stack → done at the PSP, in wallet and ledger: how many a second, how late.

Phases: captures (payments made through the system itself, to be refunded), throughput (as many refunds as the stack books,
with a limit on accepted and unbooked ones; first half of each order, then the rest), latency (a steady 20 refunds/s, once those
of the throughput are done).
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import cast

import orjson
import uvloop
from confluent_kafka import Message

from operations.bench import pay_in
from operations.bench.client import Client
from operations.bench.follower import Follower
from operations.bench.pay_in import BookedOrders, Load, Progress, cost
from operations.stack.home import StackError
from operations.stack.running import StackStatus
from schemas.envelope import event_type, header
from schemas.events import JournalPosted
from schemas.money import Money
from schemas.money_back import PaymentRefunded, RefundFailed, WalletDebited
from topics import catalog
from topics.settings import Settings

TOPICS = (catalog.EXECUTIONS, catalog.WALLET_MOVEMENTS, catalog.LEDGER_ENTRIES)
PLACES = 3  # PSP, wallet, ledger
DRAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class RefundsPlan:
    orders: int  # captured before; each is refunded twice
    measure_s: float
    latency_s: float = 30
    latency_per_s: int = 20
    backlog: int = 1000  # refunds accepted and not yet booked, above which the load waits


@dataclass(frozen=True, slots=True)
class Refund:
    """One request."""

    refund_id: str
    body: bytes


class Captures(Load):
    """Checkouts whose orders are remembered, so that they can be refunded."""

    def __init__(self, status: StackStatus, seed: int) -> None:
        super().__init__(status, seed)
        self.orders: list[tuple[str, Money]] = []

    def checkout(self) -> tuple[list[str], bytes]:
        ids, body = super().checkout()
        for order in orjson.loads(body)["payment_orders"]:
            self.orders.append((order["payment_order_id"], Money.parse(order["amount"], order["currency"])))
        return ids, body

    def refunds(self) -> Iterator[Refund]:
        """Half of each order, then the rest of each."""
        for order_id, gross in self.orders:
            yield _refund(order_id, 1, Money(gross.minor // 2, gross.currency))
        for order_id, gross in self.orders:
            yield _refund(order_id, 2, Money(gross.minor - gross.minor // 2, gross.currency))


def _refund(order_id: str, number: int, amount: Money) -> Refund:
    refund_id = f"{order_id}-r{number}"
    return Refund(refund_id, orjson.dumps({"refund_id": refund_id, "payment_order_id": order_id, **amount.wire()}))


@dataclass(slots=True)
class Places:
    """The bookings of each refund: at the PSP, in the wallet, in the ledger. A second one in one place is a double."""

    seen: Counter[tuple[str, str]] = field(default_factory=Counter)  # event type, refund
    booked: dict[str, float] = field(default_factory=dict)  # refund → when its third booking was consumed
    failed: dict[str, str] = field(default_factory=dict)  # refund → code

    def add(self, record: Message) -> None:
        kind = header(cast(Sequence[tuple[str, bytes]], record.headers() or ()), "ce_type")
        if kind not in _REFUND_OF or (value := record.value()) is None:
            return
        event = orjson.loads(value)
        refund_id = event.get(_REFUND_OF[kind])
        if kind == _FAILED:
            self.failed[refund_id] = event["code"]
        elif kind == event_type(PaymentRefunded) or "refunded" in (event.get("template"), event.get("reason")):
            self.seen[kind, refund_id] += 1
            if sum(1 for place in _PLACES if self.seen[place, refund_id]) == PLACES:
                self.booked.setdefault(refund_id, time.monotonic())

    @property
    def doubles(self) -> int:
        return sum(count - 1 for count in self.seen.values())


_FAILED = event_type(RefundFailed)
_PLACES = (event_type(PaymentRefunded), event_type(WalletDebited), event_type(JournalPosted))
_REFUND_OF = dict(zip((*_PLACES, _FAILED), ("refund_id", "part", "part", "refund_id"), strict=True))


class Sender:
    """Sends refunds and notes their times."""

    def __init__(self, client: Client, refunds: Iterator[Refund], places: Places) -> None:
        self._client, self._refunds, self._places = client, refunds, places
        self.sent_at: dict[str, float] = {}
        self.refused: list[str] = []
        self.exhausted = False
        self._latest: deque[str] = deque(maxlen=pay_in.CONNECTIONS)  # refunds that were accepted

    @property
    def waiting(self) -> int:
        return len(self.sent_at) - len(self._places.booked) - len(self._places.failed)

    async def send(self) -> None:
        """Send the next refund, if any is left. Errors: OSError; StackError if the API refuses too many."""
        refund = next(self._refunds, None)
        if refund is None:
            self.exhausted = True
            return
        self.sent_at[refund.refund_id] = time.monotonic()
        status, answer = await self._client.post("/v1/refunds", refund.body)
        if status == 202:
            self._latest.append(refund.refund_id)
            return
        del self.sent_at[refund.refund_id]
        self.refused.append(f"{status} {answer[:200].decode(errors='replace')}")
        if len(self.refused) > pay_in.REFUSALS_MAX:
            raise StackError(f"the API refuses what it is sent: {self.refused[-1]}")

    async def drain(self) -> None:
        """Wait until all accepted refunds are booked or have failed, and shown so; DRAIN_S at most: those left count as lost."""
        until = time.monotonic() + DRAIN_S
        while self.waiting > 0:
            if time.monotonic() > until:
                return
            await asyncio.sleep(0.02)
        await self._settle(until)

    async def _settle(self, until: float) -> None:
        """Wait until the last accepted refunds are shown as ended, too: `payments` consumes what the executor has done after
        wallet and ledger have booked it, and what waits there would count against whoever comes next.
        """
        for refund_id in self._latest:
            while not await self._is_ended(refund_id):
                if time.monotonic() > until:
                    return
                await asyncio.sleep(0.05)

    async def _is_ended(self, refund_id: str) -> bool:
        status, answer = await self._client.get(f"/v1/refunds/{refund_id}")
        return status == 200 and orjson.loads(answer)["status"] in ("succeeded", "failed")


def run(settings: Settings, status: StackStatus, plan: RefundsPlan, seed: int, progress: Progress) -> dict[str, object]:
    """Measure the running stack. → the figures, keys as `tally bench refunds --json` prints them."""
    return uvloop.run(_run(settings, status, plan, seed, progress))


async def _run(
    settings: Settings, status: StackStatus, plan: RefundsPlan, seed: int, progress: Progress
) -> dict[str, object]:
    load = Captures(status, seed)
    await _capture(settings, load, plan, progress)
    places = Places()
    follower = Follower(settings, TOPICS, places.add)
    follower.start()
    with closing(load.client()) as client:
        sender = Sender(client, load.refunds(), places)
        throughput = await _throughput(sender, places, status, plan, progress)
        await sender.drain()
        progress("latency", 0)
        steady = await _steady(sender, plan)
        await sender.drain()
    follower.stop()
    progress("done", 1)
    return throughput | _latency(sender, places, steady) | _faults(sender, places) | {"seed": seed}


async def _capture(settings: Settings, load: Captures, plan: RefundsPlan, progress: Progress) -> None:
    booked = BookedOrders(settings)
    booked.start()
    progress("captures", 0)
    captures = pay_in.PayInPlan(history_orders=plan.orders, measure_s=0)
    await pay_in.flood(load, booked, captures, lambda: load.accepted >= plan.orders)
    await pay_in.drain(load, booked, 0, 0)
    await pay_in.settle(load)
    booked.stop()


async def _throughput(
    sender: Sender, places: Places, status: StackStatus, plan: RefundsPlan, progress: Progress
) -> dict[str, object]:
    """Booked refunds a second, and CPU of all servers for each, under a load that waits while too much is not booked yet."""
    before, count, began = cost(status), len(places.booked), time.monotonic()

    async def flood() -> None:
        while time.monotonic() - began < plan.measure_s and not sender.exhausted:
            if sender.waiting >= plan.backlog:
                await asyncio.sleep(0.005)
            else:
                await sender.send()

    progress("throughput", 0)
    await asyncio.gather(*(flood() for _ in range(pay_in.CONNECTIONS)))
    took, done, after = time.monotonic() - began, len(places.booked) - count, cost(status)
    used = sum(after.cpu_s.values()) - sum(before.cpu_s.values())
    return {
        "refunds_per_s": round(done / took, 1),
        "measured_s": round(took, 1),
        "cpu_s_per_refund": round(used / max(1, done), 6),
    }


async def _steady(sender: Sender, plan: RefundsPlan) -> set[str]:
    """Send refunds at a fixed rate; no request waits for another. → the refunds that were sent"""
    before = set(sender.sent_at)
    began, pending = time.monotonic(), []
    for turn in range(int(plan.latency_s * plan.latency_per_s)):
        await asyncio.sleep(max(0.0, began + turn / plan.latency_per_s - time.monotonic()))
        pending.append(asyncio.create_task(sender.send()))
    await asyncio.gather(*pending)
    return sender.sent_at.keys() - before


def _latency(sender: Sender, places: Places, steady: set[str]) -> dict[str, object]:
    """Seconds from the request's first byte to the consumption of the last of the three bookings."""
    times = [places.booked[id_] - sender.sent_at[id_] for id_ in steady if id_ in places.booked]
    if len(times) < 2:
        return {"p50_ms": None, "p99_ms": None, "latency_refunds": len(times)}
    cuts = statistics.quantiles(times, n=100)
    return {
        "p50_ms": round(cuts[49] * 1000, 1),
        "p99_ms": round(cuts[98] * 1000, 1),
        "latency_refunds": len(times),
    }


def _faults(sender: Sender, places: Places) -> dict[str, object]:
    lost = [id_ for id_ in sender.sent_at if id_ not in places.booked and id_ not in places.failed]
    figures: dict[str, object] = {"refunds": len(sender.sent_at), "doubles": places.doubles, "lost": len(lost)}
    if places.failed:
        figures["failed"] = Counter(places.failed.values())
    if sender.refused:
        figures |= {"refused": len(sender.refused), "first_refusal": sender.refused[0]}
    return figures

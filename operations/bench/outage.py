"""A steady load over HTTP while PSPs are down for minutes → payments lost, doubled, dead letters, and the drain.

It uses the running stack's simulator, and restores its faults at the end, whatever happens.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from prometheus_client.parser import text_string_to_metric_families

from operations.auditor.audit import audit
from operations.auditor.engine import psps as psp_books
from operations.auditor.engine.records import reader
from operations.auditor.engine.stores import Stores
from operations.bench.pay_in import BookedOrders, Load, steady
from operations.http_client import http_request
from operations.stack.home import StackError, read_json
from operations.stack.running import StackStatus
from psp.registry import make_psps
from topics import catalog
from topics.settings import Settings

LOOK_S = 0.1
COUNT_S = 1.0
END_LIMIT_S = 60.0  # after the end of the load
HANGS_MS = 60_000  # longer than any caller's time-out
TERMINATED = 128 + signal.SIGTERM

Faults = Mapping[str, Mapping[str, object]]  # PSP → as `tally sim faults --json` prints them
Change = Callable[[str, Mapping[str, object]], Faults]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class OutagePlan:
    psp: str = "all"
    how: Literal["refuse", "hang"] = "refuse"  # 503 to everything; or every connection taken and nothing answered
    rate: float = 50  # orders a second
    outage_s: float = 300
    before_s: float = 20
    drain_limit_s: float = 300


@dataclass(slots=True)
class OutageCounts:
    """What the run saw of the stack, in seconds of the machine's monotonic clock."""

    accepted: list[str] = field(default_factory=list)
    backlog_before: int = 0
    backlog_max: int = 0
    went_at: float = 0.0
    back_at: float = 0.0
    drain_s: float | None = None  # from its return until the backlog was as low as before
    last_booked_s: float | None = None  # … until every order offered before it was booked
    breaker_open_s: Counter[str] = field(default_factory=Counter)
    calls_while_down: Counter[str] = field(default_factory=Counter)


def run(
    settings: Settings, status: StackStatus, plan: OutagePlan, seed: int, change: Change, now: Faults, tell: Tell
) -> dict[str, object]:
    """`now` are the simulator's faults before. → the figures, keys as in docs/performance.md. Errors: StackError."""
    psps = [name for name in now if plan.psp in ("all", name)]
    if not psps:
        raise StackError(f"--psp: must be all or one of {', '.join(now)}")
    if any(now[name]["down"] or now[name]["latency_ms"] for name in psps):
        raise StackError("a PSP is down or slow already: `tally sim status`")
    load, booked, seen = Load(status, seed), BookedOrders(settings), OutageCounts()
    letters = dead_letters(settings)
    booked.start()
    try:
        with _terminated():
            asyncio.run(
                _Outage(settings, load, booked, plan, seen, lambda wrong: _all(change, psps, wrong), tell).run()
            )
    finally:
        booked.stop()
    tell("tally verify")
    report = audit(settings)
    return {
        "psp": plan.psp,
        "how": plan.how,
        "rate": plan.rate,
        "outage_s": round(seen.back_at - seen.went_at, 1),
        "seed": seed,
        "offered": load.offered,
        "accepted": load.accepted,
        "refused": len(load.refused),
        "unanswered": len(load.unanswered),
        **_ends(settings, seen.accepted, load.run_id),
        "dead_letters": dead_letters(settings) - letters,
        "doubled": doubled(settings, f"b{load.run_id}-"),
        "backlog_before": seen.backlog_before,
        "backlog_max": seen.backlog_max,
        "drain_s": seen.drain_s,
        "last_booked_s": seen.last_booked_s,
        "breaker_open_s": dict(seen.breaker_open_s),
        "calls_while_down": dict(seen.calls_while_down),
        "verify_ok": report.ok,
        "verify_wrong": [f"{check.name}: {check.detail}" for check in report.checks if not check.ok],
    }


@contextmanager
def _terminated() -> Iterator[None]:
    """SIGTERM ends this process like Ctrl-C: the PSPs are put back first."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _all(change: Change, psps: list[str], wrong: Mapping[str, object]) -> None:
    for psp in psps:
        change(psp, wrong)


class _Outage:
    """Run the load; meanwhile take the PSPs down and up, and observe."""

    def __init__(
        self,
        settings: Settings,
        load: Load,
        booked: BookedOrders,
        plan: OutagePlan,
        seen: OutageCounts,
        change: Callable[[Mapping[str, object]], None],
        tell: Tell,
    ) -> None:
        self._settings = settings
        self._load = load
        self._booked = booked
        self._plan = plan
        self._seen = seen
        self._change = change
        self._tell = tell
        self._over = False

    async def run(self) -> None:
        accept = self._seen.accepted.extend
        loading = asyncio.create_task(steady(self._load, self._booked, self._plan.rate, lambda _: self._over, accept))
        try:
            await self._go(loading)
        finally:
            self._over = True
            await loading
        end = time.monotonic() + END_LIMIT_S
        while time.monotonic() < end and self._backlog() > 0:  # noqa: ASYNC110 another thread consumes the bookings
            await asyncio.sleep(LOOK_S)

    async def _go(self, loading: asyncio.Task[None]) -> None:
        seen, plan = self._seen, self._plan
        self._tell(f"{plan.rate:g} orders/s for {plan.before_s:g} s")
        seen.backlog_before = await self._look(plan.before_s, loading)
        before = await asyncio.to_thread(replies, self._settings)
        hangs = plan.how == "hang"
        by_hand = f"tally sim faults --psp {plan.psp} --latency-ms 0" if hangs else f"tally sim up {plan.psp}"
        self._tell(f"{plan.psp} down for {plan.outage_s:g} s; if this process is killed, put it back by: {by_hand}")
        try:
            self._change({"latency_ms": HANGS_MS} if hangs else {"down": True})
            seen.went_at = time.monotonic()
            seen.backlog_max = await self._look(plan.outage_s, loading, self._count)
        finally:
            self._change({"latency_ms": 0} if hangs else {"down": False})
            seen.back_at = time.monotonic()
        seen.calls_while_down = await asyncio.to_thread(replies, self._settings) - before
        self._tell(f"{plan.psp} is back, {self._backlog()} orders wait")
        await self._drain(loading)

    async def _drain(self, loading: asyncio.Task[None]) -> None:
        seen, offered = self._seen, self._booked.waiting()
        while time.monotonic() - seen.back_at < self._plan.drain_limit_s and not loading.done():
            since_s, backlog = round(time.monotonic() - seen.back_at, 1), self._backlog()
            seen.backlog_max = max(seen.backlog_max, backlog)
            if seen.drain_s is None and backlog <= seen.backlog_before:
                seen.drain_s = since_s
            if seen.last_booked_s is None and not offered & self._booked.waiting():
                seen.last_booked_s = since_s
            if seen.drain_s is not None and seen.last_booked_s is not None:
                return
            await asyncio.sleep(LOOK_S)

    async def _look(self, seconds: float, loading: asyncio.Task[None], count: Callable[[], None] = lambda: None) -> int:
        """→ the largest backlog of these seconds. The load ends only where the API refuses."""
        most, end, count_at = 0, time.monotonic() + seconds, 0.0
        while time.monotonic() < end and not loading.done():
            most = max(most, self._backlog())
            if time.monotonic() >= count_at:
                count_at = time.monotonic() + COUNT_S
                await asyncio.to_thread(count)
            await asyncio.sleep(LOOK_S)
        return most

    def _count(self) -> None:
        for psp in breakers_open(self._settings):
            self._seen.breaker_open_s[psp] += int(COUNT_S)

    def _backlog(self) -> int:
        return self._load.accepted - self._booked.count


def _ends(settings: Settings, accepted: list[str], run_id: str) -> dict[str, int]:
    """How the accepted orders ended. Lost: those that have not ended, wallet and ledger included."""
    statement = (
        "SELECT payment_order_id, payment_order_status, detail, wallet_updated AND ledger_updated FROM order_view"
        " WHERE payment_order_id LIKE %s"
    )
    with Stores(settings) as stores:
        rows = {row[0]: row[1:] for row in stores.rows("payments", statement, [f"b{run_id}-%"])}
    ended = Counter(_end(*rows[id_]) for id_ in accepted if id_ in rows)
    captured, declined, failed = ended["captured"], ended["declined"], ended["failed"]
    return {
        "captured": captured,
        "declined": declined,
        "failed_otherwise": failed,
        "lost": len(accepted) - captured - declined - failed,
    }


def _end(status: str, detail: str, booked: bool) -> str:
    if status == "SUCCESS":
        return "captured" if booked else "unfinished"
    if status == "FAILED":
        return "declined" if detail == "declined" else "failed"
    return "unfinished"


def dead_letters(settings: Settings) -> int:
    """How many were ever made, by all rooms."""
    with reader(settings) as reading:
        ends = reading.ends(*(room.dead_letters for room in catalog.CONSUMERS))
    return sum(high for _, high in ends.values())


def doubled(settings: Settings, prefix: str) -> int:
    """The number of charges beyond the first of each order with this prefix, by the PSPs' listings."""
    charged: Counter[str] = Counter()
    for psp in make_psps(settings.psps).values():
        for page in psp_books.listed(psp):
            charged.update(c.payment_order_id for c in page if c.status == "succeeded")
    return sum(number - 1 for order, number in charged.items() if order.startswith(prefix))


def breakers_open(settings: Settings) -> set[str]:
    """The PSPs whose calls wait in at least one process of the executor."""
    return {labels["psp"] for labels, value in _metrics(settings, "tally_psp_breaker_open") if value}


def replies(settings: Settings) -> Counter[str]:
    """The replies of calls since the executor's processes began: `psp act reply` → number."""
    told: Counter[str] = Counter()
    for labels, value in _metrics(settings, "tally_psp_replies_total"):
        told[f"{labels['psp']} {labels['act']} {labels['reply']}"] += int(value)
    return told


def _metrics(settings: Settings, name: str) -> Iterator[tuple[dict[str, str], float]]:
    """Samples of the executor's processes; those that do not answer are left out."""
    for path in (settings.home / "run").glob("*executor*.json"):
        said: dict[str, Any] = read_json(path)
        try:
            text = http_request(
                "GET", f"http://127.0.0.1:{said.get('metrics_port')}/metrics", timeout_s=5
            ).body.decode()
        except (OSError, ValueError):
            continue
        for family in text_string_to_metric_families(text):
            yield from ((sample.labels, sample.value) for sample in family.samples if sample.name == name)

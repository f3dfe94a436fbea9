"""Pay-in at full load, alone and beside a large settlement file that is read and folded, in turn: what it costs, how late it is.

Pay-in is that of the running stack. The file goes through processes, databases and topics of its own on the same servers.
"""

from __future__ import annotations

import asyncio
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvloop

from operations.bench import pay_in
from operations.bench.ledger import Progress
from operations.bench.pay_in import BookedOrders, Load, PayInPlan
from operations.bench.recon import Measured, own_place, rooms, whole
from operations.bench.settlement_files import LargeFile, expect, make
from operations.stack.running import StackStatus
from topics.settings import Settings


@dataclass(frozen=True, slots=True)
class BesidePlan:
    seconds: float = 30  # of each phase
    turns: int = 3  # of pay-in alone, then beside a file
    lines: int = 300_000  # of each file: more than are folded within a phase
    workers: int = 1  # as `tally up` has
    seed: int = 1


def run(settings: Settings, status: StackStatus, plan: BesidePlan, progress: Progress) -> dict[str, Any]:
    """→ the figures, keys as `tally bench recon --pay-in --json` prints them."""
    with own_place(settings, plan.workers, progress) as own:
        progress("files")
        files = [make(own.home, plan.seed, number, plan.lines) for number in range(1, plan.turns + 1)]
        for file in files:
            progress(f"what is expected of {file.lines} lines")
            expect(own, file)
        return uvloop.run(_measure(settings, own, status, files, plan, progress))


async def _measure(
    settings: Settings, own: Settings, status: StackStatus, files: list[LargeFile], plan: BesidePlan, progress: Progress
) -> dict[str, Any]:
    load, booked = Load(status, plan.seed), BookedOrders(settings)
    booked.start()
    phase = PayInPlan(history_orders=0, measure_s=plan.seconds)
    alone, beside, late = list[float](), list[float](), list[Measured]()
    with ThreadPoolExecutor(1) as thread, rooms(own, plan.workers) as processes:
        for file in files:
            alone.append(await _orders_per_s(load, booked, phase, status, "pay-in alone", progress))
            going = asyncio.get_running_loop().run_in_executor(thread, whole, own, [file], processes, progress)
            beside.append(await _orders_per_s(load, booked, phase, status, "pay-in beside a file", progress))
            progress("the rest of the file")
            late.append(await going)
    booked.stop()
    return {
        "pay_in_ratio": round(statistics.median(b / a for a, b in zip(alone, beside, strict=True)), 3),
        "pay_in_orders_per_s": [round(rate, 1) for rate in alone],
        "pay_in_orders_per_s_beside": [round(rate, 1) for rate in beside],
        "file_lag_s": [round(each.seconds, 1) for each in late],  # from stored to booked
        "lines": plan.lines,
    }


async def _orders_per_s(
    load: Load, booked: BookedOrders, phase: PayInPlan, status: StackStatus, what: str, progress: Progress
) -> float:
    found = await pay_in._throughput(load, booked, phase, status, partial(_tell, progress, what))
    await pay_in.settle(load)
    return float(found["orders_per_s"])


def _tell(progress: Progress, what: str, _: str, share: float) -> None:
    if not share:
        progress(what)

"""The whole system under load, hurt at random in every way there is: killed, paused, cut off, told twice. Nothing changes.

`make test` has a slice of it; `make chaos` runs it for ten minutes, or for `--chaos-minutes`.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from operations.stack import kafka, postgres
from tests.chaos.arena import SERVERS, Arena, arena
from tests.chaos.faults import without_end
from tests.chaos.money_back import MoneyBack
from tests.chaos.payouts import PayingOut
from tests.journey.books import unfinished
from tests.journey.mischief import Copier
from tests.journey.proof import prove
from tests.journey.shopping import Checkout, checkouts
from tests.stack import quick_servers
from tests.stack.memory import quick_folder

LIMIT_S = 240.0
BUYERS = 12
SLICE_S, SLICE_PER_S, SLICE_GAP_S = 18.0, 3.5, 0.5  # each fault that there is, once
ROUND_S, ROUND_GAP_S = 75.0, 1.6  # of a long run: so long under faults, then all is brought to its end
EVERYTHING = {"capture", "void", "refund", "reverse", "disputes"}
SKIP_EVERY_S, SKIP_S = 2.0, 300.0

Beside = Sequence[MoneyBack | PayingOut]  # what is done beside the checkouts


@pytest.fixture
def seed() -> int:
    return int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**6)))


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> Iterator[Arena]:
    monkeypatch.setattr(kafka, "properties", quick_servers.properties)
    monkeypatch.setattr(postgres, "SETTINGS", quick_servers.POSTGRES)
    with quick_folder() as folder, arena(folder / "home") as found:
        yield found


@pytest.mark.timeout(0)
def test_whatever_happens_at_random_changes_nothing(whole: Arena, seed: int, pytestconfig: pytest.Config) -> None:
    minutes, per_s = pytestconfig.getoption("--chaos-minutes"), pytestconfig.getoption("--chaos-checkouts-per-s")
    print(f"CHAOS_SEED={seed}", flush=True)
    copier = Copier(whole.settings, seed)
    copier.start()
    back = MoneyBack(whole.settings, whole.till, random.Random(seed))
    out = PayingOut(whole.settings, whole.till, random.Random(seed))
    out.register()
    if minutes:
        asked, drains_s = long_run(whole, seed, minutes * 60, per_s, (back, out))
    else:
        asked = checkouts(seed, round(SLICE_S * SLICE_PER_S), of_each_fault=1)
        drains_s = [one_round(whole, random.Random(seed), asked, asked, SLICE_S, SLICE_GAP_S, (back, out))]
    back.tell_again()
    out.register()  # nobody is frozen any more
    copier.finish()
    drain(whole, asked, (back, out))

    more = {"drain_s_max": round(max(drains_s), 1), "rounds": len(drains_s), **back.done, **out.done}
    prove(whole.settings, whole.till, asked, copier, seed, whole.faults, more)
    assert whole.ended_by_itself == []
    assert not minutes or set(back.done) >= EVERYTHING, "of all that goes back something went back"
    assert servers_killed(whole)
    assert out.sent_twice() == []


def long_run(
    whole: Arena, seed: int, seconds: float, per_s: float, beside: Beside
) -> tuple[list[Checkout], list[float]]:
    """Round after round until the time is over. → what was asked for, how long each round's rest took to end"""
    chance = random.Random(seed)
    a_round = round(ROUND_S * per_s)
    everything = checkouts(seed, a_round * (1 + round(seconds / ROUND_S)), of_each_fault=round(seconds / 60))
    asked: list[Checkout] = []
    drains_s: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end and len(asked) < len(everything):
        new = everything[len(asked) : len(asked) + a_round]
        asked += new
        drains_s.append(one_round(whole, chance, new, asked, ROUND_S, ROUND_GAP_S, beside))
        told = {"round": len(drains_s), "payments": len(asked), "faults": whole.faults.total()}
        print(json.dumps({**told, "drain_s": round(drains_s[-1], 1)}), flush=True)
    return asked, drains_s


def one_round(
    whole: Arena,
    chance: random.Random,
    new: Sequence[Checkout],
    asked: Sequence[Checkout],
    seconds: float,
    gap_s: float,
    beside: Beside,
) -> float:
    """Offer these evenly while fault follows fault; then no more of either. → seconds until all is done"""
    faults = without_end(chance, whole.names)
    offered: list[Future[None]] = []
    steps: list[Future[None]] = []
    with ThreadPoolExecutor(BUYERS) as pool:
        started = time.monotonic()
        next_s, next_steps_s = 1.0, [0.0 for _ in beside]
        while (passed := time.monotonic() - started) < seconds or (passed < 3 * seconds and not servers_killed(whole)):
            offered += whole.till.offer(new[len(offered) : round(min(1.0, passed / seconds) * len(new))], pool)
            if passed >= next_s:
                whole.strike(next(faults), chance)
                next_s = passed + chance.uniform(0.4, 1.6) * gap_s
            for place, each in enumerate(beside):
                if passed >= next_steps_s[place]:
                    steps.append(pool.submit(each.step))
                    next_steps_s[place] += each.every_s
            whole.keep()
            time.sleep(0.02)
        whole.calm()
        calm_at = time.monotonic()
        offered += whole.till.offer(new[len(offered) :], pool)
        whole.wait_until(lambda: [] if all(one.done() for one in [*offered, *steps]) else ["requests"], LIMIT_S)
    for one in [*offered, *steps]:
        one.result()
    drain(whole, asked)
    return time.monotonic() - calm_at


def servers_killed(whole: Arena) -> bool:
    """On a slow machine this takes longer than a slice."""
    return all(whole.faults[f"kill: {name}"] for name in SERVERS)


def drain(whole: Arena, asked: Sequence[Checkout], beside: Beside = ()) -> None:
    """Until nothing is left to do. Nobody sits out the ten minutes between two askings: the clock jumps over them."""
    skip_at = time.monotonic() + SKIP_EVERY_S

    def left() -> list[str]:
        nonlocal skip_at
        if time.monotonic() >= skip_at:
            whole.move_clock(SKIP_S)
            skip_at = time.monotonic() + SKIP_EVERY_S
        return unfinished(whole.settings, asked) or [line for each in beside for line in each.differs()]

    whole.wait_until(left, LIMIT_S)

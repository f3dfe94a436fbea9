"""The whole system under load, its processes killed at every step of a batch and of a call: nothing changes."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from operations.stack import layout
from tests.journey.books import unfinished
from tests.journey.mischief import Copier
from tests.journey.proof import prove
from tests.journey.shopping import Checkout, checkouts
from tests.journey.till import BUYERS_AT_ONCE
from tests.journey.whole import COPIES, Whole, hurried, running, settings_for
from topics.runtime.shape.failpoints import NAMES
from topics.settings import Settings

LIMIT_S = 120.0
CHECKOUTS_MIN, CHECKOUTS_MAX = 48, 600
PAUSE_S = 0.25  # between two checkouts
# Without what no payment passes: it has tests of its own.
HIT = tuple(name for name in NAMES if not name.startswith(("file.", "bank_file.")))
PROCESSES = tuple(
    f"{'-'.join(rooms)}-{number}"
    for rooms in layout.ROOM_PROCESSES
    if rooms != ("settlements",)
    for number in range(1, COPIES + 1)
)
SENDERS = tuple(name for name in PROCESSES if name.startswith("executor-"))
AT_THE_DOOR = ("after_commit", "before_publish")


@pytest.fixture
def seed() -> int:
    return int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**6)))


@pytest.fixture
def whole(make_stack: Callable[..., Settings], seed: int) -> Iterator[Whole]:
    with running(settings_for(make_stack), planned(random.Random(seed))) as whole:
        yield whole


def planned(chance: random.Random) -> Mapping[str, list[str]]:
    """Each name once, on some process that passes it; the first or second time that it is passed."""
    plan: dict[str, list[str]] = {name: [] for name in PROCESSES}
    calls = [name for name in HIT if name.startswith("call.")]
    steps = [name for name in HIT if name not in calls]
    chance.shuffle(steps)
    for name in calls:
        plan[min(SENDERS, key=lambda process: len(plan[process]))].append(_at(name, chance))
    for name in steps:
        plan[min(PROCESSES, key=lambda process: len(plan[process]))].append(_at(name, chance))
    return plan | {"api": [_at(name, chance) for name in AT_THE_DOOR]}


def _at(name: str, chance: random.Random) -> str:
    return f"{name}=kill:{chance.randint(1, 2)}"


def test_a_kill_at_any_step_changes_nothing(whole: Whole, seed: int) -> None:
    print(f"CHAOS_SEED={seed}")
    copier = Copier(whole.settings, seed)
    copier.start()
    asked = offer_until_all_are_hit(whole, seed)
    left = hurried(whole.settings, lambda: unfinished(whole.settings, asked))
    whole.wait_until(left, LIMIT_S)
    copier.finish()
    whole.wait_until(left, LIMIT_S)

    hit = Counter(point.partition("=")[0] for _, point in whole.killed)
    prove(whole.settings, whole.till, asked, copier, seed, hit)
    assert set(hit) == set(HIT), "every named point was reached, and killed"


def offer_until_all_are_hit(whole: Whole, seed: int) -> list[Checkout]:
    """Steady load until every process has died at every point planned for it. → what was asked for."""
    asked: list[Checkout] = []
    offered: list[Future[None]] = []
    with ThreadPoolExecutor(BUYERS_AT_ONCE) as pool, ExitStack() as stopped:
        for checkout in checkouts(seed, CHECKOUTS_MAX, of_each_fault=4):
            if len(asked) >= CHECKOUTS_MIN and not armed(whole):
                break
            if len(asked) == CHECKOUTS_MAX // 3:
                stop_twins(whole, stopped)
            asked.append(checkout)
            offered += whole.till.offer([checkout], pool)
            whole.go_on_for(PAUSE_S)
        stopped.close()
        whole.wait_until(lambda: [] if all(one.done() for one in offered) else ["requests"], LIMIT_S)
    for one in offered:
        one.result()
    assert not armed(whole), f"never reached: {armed(whole)}"
    return asked


def stop_twins(whole: Whole, stopped: ExitStack) -> None:
    """A process may have got partitions alone on which nothing comes. With its twin stopped past the session it gets all."""
    left = armed(whole)
    for name, watched in whole.rooms.items():
        if name not in left and any(name[:-1] == other[:-1] for other in left):
            os.kill(watched.child.pid, signal.SIGSTOP)
            stopped.callback(os.kill, watched.child.pid, signal.SIGCONT)


def armed(whole: Whole) -> dict[str, list[str]]:
    """Where processes are still to die."""
    now = {
        name: [w.command.environment["TALLY_FAILPOINTS"], *whole.failpoints.get(name, [])]
        for name, w in whole.rooms.items()
    }
    return {name: points for name, points in now.items() if points[0]}

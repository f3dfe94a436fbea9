"""`tally up` under load, anything of it killed at any moment, Kafka and PostgreSQL included: nothing changes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from operations.stack.home import Home
from operations.stack.layout import TALLY
from operations.stack.running import current_settings, stack_status
from tests.journey.books import unfinished
from tests.journey.mischief import Copier
from tests.journey.proof import prove
from tests.journey.shopping import Checkout, checkouts
from tests.journey.till import BUYERS_AT_ONCE, Till
from tests.journey.whole import wait_until, why
from topics.settings import Settings

LIMIT_S = 120.0
CHECKOUTS = 80
KILLS_S = 22.0
SERVERS = ("kafka", "postgres")


@pytest.fixture
def seed() -> int:
    return int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**6)))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A stack under its own supervisor, two processes for each group of rooms."""
    home = Home(tmp_path / "home")
    came_up = tally(home, "up", "--detach", "--processes", "2")
    assert came_up.returncode == 0, came_up.stderr
    yield home
    assert tally(home, "down", "--purge").returncode == 0


def tally(home: Home, *words: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
    command = [sys.executable, str(TALLY), *words]
    environment = {**inherited, "TALLY_HOME": str(home.path)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)


def test_kills_at_random_change_nothing(home: Home, seed: int) -> None:
    print(f"CHAOS_SEED={seed}")
    settings, status = current_settings(home=home.path), stack_status(home)
    till = Till(str(status.api_url), str(status.api_key))
    asked = checkouts(seed, CHECKOUTS, of_each_fault=1)
    copier = Copier(settings, seed)
    copier.start()
    with ThreadPoolExecutor(BUYERS_AT_ONCE) as pool:
        offered: list[Future[None]] = []
        killed = kill_at_random(home, random.Random(seed), lambda share: offer(till, pool, asked, offered, share))
        wait(home, settings, lambda: [] if all(one.done() for one in offered) else ["requests"])
    for one in offered:
        one.result()
    wait(home, settings, lambda: unfinished(settings, asked))
    copier.finish()
    wait(home, settings, lambda: unfinished(settings, asked))

    prove(settings, till, asked, copier, seed, killed)
    assert all(killed[name] for name in SERVERS)
    wait(
        home, settings, lambda: [f"{p.name} is {p.state}" for p in stack_status(home).processes if p.state != "running"]
    )


def offer(
    till: Till, pool: ThreadPoolExecutor, asked: Sequence[Checkout], offered: list[Future[None]], share: float
) -> None:
    """So much of the whole has been offered by now."""
    offered += till.offer(asked[len(offered) : round(share * len(asked))], pool)


def kill_at_random(home: Home, chance: random.Random, meanwhile: Callable[[float], None]) -> Counter[str]:
    """kill -9, every second or two, of whatever stands next in a shuffled line. → how often what was killed."""
    names = [process.name for process in stack_status(home).processes]
    line = chance.sample(names, len(names)) + chance.sample(names, len(names))
    killed: Counter[str] = Counter()
    started = time.monotonic()
    next_s = chance.uniform(1, 2)
    while (passed := time.monotonic() - started) < KILLS_S:
        meanwhile(passed / KILLS_S)
        if passed >= next_s and line:
            killed.update(kill(home, line.pop(0)))
            next_s = passed + chance.uniform(0.7, 2)
        time.sleep(0.05)
    meanwhile(1)
    return killed


def kill(home: Home, name: str) -> list[str]:
    """Nothing, where it is down at the moment."""
    for process in stack_status(home).processes:
        if process.name == name and process.state != "down":
            os.kill(process.pid, signal.SIGKILL)
            return [name]
    return []


def wait(home: Home, settings: Settings, left: Callable[[], Sequence[str]]) -> None:
    wait_until(left, LIMIT_S, keep=lambda: None, because=lambda: "\n".join([*states(home), why(settings, home)]))


def states(home: Home) -> list[str]:
    return [f"{p.name} {p.state} {p.restarts} {p.reason or ''}" for p in stack_status(home).processes]

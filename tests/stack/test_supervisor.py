"""Small commands → the supervisor: what dies starts again, and nothing outlives its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from operations.stack.process import Command
from operations.stack.supervisor import BACKOFF_S_MAX, StartError, Supervisor

LIMIT_S = 20.0


def eventually(true: Callable[[], bool], supervisor: Supervisor | None = None) -> None:
    end = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < end, "did not come true in time"
        if supervisor:
            supervisor.tick()
        time.sleep(0.02)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor()
    yield supervisor
    supervisor.stop()


def sleeper(folder: Path, name: str = "sleeper", **more: object) -> Command:
    return Command(name, ["sleep", "1000"], folder / f"{name}.log", **more)  # type: ignore[arg-type]


def test_what_is_killed_starts_again_and_is_counted(supervisor: Supervisor, tmp_path: Path) -> None:
    watched = supervisor.add(sleeper(tmp_path))
    first = watched.child.pid
    os.kill(first, signal.SIGKILL)
    eventually(lambda: watched.alive and watched.child.pid != first, supervisor)
    assert watched.restarts == 1


def test_what_dies_at_once_is_started_ever_more_slowly_but_within_ten_seconds(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    watched = supervisor.add(Command("broken", ["false"], tmp_path / "broken.log"))
    pauses = set()

    def paused_twice() -> bool:
        pauses.add(watched.backoff_s)
        return watched.restarts >= 2

    eventually(paused_twice, supervisor)
    assert sorted(pauses)[-1] > sorted(pauses)[0]
    watched.backoff_s = 1000.0
    eventually(lambda: watched.backoff_s <= BACKOFF_S_MAX, supervisor)


def test_stopping_ends_even_what_will_not_listen(supervisor: Supervisor, tmp_path: Path) -> None:
    script = "trap '' TERM; echo deaf; while :; do sleep 0.1; done"
    deaf = Command("deaf", ["sh", "-c", script], tmp_path / "deaf.log", stop_timeout_s=0.2)
    watched = supervisor.add(deaf)
    eventually(lambda: "deaf" in deaf.log.read_text())
    supervisor.stop()
    assert watched.child.returncode == -signal.SIGKILL


def test_waiting_in_vain_shows_the_end_of_the_log(supervisor: Supervisor, tmp_path: Path) -> None:
    command = Command("talker", ["sh", "-c", "echo no such port; sleep 1000"], tmp_path / "talker.log")
    watched = supervisor.add(command)
    eventually(lambda: command.log.read_text() != "")
    with pytest.raises(StartError, match="no such port"):
        supervisor.wait_until(lambda: False, "talker", [watched], 0.0)


def test_a_child_gets_no_setting_that_was_not_meant_for_it(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALLY_POSTGRES_ADMIN", "postgresql://superuser")
    told = Command("told", ["sh", "-c", "env; sleep 1000"], tmp_path / "told.log", {"TALLY_KAFKA": "here:1"})
    supervisor.add(told)
    eventually(lambda: "TALLY_KAFKA=here:1" in told.log.read_text())
    assert "superuser" not in told.log.read_text()


OWNER = """
import sys, time
from pathlib import Path
from operations.stack.process import Command
from operations.stack.supervisor import Supervisor
supervisor = Supervisor()
for name in "ab":
    supervisor.add(Command(name, ["sleep", "1000"], Path(sys.argv[1]) / name))
print(*(watched.child.pid for watched in supervisor.watched), flush=True)
time.sleep(1000)
"""


def test_nothing_outlives_an_owner_that_is_killed(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    children = [psutil.Process(int(pid)) for pid in owner.stdout.readline().split()]
    owner.kill()
    owner.wait()
    eventually(lambda: not any(is_alive(child) for child in children))


def is_alive(process: psutil.Process) -> bool:
    """A zombie has ended; who inherits it may be slow to notice."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE

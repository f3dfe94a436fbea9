"""Commands → running processes: whatever dies is started again, and all end together."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from operations.stack.home import StackError
from operations.stack.process import Command, ask_to_stop, last_lines, start, wait_or_kill

BACKOFF_S_MIN = 0.25
BACKOFF_S_MAX = 10.0
STEADY_S = 20.0  # having run this long, a process starts afresh without backoff
POLL_S = 0.1


class StartError(StackError):
    """A process did not become ready in time; the message holds the end of its log."""


@dataclass
class Watched:
    """One command and its process of the moment."""

    command: Command
    child: subprocess.Popen[bytes]
    started: float  # monotonic, seconds
    restarts: int = 0
    backoff_s: float = BACKOFF_S_MIN
    due: float | None = None  # when to restart it, while it is down

    @property
    def alive(self) -> bool:
        return self.due is None


class Supervisor:
    """Holds child processes. Every method belongs on the main thread: the kernel ties a child to its thread."""

    def __init__(self) -> None:
        self.watched: list[Watched] = []

    def add(self, command: Command) -> Watched:
        watched = Watched(command, start(command), time.monotonic())
        self.watched.append(watched)
        return watched

    def tick(self) -> bool:
        """Notice the dead and start those that are due. Returns whether anything changed."""
        changes = [self._revive(watched) for watched in self.watched]
        return any(changes)

    def _revive(self, watched: Watched) -> bool:
        now = time.monotonic()
        if watched.due is None and watched.child.poll() is not None:
            steady = now - watched.started > STEADY_S
            watched.backoff_s = BACKOFF_S_MIN if steady else min(watched.backoff_s * 2, BACKOFF_S_MAX)
            watched.due = now + watched.backoff_s
            return True
        if watched.due is not None and now >= watched.due:
            watched.child = start(watched.command)
            watched.started, watched.due = now, None
            watched.restarts += 1
            return True
        return False

    def wait_until(
        self, ready: Callable[[], bool], what: str, logs: Sequence[Watched], timeout_s: float, poll_s: float = POLL_S
    ) -> None:
        """Keep everything alive until `ready()`. Errors: StartError, with the end of the given processes' logs."""
        end = time.monotonic() + timeout_s
        while not ready():
            if time.monotonic() > end:
                raise StartError(failure_reason(what, logs, timeout_s))
            self.tick()
            time.sleep(poll_s)

    def stop(self, names: Callable[[str], bool] = lambda name: True) -> None:
        """End those processes together: ask all, then wait for each."""
        going = [watched for watched in self.watched if names(watched.command.name)]
        self.watched = [watched for watched in self.watched if watched not in going]
        for watched in going:
            ask_to_stop(watched.command, watched.child)
        for watched in going:
            wait_or_kill(watched.command, watched.child)


def failure_reason(what: str, logs: Sequence[Watched], timeout_s: float) -> str:
    ends = [f"{watched.command.log} ends:\n{last_lines(watched.command.log)}" for watched in logs]
    return "\n".join([f"{what} not ready after {timeout_s:.0f} s", *ends])

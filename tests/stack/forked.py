"""Work → a child of a process that has read all modules: reading them takes each process a second of a processor or two.

For tests that start processes by the dozen, and kill them. `tests/stack/test_up.py` has them started as an operator does.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

from operations.stack import process, supervisor
from operations.stack.layout import TALLY
from operations.stack.process import Command
from topics import catalog
from topics.runtime.shape import failpoints

ROOMS = [f"{room.migrations}.consumer" for room in catalog.CONSUMERS]
OURS = ["tests.contract.calls_running", "tests.contract.files_running", "tests.contract.probe_process", __name__]
PR_SET_PDEATHSIG = 1

SERVER = get_context("forkserver")  # its children have read these modules, and have no thread
SERVER.set_forkserver_preload(
    [*ROOMS, "operations.stack.host", "producers.api", "reconciliation.host", "simulator.__main__", *OURS]
)


class Forked:
    """A child, asked as one asks `subprocess.Popen`."""

    def __init__(self, child: BaseProcess) -> None:
        assert child.pid is not None
        self.pid = child.pid
        self._child = child

    def poll(self) -> int | None:
        ended, _, _ = select.select([self._child.sentinel], [], [], 0)  # `exitcode` takes much longer to say no
        return self._child.exitcode if ended else None

    def wait(self, timeout: float | None = None) -> int:
        self._child.join(timeout)
        status = self._child.exitcode
        if status is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        return status

    def send_signal(self, signum: int) -> None:
        with suppress(ProcessLookupError):  # it has ended, and the server is about to say so
            if self.poll() is None:
                os.kill(self.pid, signum)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def fork(log: Path, environment: Mapping[str, str], work: Callable[..., object], *given: object) -> Forked:
    """`work(*given)` in a process of its own, with these variables and ours of no other kind."""
    variables = {**process.outside_settings(), **environment}
    child = SERVER.Process(target=_run, args=(str(log), variables, work, given), daemon=True)
    child.start()
    return Forked(child)


def _run(log: str, variables: dict[str, str], work: Callable[..., object], given: Sequence[object]) -> None:
    """In the child, which gets what `operations.stack.process.start` gives a process."""
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666), 1)
    os.dup2(1, 2)
    os.environ.clear()
    os.environ.update(variables)
    failpoints._plan.update(failpoints._read(os.environ.get("TALLY_FAILPOINTS", "")))
    work(*given)


@contextmanager
def forking() -> Iterator[None]:
    """Supervisors fork rooms, the API and the simulator until the block ends; servers start as ever."""
    with patch.object(supervisor, "start", start):
        yield


def start(command: Command) -> Any:
    """As `operations.stack.process.start`."""
    of_ours = command.argv[1] == str(TALLY) or tuple(command.argv[1:3]) == ("-m", "simulator")
    if not of_ours:
        return process.start(command)
    command.prepare()
    process.rotate(command.log)
    return fork(command.log, command.environment, _command, *command.argv[1:])


def _command(*argv: str) -> None:
    """As `python argv…` runs it."""
    if argv[0] == str(TALLY):
        from operations.cli.main import main

        sys.argv = list(argv)
    else:
        from simulator.__main__ import main

        sys.argv = list(argv[1:])
    main()

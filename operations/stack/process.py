"""A command line → a child process that cannot outlive its owner."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LOG_BYTES_MAX = 20_000_000


def nothing_to_prepare() -> None:
    """Most processes just start."""


@dataclass(frozen=True)
class Command:
    """How to start one process and how to end it."""

    name: str
    argv: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None  # its working folder; else ours
    prepare: Callable[[], None] = nothing_to_prepare  # done before each start
    before: Sequence[str] = ()  # a prefix that changes the user and execs the rest
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL  # sent by the kernel when the owner dies
    stop_timeout_s: float = 15.0


# The owner may have died before prctl was called; then the parent has changed.
_STAY_WITH_PARENT = '[ "$PPID" = "$0" ] || exit 1; exec "$@"'


def tied_to_parent(argv: Sequence[str], death_signal: signal.Signals) -> list[str]:
    """The command, wrapped so that the kernel signals its process when the *thread* that started it ends."""
    bound = ["setpriv", "--pdeathsig", death_signal.name.removeprefix("SIG"), "--"]
    return [*bound, "sh", "-c", _STAY_WITH_PARENT, str(os.getpid()), *argv]


def start(command: Command) -> subprocess.Popen[bytes]:
    """Start the command in its own session, so that Ctrl-C reaches only the owner. Call from the main thread.

    The kernel forgets the death signal when the child changes its user: so setpriv comes after whatever is in `before`.
    """
    command.prepare()
    rotate(command.log)
    with command.log.open("ab") as log:
        return subprocess.Popen(
            [*command.before, *tied_to_parent(command.argv, command.death_signal)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=command.folder,
            env={**outside_settings(), **command.environment},
            start_new_session=True,
        )


def outside_settings() -> dict[str, str]:
    """This process's environment without our settings: a child gets those that its command names, and no more."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}


def stop(command: Command, child: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, wait, then kill it."""
    ask_to_stop(command, child)
    wait_or_kill(command, child)


def ask_to_stop(command: Command, child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.send_signal(command.stop_signal)


def wait_or_kill(command: Command, child: subprocess.Popen[bytes]) -> None:
    try:
        child.wait(command.stop_timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def rotate(log: Path) -> None:
    """Keep one older log beside a long one."""
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_suffix(".old.log"))


def last_lines(log: Path, count: int = 5) -> str:
    """The end of a log, for the message that says why a process would not start."""
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])
    except OSError:
        return ""

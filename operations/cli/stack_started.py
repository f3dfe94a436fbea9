"""`tally up` and `tally down` on the terminal: bars while the stack starts, a box when it is ready."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from operations.cli.stack_shown import box
from operations.cli.tables import console, spinner, working
from operations.cli.terminal import note
from operations.stack import up
from operations.stack.home import Home, StackError
from operations.stack.layout import TALLY
from operations.stack.process import last_lines
from operations.stack.running import StackStatus, is_held, stack_status
from operations.stack.servers import AlreadyRunning, ExistingServers, Interrupted, Report
from topics.settings import Settings, SettingsError

DOWN_TIMEOUT_S = 60.0
DETACHED_TIMEOUT_S = 600.0  # the first time, jars are fetched


class DetachedError(StackError):
    """The detached supervisor ended before the stack was ready."""


def existing_servers(settings: Settings, kafka: str | None, postgres: str | None) -> ExistingServers:
    """What --kafka and --postgres say. Errors: SettingsError."""
    if kafka is not None and not is_address(kafka):
        raise SettingsError(f"--kafka: not host:port (got {kafka!r})")
    if postgres is None:
        return ExistingServers(kafka)
    if postgres.startswith(("postgresql://", "postgres://")):
        parts = urlsplit(postgres)
        return ExistingServers(kafka, f"{parts.hostname}:{parts.port or 5432}", postgres)
    if not is_address(postgres):
        raise SettingsError("--postgres: neither a postgresql:// address nor host:port")
    if not settings.postgres_admin:
        raise SettingsError("TALLY_POSTGRES_ADMIN: --postgres host:port needs the DSN of a role that may create roles")
    return ExistingServers(kafka, postgres, settings.postgres_admin)


def is_address(text: str) -> bool:
    return all(host and port.isdigit() for host, _, port in (part.rpartition(":") for part in text.split(",")))


def up_in_foreground(settings: Settings, existing: ExistingServers, copies: int) -> None:
    """Run until Ctrl-C, SIGTERM or `tally down`."""
    home = Home(settings.home)
    try:
        with bars() as (progress, finish):

            def ready() -> None:
                finish()
                box(stack_status(home), settings)
                note("Ctrl-C ends it all.")

            up.run_stack(up.Stack(settings, existing, copies, progress), ready)
    except Interrupted:
        note("Every process of the stack has ended.")
    except AlreadyRunning:
        already_up(home, settings)


def up_detached(settings: Settings, existing: ExistingServers, copies: int) -> None:
    """Start a supervisor of its own session, and come back when the stack is ready. Errors: DetachedError."""
    home = Home(settings.home)
    home.prepare()
    if is_held(home):
        already_up(home, settings)
        return
    log = home.logs / "up.log"
    arguments = ["up", "--processes", str(copies)]
    arguments += ["--kafka", existing.kafka] if existing.kafka else []
    arguments += ["--postgres", existing.postgres] if existing.postgres else []
    own = {"TALLY_POSTGRES_ADMIN": existing.postgres_admin} if existing.postgres_admin else {}
    with log.open("wb") as file:
        child = subprocess.Popen(
            [sys.executable, str(TALLY), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TALLY_HOME": str(settings.home), **own},
            start_new_session=True,
        )
    with working(f"Starting; {log} has its progress"):
        found = await_ready(child, home, log)
    box(found, settings)


def await_ready(child: subprocess.Popen[bytes], home: Home, log: Path) -> StackStatus:
    end = time.monotonic() + DETACHED_TIMEOUT_S
    while child.poll() is None and time.monotonic() < end:
        found = stack_status(home)
        if found.ready or (found.processes and has_settled(found)):
            return found
        time.sleep(0.2)
    raise DetachedError(f"the stack did not come up; {log} ends:\n{last_lines(log, 12)}")


def has_settled(found: StackStatus) -> bool:
    """Whether all rooms run or have stopped: a stopped room waits for an operator."""
    states = {process.state for process in found.processes}
    return "stopped" in states and states <= {"stopped", "running"} and any(p.name == "api" for p in found.processes)


def already_up(home: Home, settings: Settings) -> None:
    found = stack_status(home)
    note("The stack is already up." if found.ready else "The stack is up, but not ready (yet): `tally status`.")
    if found.ready:
        box(found, settings)


def down(settings: Settings, purge: bool) -> None:
    home = Home(settings.home)
    with working("Ending every process of the stack"):
        ended = up.down(home, DOWN_TIMEOUT_S)
    note("Every process of the stack has ended." if ended else "The stack is not up.")
    if purge:
        note(f"{home.path} is deleted." if home.purge() else f"There is no data in {home.path}.")


@contextmanager
def bars() -> Iterator[tuple[Report, Callable[[], None]]]:
    """A progress reporter, and a function that removes the bars. Plain lines if stderr is no terminal."""
    shown_on = console(stderr=True)
    if not shown_on.is_terminal:
        yield plain_lines(), lambda: None
        return
    columns = (
        SpinnerColumn(spinner(shown_on)),
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=shown_on, transient=True) as shown:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(what, total=of)
            shown.update(tasks[what], completed=done, total=of)

        yield report, shown.stop


def plain_lines() -> Report:
    said: set[str] = set()

    def report(what: str, done: int, of: int) -> None:
        if done == of and what not in said:
            said.add(what)
            note(f"{what}: ready")

    return report

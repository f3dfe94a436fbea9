"""The stack's doings → what a person sees: bars while it starts, a box when it is there, tables afterwards."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from operations.cli.tables import Table, console, spinner, working
from operations.cli.terminal import note, say, visible
from operations.stack import up
from operations.stack.doctor import Finding
from operations.stack.home import Home, StackError
from operations.stack.layout import TALLY
from operations.stack.process import last_lines
from operations.stack.running import StackStatus, holder_process, is_held, stack_status
from operations.stack.servers import AlreadyRunning, Existing, Interrupted, Report
from topics.settings import Settings, SettingsError

DOWN_TIMEOUT_S = 60.0
DETACHED_TIMEOUT_S = 600.0  # the first time, jars are fetched

FRAME_WIDTH = 21  # of the box, its labels and the room between
WIDTH_PIPED = 100  # of the box where no screen has a width of its own


class DetachedError(StackError):
    """The detached supervisor ended before the stack was ready."""


def existing_servers(settings: Settings, kafka: str | None, postgres: str | None) -> Existing:
    """What --kafka and --postgres say. Errors: SettingsError."""
    if kafka is not None and not is_address(kafka):
        raise SettingsError(f"--kafka: not host:port (got {kafka!r})")
    if postgres is None:
        return Existing(kafka)
    if postgres.startswith(("postgresql://", "postgres://")):
        parts = urlsplit(postgres)
        return Existing(kafka, f"{parts.hostname}:{parts.port or 5432}", postgres)
    if not is_address(postgres):
        raise SettingsError("--postgres: neither a postgresql:// address nor host:port")
    if not settings.postgres_admin:
        raise SettingsError("TALLY_POSTGRES_ADMIN: --postgres host:port needs the DSN of a role that may create roles")
    return Existing(kafka, postgres, settings.postgres_admin)


def is_address(text: str) -> bool:
    return all(host and port.isdigit() for host, _, port in (part.rpartition(":") for part in text.split(",")))


def up_in_foreground(settings: Settings, existing: Existing, copies: int) -> None:
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


def up_detached(settings: Settings, existing: Existing, copies: int) -> None:
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
    with working(f"Starting; {log} tells how far it is"):
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
    """A room that waits for an operator is as up as it will get."""
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
    """A reporter of progress, and what takes the bars away. Where nobody watches, plain lines."""
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


def box(found: StackStatus, settings: Settings) -> None:
    """Where everything is, and what to try. Commands too wide for the box stand below it: a fold cannot be pasted."""
    tries = [f"{command_here(settings)} {words}" for words in ("pay --orders 3 --watch", "status", "verify")]
    on = console(width=None if sys.stdout.isatty() else WIDTH_PIPED)
    fit = len(tries[0]) <= on.width - FRAME_WIDTH
    rows = Table.grid(padding=(0, 2))
    for name, value in (*places(found, settings), *((("", ""), *labelled("Try next", tries)) if fit else ())):
        rows.add_row(Text(name, "bold"), value)
    title = "Tallystick is ready" if found.ready else "Tallystick is up; `tally status` says why it is not ready"
    on.print(Panel(rows, title=title, expand=False))
    for name, value in () if fit else labelled("Try next", tries):
        say(f"{name:<10}{value}")


def places(found: StackStatus, settings: Settings) -> Iterator[tuple[str, str]]:
    yield "API", str(found.api_url)
    yield "API docs", f"{found.api_url}/docs"
    yield "API key", f"in {path_here(Home(settings.home).api_key)}"
    yield "Kafka", str(found.kafka)
    yield "PostgreSQL", f"{found.postgres}, database {settings.database}"
    yield "PSP simulator", str(found.simulator_url)
    yield "Data and logs", path_here(settings.home)


def labelled(label: str, lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The label stands before the first."""
    yield from zip([label, *[""] * (len(lines) - 1)], lines, strict=True)


def command_here(settings: Settings) -> str:
    """The command as it works in the shell that we were started from."""
    name = typed_here()
    at_home = settings.home == Path.cwd() / ".tally" or "TALLY_HOME" in os.environ
    return name if at_home else f"TALLY_HOME={shlex.quote(path_here(settings.home))} {name}"


def typed_here() -> str:
    """`tally` where the shell finds that; as `uvx` was given it, whose folder is uv's and may go; else by its path."""
    by_uv = "UV" in os.environ  # which puts the command on the PATH of its children alone
    if by_uv and any(part.startswith("archive-v") for part in TALLY.parts):
        return f"uvx --from {shlex.quote(installed_from())} tally"
    on_path = None if by_uv else shutil.which("tally")
    return "tally" if on_path and Path(on_path) == TALLY else shlex.quote(path_here(TALLY))


def installed_from() -> str:
    """The wheel or folder that this is installed from (PEP 610), else the name by which an index knows it."""
    told = json.loads(metadata.distribution("tallystick").read_text("direct_url.json") or "{}")
    url = urlsplit(str(told.get("url", "tallystick")))
    return path_here(Path(unquote(url.path))) if url.scheme == "file" else url.geturl()


def path_here(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def status(found: StackStatus, settings: Settings) -> None:
    """One line for each process."""
    if not found.processes:
        starting = holder_process(Home(settings.home)) is not None
        say("The stack is starting." if starting else f"The stack is not up. `{command_here(settings)} up` starts it.")
        return
    ready = "yes" if found.ready else "no"
    say(f"ready: {ready}   API {found.api_url}   Kafka {found.kafka}   PostgreSQL {found.postgres}")
    table = Table("process", "pid", "state", "restarts", "why")
    for process in found.processes:
        table.add_row(process.name, str(process.pid), process.state, str(process.restarts), process.reason or "")
    table.show()


def findings(found: Sequence[Finding]) -> None:
    for finding in found:
        mark = Text("ok    ", "green") if finding.ok else Text("not ok", "red")
        console().print(mark + visible(f"  {finding.name}: {finding.detail}"), soft_wrap=True)
        if not finding.ok:
            say(f"        → {finding.advice}")

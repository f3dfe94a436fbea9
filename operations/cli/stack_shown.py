"""The stack's state → what a person sees: a box when it is there, tables and lines afterwards."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rich.text import Text

from operations.cli.tables import Table, console
from operations.cli.terminal import say, visible
from operations.stack.doctor import Finding
from operations.stack.home import Home
from operations.stack.layout import TALLY
from operations.stack.running import StackStatus, holder_process
from topics.settings import Settings

FRAME_WIDTH = 21  # of the box, its labels and the room between
WIDTH_PIPED = 100  # of the box where no screen has a width of its own


def box(found: StackStatus, settings: Settings) -> None:
    """The addresses, and commands to try. Commands too wide for the box are printed below it: a folded one cannot be pasted."""
    from rich.panel import Panel

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
    """Pairs of label and line; the label is only before the first line."""
    yield from zip([label, *[""] * (len(lines) - 1)], lines, strict=True)


def command_here(settings: Settings) -> str:
    """The `tally` command as it works in the user's shell."""
    name = typed_here()
    at_home = settings.home == Path.cwd() / ".tally" or "TALLY_HOME" in os.environ
    return name if at_home else f"TALLY_HOME={shlex.quote(path_here(settings.home))} {name}"


def typed_here() -> str:
    """`tally` if it is on the PATH; the `uvx` command if uv runs it (its folder may vanish); else its path."""
    by_uv = "UV" in os.environ  # uv puts the command on the PATH of its children only
    if by_uv and any(part.startswith("archive-v") for part in TALLY.parts):
        return f"uvx --from {shlex.quote(installed_from())} tally"
    on_path = None if by_uv else shutil.which("tally")
    return "tally" if on_path and Path(on_path) == TALLY else shlex.quote(path_here(TALLY))


def installed_from() -> str:
    """The wheel or folder that this is installed from (PEP 610), else the name by which an index knows it."""
    origin = json.loads(metadata.distribution("tallystick").read_text("direct_url.json") or "{}")
    url = urlsplit(str(origin.get("url", "tallystick")))
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

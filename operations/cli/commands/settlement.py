"""`tally settlement …`: settlement files of PSPs and statements of banks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operations.cli.letters.choosing import failed, shell_user
from operations.cli.terminal import note, say, say_json

if TYPE_CHECKING:
    from producers.doors.settlement_files import StoredFile
    from topics.settings import Settings

app = typer.Typer(help="Settlement files of PSPs and statements of banks.", no_args_is_help=True)

Source = Annotated[str, typer.Option(metavar="NAME", help="The account that they are of, as the settings name it.")]
As = Annotated[
    str | None, typer.Option("--as", "--actor", metavar="NAME", help="Who you are; else the user of this shell.")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout")]


@app.command()
def ingest(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", exists=True, dir_okay=False, readable=True)],
    *,
    source: Source,
    name: As = None,
    as_json: AsJson = False,
) -> None:
    """Store files, each once: the same bytes again change nothing. Exits 1 if one is refused."""
    from operations.stack.running import current_settings

    settings, by = current_settings(), _operator(name)
    told = []
    for file in files:
        told.append(_ingest(settings, source, file, by))
        if not as_json:
            say(_line(told[-1]))
    if as_json:
        say_json({"files": told})
    if any("code" in one for one in told):
        raise typer.Exit(1)


@app.command()
def watch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, writable=True)],
    *,
    source: Source,
    name: As = None,
) -> None:
    """Store each file that comes into a folder, until Ctrl-C.

    A file is taken once it has not changed for five seconds. It is moved to DIR/done, or to DIR/refused beside a file
    NAME.reason that says why.
    """
    import psycopg

    from operations.cli.ingesting import WatchedFolder
    from operations.stack.running import current_settings
    from producers.doors.settlement_files import source_of
    from topics.runtime.shape.store import error_kind

    settings = current_settings()
    _refusing(lambda: source_of(settings, source))
    watched = WatchedFolder(settings, source, folder, _operator(name))
    note(f"{folder} is watched for files of {source}; Ctrl-C ends")
    while True:
        try:
            for taken in watched.look():
                say(_line(_told(taken.file, taken.stored) if taken.stored else _refused(taken.file, taken.why_not)))
        except psycopg.Error as error:
            if error_kind(error) != "away":
                raise
            note(f"the store is away: {str(error).strip()[:200]}")
        time.sleep(1)


def _ingest(settings: Settings, source: str, file: Path, by: str) -> dict[str, Any]:
    from operations.cli.bars import bytes_bar
    from operations.cli.ingesting import ingest
    from producers.problems import Problem

    with bytes_bar(file.name, file.stat().st_size) as moved:
        try:
            return _told(file, ingest(settings, source, file, by, moved))
        except Problem as problem:
            return _refused(file, problem.detail, problem.code)


def _told(file: Path, stored: StoredFile) -> dict[str, Any]:
    from producers.doors.settlement_files import shown

    return {"path": str(file), "replayed": stored.replayed, **shown(stored.row)}


def _refused(file: Path, why: str, code: str = "refused") -> dict[str, Any]:
    return {"path": str(file), "code": code, "detail": why}


def _line(one: dict[str, Any]) -> str:
    if "code" in one:
        return f"{one['path']}: refused: {one['detail']}"
    how = f"as before, since {one['received_at']:%Y-%m-%d %H:%M} UTC" if one["replayed"] else "stored"
    return f"{one['path']}: {how}: {one['source']} {one['file_id']}, {one['size']:,} bytes"


def _operator(name: str | None) -> str:
    return f"operator {shell_user() if name is None else name}"


def _refusing(work: Any) -> Any:
    """Errors: exits 1 with what the door says."""
    from producers.problems import Problem

    try:
        return work()
    except Problem as problem:
        raise failed(f"tally: {problem.detail}") from None

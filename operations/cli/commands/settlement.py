"""`tally settlement …`: settlement files of PSPs and statements of banks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operations.cli.letters.choosing import audit_note, checked_actor, failed, shell_user
from operations.cli.terminal import note, say, say_json

if TYPE_CHECKING:
    from producers.doors.settlement_decisions import Decided
    from producers.doors.settlement_files import StoredFile
    from topics.settings import Settings
    from topics.settlement_sources import SettlementSource

app = typer.Typer(help="Settlement files of PSPs and statements of banks.", no_args_is_help=True)

Source = Annotated[str, typer.Option(metavar="NAME", help="The account that they are of, as the settings name it.")]
OfSource = Annotated[
    str | None, typer.Option("--source", metavar="NAME", help="Where two accounts have the same file.")
]
FileId = Annotated[
    str, typer.Argument(metavar="FILE", help="The beginning of its id, as `tally settlement files` shows it.")
]
Why = Annotated[str, typer.Option("--reason", help="Why; kept for ever.")]
As = Annotated[
    str | None,
    typer.Option(
        "--as", "--actor", metavar="NAME", callback=checked_actor, help="Who you are; else the user of this shell."
    ),
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

    from operations.cli.ingesting import ingest
    from operations.stack.running import current_settings
    from producers.doors.settlement_files import source_of
    from producers.watched_folder import WatchedFolder
    from topics.runtime.shape.store import error_kind

    settings, by = current_settings(), _operator(name)
    _refusing(lambda: source_of(settings, source))
    watched = WatchedFolder(folder, lambda file: ingest(settings, source, file, by))
    note(f"{folder} is watched for files of {source}; Ctrl-C ends")
    while True:
        try:
            for taken in watched.look():
                say(
                    _line(
                        _told(settings, taken.file, taken.stored)
                        if taken.stored
                        else _refused(taken.file, taken.why_not)
                    )
                )
        except psycopg.Error as error:
            if error_kind(error) != "away":
                raise
            note(f"the store is away: {str(error).strip()[:200]}")
        time.sleep(1)


@app.command("files")
def files_(
    source: Annotated[str | None, typer.Option(metavar="NAME", help="Of this account alone.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Files that have come, newest first, and how far each is."""
    from operations.cli.cut import cut
    from operations.cli.settlement_rows import files_of
    from operations.cli.tables import Table
    from operations.stack.running import current_settings

    found = cut(files_of(current_settings(), source, limit + 1), limit, "--limit")
    if as_json:
        say_json({"files": found})
    elif not found:
        note("no file has come")
    else:
        table = Table("file", "source", "name", "bytes", "lines", "received (UTC)", "state")
        for one in found:
            lines = "" if one["lines"] is None else f"{one['lines']:,}"
            at, state = f"{one['received_at']:%m-%d %H:%M:%S}", _state(one)
            table.add_row(one["file_id"][:12], one["source"], one["name"], f"{one['size']:,}", lines, at, state)
        table.show()


@app.command()
def show(file: FileId, *, source: OfSource = None, as_json: AsJson = False) -> None:
    """One file: how far it is, why it is held, and what persons have decided about it."""
    from operations.cli.settlement_rows import decisions_of
    from operations.stack.running import current_settings

    settings = current_settings()
    one = _file(settings, file, source)
    decisions = decisions_of(settings, one["source"], one["file_id"])
    if as_json:
        say_json(one | {"decisions": decisions})
        return
    say(
        f"{one['source']} {one['file_id']}",
        f"{one['name']}, {one['size']:,} bytes, from {one['stored_by']}",
        _state(one),
    )
    say(*_refusal(one))
    say(*(f"{d['decided_at']:%m-%d %H:%M:%S} {d['decision']} by {d['decided_by']}: {d['reason']}" for d in decisions))


@app.command()
def release(file: FileId, *, reason: Why, source: OfSource = None, name: As = None, as_json: AsJson = False) -> None:
    """Let a file pass that the gate or the brake holds: one person proposes it, another one does the same."""
    from producers.doors.settlement_decisions import release

    _decide(release, file, source, reason, name, as_json)


@app.command()
def discard(file: FileId, *, reason: Why, source: OfSource = None, name: As = None, as_json: AsJson = False) -> None:
    """Nothing of a file counts; its bytes are kept. One person discards what the gate or the brake holds; of a file that counts
    already one proposes it, another one does the same, and what was booked is taken back.
    """
    from producers.doors.settlement_decisions import discard

    _decide(discard, file, source, reason, name, as_json)


def _decide(decide: Any, file: str, source: str | None, reason: str, name: str | None, as_json: bool) -> None:
    from operations.cli.door_commands import run_command
    from operations.cli.settlement_rows import state_of
    from operations.stack.running import current_settings

    settings, by = current_settings(), audit_note(name, reason).actor
    one = _file(settings, file, source)
    state = state_of(settings, one["source"], one["file_id"])
    decided: Decided = _refusing(lambda: run_command(settings, decide(state, f"operator {by}", reason)))
    if as_json:
        say_json(dict(decided.row) | {"replayed": decided.replayed})
        return
    again = ", as before" if decided.replayed else ""
    say(f"{one['source']} {one['file_id']}: {decided.row['decision']} by {decided.row['decided_by']}{again}")
    if decided.row["decision"].endswith("_proposed"):
        note("another person agrees: the same command, --as NAME")


def _file(settings: Settings, file: str, source: str | None) -> dict[str, Any]:
    """Exits 1 unless the beginning of an id names one file."""
    from operations.cli.settlement_rows import found_by

    found = found_by(settings, file, source) if file else []
    if len(found) > 1:
        raise failed(f"tally: {file} names {len(found)} files: give more of its id, or --source")
    if not found:
        raise failed(f"tally: there is no file {file} (`tally settlement files` lists them)")
    return found[0]


def _refusal(one: dict[str, Any]) -> list[str]:
    refusal = one["refusal"]
    if not refusal:
        return []
    was = "" if one["state"] == "quarantined" else "was refused: "
    named = [f"{name} {refusal[name]}" for name in ("line", "column") if refusal.get(name) is not None]
    at = f" at {', '.join(named)}" if named else ""
    return [f"{was}{refusal['code']}{at}: {refusal['detail']}", *filter(None, [refusal.get("excerpt")])]


def _state(one: dict[str, Any]) -> str:
    return f"{one['state']}: {one['why']}" if one["why"] else str(one["state"])


@app.command()
def formats(as_json: AsJson = False) -> None:
    """The formats of files that can be read, and what makes a file of each whole."""
    from operations.cli.settlement_check import print_formats, readers

    if as_json:
        say_json({"formats": readers()})
    else:
        print_formats()


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True)],
    *,
    source: Annotated[
        str | None, typer.Option(metavar="NAME", help="The account that it is of: its format and account ids must fit.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read a file as the gate does, and store nothing: what it adds up to. Exits 1 if it is refused."""
    from operations.cli.settlement_check import checked, print_checked
    from operations.stack.running import given_settings

    told = checked(file, None if source is None else _source(given_settings(), source))
    if as_json:
        say_json(told)
    else:
        print_checked(told)
    if told["refused"]:
        raise typer.Exit(1)


def _source(settings: Settings, name: str) -> SettlementSource:
    found = next((source for source in settings.settlement_sources if source.name == name), None)
    if found is None:
        raise failed(f"tally: {name!r} is no source of the settings (TALLY_SETTLEMENT_SOURCES)")
    return found


def _ingest(settings: Settings, source: str, file: Path, by: str) -> dict[str, Any]:
    from operations.cli.bars import bytes_bar
    from operations.cli.ingesting import ingest
    from producers.problems import Problem

    with bytes_bar(file.name, file.stat().st_size) as moved:
        try:
            return _told(settings, file, ingest(settings, source, file, by, moved))
        except Problem as problem:
            return _refused(file, problem.detail, problem.code)


def _told(settings: Settings, file: Path, stored: StoredFile) -> dict[str, Any]:
    """Of a file that was there before also how far it is."""
    from operations.cli.settlement_rows import state_of

    told = {"path": str(file), "replayed": stored.replayed, **stored.row}
    return told | ({"state": state_of(settings, told["source"], told["file_id"]).state} if stored.replayed else {})


def _refused(file: Path, why: str, code: str = "refused") -> dict[str, Any]:
    return {"path": str(file), "code": code, "detail": why}


_DISCARDED = "; it was discarded, and nothing of it counts (`tally settlement show {}` says why): send a corrected file"


def _line(one: dict[str, Any]) -> str:
    if "code" in one:
        return f"{one['path']}: refused: {one['detail']}"
    how = f"as before, since {one['received_at']:%Y-%m-%d %H:%M} UTC" if one["replayed"] else "stored"
    told = f"{one['path']}: {how}: {one['source']} {one['file_id']}, {one['size']:,} bytes"
    return told + (_DISCARDED.format(one["file_id"][:12]) if one.get("state") == "discarded" else "")


def _operator(name: str | None) -> str:
    return f"operator {shell_user() if name is None else name}"


def _refusing(work: Any) -> Any:
    """Errors: exits 1 with what the door says."""
    from producers.problems import Problem

    try:
        return work()
    except Problem as problem:
        raise failed(f"tally: {problem.detail}") from None

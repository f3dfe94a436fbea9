"""`tally recon close` and `tally recon report`: a day that two persons sign, and its report for the auditor."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operations.cli.letters.choosing import audit_note, checked_actor, failed
from operations.cli.terminal import note, say, say_json

if TYPE_CHECKING:
    from producers.recon_day_report import Taken
    from producers.recon_reports import Answer
    from topics.settings import Settings

OfDate = Annotated[str, typer.Option("--date", metavar="DAY", help="A day in UTC that is over, YYYY-MM-DD.")]
Why = Annotated[str | None, typer.Option("--reason", help="Why; kept for ever. Needed for anything but a dry run.")]
Sha256 = Annotated[
    str | None,
    typer.Option("--sha256", metavar="HASH", help="Sign the report that another person has proposed: its SHA-256."),
]
As = Annotated[
    str | None,
    typer.Option(
        "--as", "--actor", metavar="NAME", callback=checked_actor, help="Who you are; else the user of this shell."
    ),
]
Dry = Annotated[bool, typer.Option("--dry-run", help="Say what would be signed, or why it cannot be; change nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout")]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write one page that stands by itself.")]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write all tables as one CSV.")]


def close(
    of: OfDate,
    reason: Why = None,
    sha256: Sha256 = None,
    name: As = None,
    dry_run: Dry = False,
    as_json: AsJson = False,
) -> None:
    """Sign a day: one person proposes its report, another one signs it by its SHA-256. A day that is signed stays as it is.

    Refused while a file is missing or under way, or a case of class C has no owner.
    """
    from operations.cli.door_commands import run_command
    from operations.stack.running import current_settings
    from producers.doors.recon_closes import close as close_day
    from producers.doors.recon_closes import shown
    from producers.problems import Problem

    settings, day = current_settings(), _day(of)
    if dry_run:
        _would(settings, day, as_json)
        return
    if reason is None:
        raise typer.BadParameter("needed for anything but a dry run: it is kept for ever", param_hint="--reason")
    by = audit_note(name, reason).actor
    taken, _ = _taken(settings, day)
    try:
        done = run_command(settings, close_day(taken, f"operator {by}", reason, sha256))
    except Problem as problem:
        raise failed(f"tally: {problem.code}: {problem.detail}") from None
    told = shown(done.row, _now(settings))
    if as_json:
        say_json(told | {"replayed": done.replayed})
        return
    again = ", as before" if done.replayed else ""
    say(f"{day}: {told['state']} by {told['decided_by']}{again}", f"SHA-256 {told['sha256']}")
    if told["state"] == "proposed":
        note(
            f"another person reads it (`tally recon report --date {day}`) and signs: the same with --sha256 and --as NAME"
        )


def _would(settings: Settings, day: date, as_json: bool) -> None:
    """Exits 1 where the day cannot be signed."""
    decisions, _ = _decided(settings, day)
    taken, report = _taken(settings, day)
    signed = bool(decisions) and decisions[-1]["state"] == "signed"
    told = {"date": day, "signed": signed, "refusals": [] if signed else taken.refusals}
    if as_json:
        say_json(told | {"decisions": decisions})
    elif signed:
        say(f"{day} is signed by {decisions[-1]['decided_by']}: SHA-256 {decisions[-1]['sha256']}")
    else:
        carried = f"{len(report['carried_over'])} open breaks would be carried over"
        say(*(taken.refusals or (f"{day} can be signed: {carried}",)))
        say(*(f"{each['state']} by {each['decided_by']}: SHA-256 {each['sha256']}" for each in decisions[-1:]))
    if told["refusals"]:
        raise typer.Exit(1)


def report(of: OfDate, html: Html = None, csv: Csv = None, as_json: AsJson = False) -> None:
    """The report of a day for the auditor: as it was signed, or was proposed, or else as of now."""
    from operations.cli.recon_page import page, table
    from operations.stack.running import current_settings

    if html is None and csv is None and not as_json:
        raise typer.BadParameter("say where to: --html FILE, --csv FILE or --json")
    settings, day = current_settings(), _day(of)
    decisions, told = _decided(settings, day)
    decided = [each for each in decisions if told is not None and each["sha256"] == decisions[-1]["sha256"]]
    if told is None:
        taken, _ = _taken(settings, day)
        told, sha256 = _parsed(taken.text), taken.sha256
    else:
        sha256 = decided[-1]["sha256"]
    signed = decided if decided and decided[-1]["state"] == "signed" else []
    for path, text in ((html, page(told, sha256, signed) if html else ""), (csv, table(told) if csv else "")):
        if path is not None:
            _write(path, text)
            note(f"{path}: {day}, {decided[-1]['state'] if decided else 'not signed'}")
    if as_json:
        say_json({"sha256": sha256, "decisions": decided, "report": told})


def _write(path: Path, text: str) -> None:
    """Exits 1 where the file cannot be written."""
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise failed(f"tally: {path}: {error.strerror}") from None


def _taken(settings: Settings, day: date) -> tuple[Taken, Answer]:
    from operations.cli.recon_answers import walked
    from producers.recon_day_report import day_report, taken

    now = _now(settings)
    told = walked(settings, day_report(settings.settlement_sources, day, now))
    return taken(told, now.date()), told


def _decided(settings: Settings, day: date) -> tuple[list[dict[str, Any]], Answer | None]:
    """All decisions about the day, oldest first, and the report of the last one unless that has expired."""
    from producers.doors.recon_closes import OF_DAY, report_of, shown
    from topics.runtime.shape.reading import read

    rows = read(settings, "doors", OF_DAY, {"day": day})
    told = [shown(row, _now(settings)) for row in rows]
    return told, report_of(rows[-1]) if told and told[-1]["state"] != "expired" else None


def _parsed(text: str) -> Answer:
    import orjson

    parsed: Answer = orjson.loads(text)
    return parsed


def _now(settings: Settings) -> Any:
    from topics.runtime.shape.clock import Clock

    return Clock(settings.clock_file).now()


def _day(given: str) -> date:
    """Exits 2 if it is no day."""
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise typer.BadParameter(f"{given!r} is no day as in 2026-01-31", param_hint="--date") from None

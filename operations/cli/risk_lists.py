"""`tally risk lists`: sanctions lists, imported from their authorities' files and shown with their versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from operations.cli.letters.choosing import Actor, audit_note, failed
from operations.cli.terminal import note, say, say_json

if TYPE_CHECKING:
    from consumers.risk.importing import Diff

app = typer.Typer(help="Sanctions lists: import a version, show them.", no_args_is_help=True)

SHOWN = 5  # ids of each kind of change
REMOVED_MAX = 0.1  # share of the entries that may be gone; more looks like a file that was cut off

Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE…",
        help="OFAC's sdn.csv, alt.csv, add.csv; or one file of the EU or UN.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout")]


@app.command("import")
def import_(
    files: Files,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    accept_removals: Annotated[
        bool, typer.Option("--accept-removals", help="Also where more than a tenth of the entries is gone.")
    ] = False,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Make a list's file its current version. A file that is broken or cut off loads nothing, and its line is named."""
    from consumers.risk import importing
    from consumers.risk.readers import BadList, read_list
    from operations.stack.running import current_settings

    settings = current_settings()
    by = audit_note(actor, f"import of {', '.join(path.name for path in files)}")
    try:
        file = read_list(files)
    except BadList as bad:
        raise failed(f"tally: nothing is loaded: {bad}") from None
    diff = importing.compare(settings, file)
    if not as_json:
        _tell(diff, str(file.published or "no date in the file"))
    if not accept_removals and len(diff.removed) > REMOVED_MAX * (diff.entries + len(diff.removed)):
        raise failed(
            f"tally: nothing is loaded: {len(diff.removed)} entries would be gone, more than a tenth; with"
            " --accept-removals it is loaded all the same"
        )
    done = not dry_run and importing.load(settings, file, by).is_new
    if as_json:
        said = {"list": diff.name, "version": diff.version, "before": diff.before, "published": file.published}
        say_json(said | diff.counts() | {"loaded": done})
    elif done:
        say(f"{diff.name} is at {diff.version[:12]}; known buyers are screened against it in the background")
    else:
        say("nothing was changed" if dry_run else f"{diff.name} was at {diff.version[:12]} before: nothing to do")


@app.command("show")
def show(as_json: AsJson = False) -> None:
    """Every imported version, the newest first, and how many buyers are still to be screened against the current lists."""
    from operations.stack.running import current_settings
    from topics.runtime.shape.reading import read

    settings = current_settings()
    rows = read(
        settings,
        "risk",
        "SELECT i.list_name, i.version, i.published, i.entries, i.names, i.added, i.changed, i.removed, i.imported_at,"
        " i.no = max(i.no) OVER (PARTITION BY i.list_name) AS current FROM import_view i ORDER BY i.no DESC",
    )
    [behind] = read(
        settings,
        "risk",
        "SELECT count(*) AS buyers FROM party_view WHERE screened IS DISTINCT FROM"
        " (SELECT string_agg(name || '@' || left(version, 12), ',' ORDER BY name) FROM list_view"
        " WHERE current AND source = 'import')",
    )
    if as_json:
        say_json({"imports": rows, "buyers_to_screen": behind["buyers"]})
        return
    if not rows:
        note("no list was imported")
        return
    from operations.cli.tables import Table

    table = Table("list", "version", "of", "entries", "names", "added", "changed", "removed", "imported (UTC)", "")
    for row in rows:
        table.add_row(
            row["list_name"],
            row["version"][:12],
            str(row["published"] or ""),
            *(str(row[name]) for name in ("entries", "names", "added", "changed", "removed")),
            f"{row['imported_at']:%Y-%m-%d %H:%M}",
            "current" if row["current"] else "",
        )
    table.show()
    note(f"{behind['buyers']} known buyers are still to be screened against the current lists")


def _tell(diff: Diff, published: str) -> None:
    """Before anything is changed."""
    since = f"after {diff.before[:12]}" if diff.before else "the first one"
    say(f"{diff.name} {diff.version[:12]} ({published}), {since}: {diff.entries} entries with {diff.names} names")
    for what, ids in (("added", diff.added), ("changed", diff.changed), ("removed", diff.removed)):
        more = f" … {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
        say(f"  {len(ids)} {what}{': ' if ids else ''}{', '.join(ids[:SHOWN])}{more}")

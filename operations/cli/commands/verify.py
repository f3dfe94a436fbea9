"""`tally verify`: the auditor: do all stores, topics and the PSPs' own books agree?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from operations.cli.terminal import say_json, visible

if TYPE_CHECKING:
    from operations.auditor.engine.report import Report

app = typer.Typer()


@app.command()
def verify(as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False) -> None:
    """Prove the books: every store, topic and PSP against each other, while everything runs. Exit code 1 if not ok."""

    from operations.auditor.audit import audit
    from operations.cli.tables import working
    from operations.stack.running import current_settings

    with working("reading") as status:
        report = audit(current_settings(), lambda what: status.update(visible(f"reading {what}")))
    if as_json:
        say_json(report.as_dict())
    else:
        _print(report)
    if not report.ok:
        raise typer.Exit(1)


def _print(report: Report) -> None:
    from rich.text import Text

    from operations.cli.tables import Table, console

    table = Table("", "check", "examined", "")
    table.columns[2].justify = "right"
    for check in report.checks:
        mark = Text("✓", "green") if check.ok else Text("✗", "bold red")
        table.add_row(mark, check.name, f"{check.examined:,}", Text(check.detail, "" if check.ok else "red"))
    table.show()
    wrong = sum(not check.ok for check in report.checks)
    if wrong:
        console().print(Text(f"{wrong} of {len(report.checks)} checks found something wrong", "bold red"))
    else:
        console().print(Text(f"the books agree: {len(report.checks)} checks", "green"))

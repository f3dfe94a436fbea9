"""`tally verify`: the auditor: do all stores, topics and the PSPs' own books agree?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from operations.auditor.report import Report

app = typer.Typer()


@app.command()
def verify(as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False) -> None:
    """Prove the books: every store, topic and PSP against each other, while everything runs. Exit code 1 if not ok."""
    from rich.console import Console

    from operations.auditor.audit import audit
    from operations.stack.running import current_settings

    errors = Console(stderr=True)
    with errors.status("reading") as status:
        report = audit(current_settings(), lambda what: status.update(f"reading {what}"))
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=2))
    else:
        _print(report)
    if not report.ok:
        raise typer.Exit(1)


def _print(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "check", "examined", "")
    table.columns[2].justify = "right"
    for check in report.checks:
        mark = Text("✓", "green") if check.ok else Text("✗", "bold red")
        table.add_row(mark, Text(check.name), f"{check.examined:,}", Text(check.detail, "" if check.ok else "red"))
    console = Console()
    console.print(table)
    wrong = sum(not check.ok for check in report.checks)
    if wrong:
        console.print(f"[bold red]{wrong} of {len(report.checks)} checks found something wrong[/]")
    else:
        console.print(f"[green]the books agree: {len(report.checks)} checks[/]")

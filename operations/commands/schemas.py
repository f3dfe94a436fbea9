"""`tally schemas write | check`: JSON Schemas and the AsyncAPI document, from the catalogue and its events."""

from __future__ import annotations

import typer

app = typer.Typer(help="JSON Schemas of all events, and the AsyncAPI document.", no_args_is_help=True)


@app.command()
def write() -> None:
    """Write docs/schemas/*.json and docs/asyncapi.json."""
    from operations.contract import write
    from operations.stack.home import CHECKOUT

    changed = write(CHECKOUT / "docs")
    for path in changed:
        typer.echo(f"docs/{path}")
    if not changed:
        typer.echo("every schema is up to date: nothing to do", err=True)


@app.command()
def check() -> None:
    """Say which of these files are not what the code says; exit 1 where any is."""
    from operations.contract import stale
    from operations.stack.home import CHECKOUT

    wrong = stale(CHECKOUT / "docs")
    for path in wrong:
        typer.echo(f"docs/{path}")
    if wrong:
        typer.echo("run `tally schemas write`", err=True)
        raise typer.Exit(1)

"""`tally schemas write | check`: JSON Schemas and the AsyncAPI document, from the catalogue and its events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from operations.cli.terminal import note, say
from operations.stack.home import StackError, checkout_docs

app = typer.Typer(help="JSON Schemas of all events, and the AsyncAPI document.", no_args_is_help=True)

Docs = Annotated[Path | None, typer.Option("--docs", help="Another folder than the checkout's docs.", metavar="FOLDER")]


@app.command()
def write(docs: Docs = None) -> None:
    """Write schemas/*.json and asyncapi.json into docs/."""
    from operations.pages.contract import write

    folder = docs or checkout_docs("--docs")
    try:
        changed = write(folder)
    except OSError as error:
        raise StackError(f"{folder} cannot be written to: {error.strerror}") from None
    for path in changed:
        say(f"{docs or 'docs'}/{path}")
    if not changed:
        note("every schema is up to date: nothing to do")


@app.command()
def check(docs: Docs = None) -> None:
    """List the files that are stale; exit 1 if there are any."""
    from operations.pages.contract import stale

    wrong = stale(docs or checkout_docs("--docs"))
    for path in wrong:
        say(f"{docs or 'docs'}/{path}")
    if wrong:
        note("run `tally schemas write`")
        raise typer.Exit(1)

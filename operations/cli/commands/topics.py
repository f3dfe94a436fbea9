"""`tally topics apply | map`: the catalogue's topics on the broker, and the picture of what flows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from operations.cli.terminal import note, say
from operations.stack.home import StackError

app = typer.Typer(help="The catalogue of topics: make them, draw them.", no_args_is_help=True)


@app.command()
def apply() -> None:
    """Make missing topics and correct settings that differ. Never deletes, never changes a partition count."""
    from operations.stack.running import current_settings
    from topics.runtime.making.topics import Repartitioned, apply_topics

    try:
        done = apply_topics(current_settings())
    except Repartitioned as error:
        for line in error.done:
            say(line)
        note(str(error))
        raise typer.Exit(1) from None
    for line in done:
        say(line)
    if not done:
        note("every topic is as it should be: nothing to do")


@app.command("map")
def map_(
    check: Annotated[bool, typer.Option("--check", help="Only check whether the page is up to date.")] = False,
    to: Annotated[Path | None, typer.Option("--to", help="Another file than the checkout's docs/flow.md.")] = None,
) -> None:
    """Draw docs/flow.md from the catalogue."""
    from operations.pages.flow import page
    from operations.stack.home import checkout_docs

    file = to or checkout_docs("--to") / "flow.md"
    current = file.read_text(encoding="utf-8") if file.exists() else ""
    if check and current != page():
        note(f"{file} is not what the catalogue says: run `tally topics map`")
        raise typer.Exit(1)
    if current == page():
        note(f"{file} is up to date: nothing to do")
        return
    try:
        file.write_text(page(), encoding="utf-8")
    except OSError as error:
        raise StackError(f"{file} cannot be written: {error.strerror}") from None
    say(f"{file} drawn")

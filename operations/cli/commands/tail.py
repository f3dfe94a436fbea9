"""`tally tail [TOPIC…]`: events as they are published, a line each, without names, tokens and free text of buyers."""

from __future__ import annotations

from typing import Annotated

import typer

from operations.cli.terminal import note, say, say_json

app = typer.Typer()


@app.command()
def tail(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="TOPIC…", help="Without prefix; `.v1` may be left out. Else all.")
    ] = None,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="First all present events.")] = False,
    key: Annotated[str | None, typer.Option("--key", help="Only events of this key.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="End after so many.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line on stdout.")] = False,
) -> None:
    """Print the events on topics until Ctrl-C."""
    from operations.cli.listening import UnknownTopic, as_line, listen, topics_named
    from operations.stack.running import current_settings

    settings = current_settings()
    try:
        wanted = topics_named(settings, names or [])
    except UnknownTopic as error:
        note(str(error))
        raise typer.Exit(1) from None
    note(f"listening to {', '.join(wanted)}; Ctrl-C ends it")
    try:
        for number, record in enumerate(listen(settings, wanted, from_beginning, key), 1):
            say_json(record.as_dict(), indent=None) if as_json else say(as_line(record))
            if number == limit:
                return
    except KeyboardInterrupt:
        return

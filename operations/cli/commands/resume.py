"""`tally resume ROOM`: a stopped room goes on, by a person with a reason."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from operations.cli.letters.choosing import Actor, Reason, audit_note, failed, known_room
from operations.cli.terminal import note, say

app = typer.Typer()


class Begin(Enum):
    """`topics.runtime.dead_letters.acts.WayOut`, as an enum for Typer."""

    START = "start"
    POSITION = "position"


@app.command()
def resume(
    room: Annotated[str, typer.Argument(metavar="ROOM", help="The room that `tally status` shows as stopped.")],
    *,
    reason: Reason,
    begin: Annotated[
        Begin | None,
        typer.Option(help="Where to go on, for stops that need it: the topic was replaced, or records are gone."),
    ] = None,
    actor: Actor = None,
) -> None:
    """Let a stopped room go on; its count of own faults starts anew. Nothing happens where it has not stopped.

    A room whose topic was deleted and made anew, or whose next record is gone, does not go on without `--begin`: the ways
    out are named, and nothing is changed.
    """
    from operations.stack.running import current_settings
    from topics.runtime.dead_letters import acts as operators

    known_room(room)
    try:
        lifted = operators.resume(current_settings(), room, audit_note(actor, reason), begin.value if begin else None)
    except operators.ActRefused as refused:
        raise failed(str(refused)) from None
    if lifted is None:
        note(f"{room} has not stopped: nothing to do")
        return
    say(f"{room} goes on. It had stopped at {lifted.at:%Y-%m-%d %H:%M:%S %Z}: {lifted.code}, {lifted.reason}")

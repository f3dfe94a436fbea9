"""`tally resume ROOM`: a stopped room goes on, by a person with a reason."""

from __future__ import annotations

from typing import Annotated

import typer

from operations.cli.letters.choosing import Actor, Reason, by, known_room
from operations.terminal import note, say

app = typer.Typer()


@app.command()
def resume(
    room: Annotated[str, typer.Argument(metavar="ROOM", help="The room that `tally status` shows as stopped.")],
    *,
    reason: Reason,
    actor: Actor = None,
) -> None:
    """Let a stopped room go on; its count of own faults starts anew. Nothing happens where it has not stopped."""
    from operations.stack.running import current_settings
    from topics.runtime.dead_letters import acts as operators

    known_room(room)
    lifted = operators.resume(current_settings(), room, by(actor, reason))
    if lifted is None:
        note(f"{room} has not stopped: nothing to do")
        return
    say(f"{room} goes on. It had stopped at {lifted.at:%Y-%m-%d %H:%M:%S %Z}: {lifted.code}, {lifted.reason}")

"""`tally resume ROOM`: a stopped room goes on, by a person with a reason."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def resume(
    room: Annotated[str, typer.Argument(metavar="ROOM", help="The room that `tally status` shows as stopped.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept for ever in the room's ops_audit.")],
    actor: Annotated[str | None, typer.Option("--actor", help="Who acts; else the user of this shell.")] = None,
) -> None:
    """Let a stopped room go on; its count of own faults starts anew. Nothing happens where it has not stopped."""
    from operations.commands.dlq import failed, who
    from operations.stack.running import current_settings
    from topics.runtime import dead_letters

    names = [each.name for each in dead_letters.rooms_named(None)]
    if room not in names:
        raise failed(f"there is no room {room}; there are {', '.join(names)}")
    if not reason.strip():
        raise typer.BadParameter("--reason must say why")
    lifted = dead_letters.resume(current_settings(), room, actor=actor or who(), reason=reason.strip())
    if lifted is None:
        typer.echo(f"{room} has not stopped: nothing to do", err=True)
        return
    typer.echo(f"{room} goes on. It had stopped at {lifted.at:%Y-%m-%d %H:%M:%S %Z}: {lifted.code}, {lifted.reason}")

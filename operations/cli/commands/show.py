"""`tally show ID`: one timeline of a payment across all stores and the PSP's own record."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from operations.cli.terminal import note, say_json

if TYPE_CHECKING:
    from operations.cli.timeline import Timeline

app = typer.Typer()


@app.command()
def show(
    id_: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="An id of a checkout, order, capture, void, refund, dispute or call, or a PSP's reference.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """What happened to a payment, in every store and at the PSP, in the order of time."""
    from operations.cli.timeline import UnknownId, timeline
    from operations.stack.running import current_settings

    try:
        found = timeline(current_settings(), id_)
    except UnknownId as error:
        near = f"; do you mean {', '.join(error.near)}?" if error.near else ""
        note(f"{error}{near}")
        raise typer.Exit(1) from None
    if as_json:
        say_json(asdict(found))
    else:
        _print(found)


def _print(found: Timeline) -> None:

    from operations.cli.tables import titled

    trace = f", trace {found.trace}" if found.trace else ""
    table = titled(f"checkout {found.checkout_id}{trace}", "time (UTC)", "where", "what", "about", "")
    for moment in found.moments:
        cells = (f"{moment.at:%m-%d %H:%M:%S.%f}"[:-3], moment.where, moment.what, moment.about, moment.detail)
        table.add_row(*cells)
    table.show()

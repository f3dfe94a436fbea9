"""`tally show ID`: one timeline of a payment, pay-out or bank file across all stores and the record of the PSP or provider."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from operations.cli.terminal import note, say, say_json

if TYPE_CHECKING:
    from operations.cli.bank_file_timeline import BankFileTimeline
    from operations.cli.payout_timeline import PayoutTimeline
    from operations.cli.timeline import Timeline
    from topics.settings import Settings

app = typer.Typer()


@app.command()
def show(
    id_: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="An id of a checkout, order, capture, void, refund, dispute, pay-out, call or bank file, or a PSP's reference.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """What happened to a payment, pay-out or bank file, in every store and at the PSP or provider, in the order of time."""
    from operations.cli.timeline import UnknownId
    from operations.stack.running import current_settings

    try:
        found = _found(current_settings(), id_)
    except UnknownId as error:
        near = f"; do you mean {', '.join(error.near)}?" if error.near else ""
        note(f"{error}{near}")
        raise typer.Exit(1) from None
    if as_json:
        say_json(asdict(found))
    else:
        _print(found)


def _found(settings: Settings, id_: str) -> Timeline | PayoutTimeline | BankFileTimeline:
    """Errors: UnknownId."""
    from operations.cli.bank_file_timeline import bank_file_timeline
    from operations.cli.payout_timeline import payout_timeline
    from operations.cli.timeline import UnknownId, timeline

    try:
        return timeline(settings, id_)
    except UnknownId:
        found = payout_timeline(settings, id_) or bank_file_timeline(settings, id_)
        if found is None:
            raise
        return found


def _print(found: Timeline | PayoutTimeline | BankFileTimeline) -> None:
    from operations.cli.bank_file_timeline import BankFileTimeline
    from operations.cli.bank_files import counts
    from operations.cli.payout_timeline import PayoutTimeline
    from operations.cli.tables import titled

    if isinstance(found, PayoutTimeline):
        title = f"pay-out {found.payout_id}"
    elif isinstance(found, BankFileTimeline):
        title = f"bank file {found.file_id}"
    else:
        title = f"checkout {found.checkout_id}" + (f", trace {found.trace}" if found.trace else "")
    table = titled(title, "time (UTC)", "where", "what", "about", "")
    for moment in found.moments:
        cells = (f"{moment.at:%m-%d %H:%M:%S.%f}"[:-3], moment.where, moment.what, moment.about, moment.detail)
        table.add_row(*cells)
    table.show()
    if isinstance(found, BankFileTimeline):
        say(f"its lines: {counts(found.states)}")
        return
    say(*(f"{part.kind} of {part.about} at {part.at}: {part.state}" for part in found.settled))
    if isinstance(found, PayoutTimeline):
        say(found.turn)

"""`tally up`, `down`, `status` and `doctor`: the local stack."""

from __future__ import annotations

from typing import Annotated

import typer

from operations.cli.terminal import say_json

app = typer.Typer()

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@app.command()
def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when ready; `tally down` ends it.")] = False,
    kafka: Annotated[str | None, typer.Option(help="host:port of an existing Kafka, used in place of our own.")] = None,
    postgres: Annotated[
        str | None,
        typer.Option(help="postgresql:// address of an existing PostgreSQL, of a role that may create roles."),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            min=1, max=16, help="Processes for each group of rooms. More than at the very first start only stand by."
        ),
    ] = 1,
) -> None:
    """Run everything on this machine: Kafka, PostgreSQL, all rooms, the API and the PSP simulator."""
    from operations.cli.stack_started import existing_servers, up_detached, up_in_foreground
    from operations.stack.settings import load_settings

    existing = existing_servers(load_settings(), kafka, postgres)
    if detach:
        up_detached(load_settings(), existing, processes)
    else:
        up_in_foreground(load_settings(), existing, processes)


@app.command()
def down(
    purge: Annotated[bool, typer.Option("--purge", help="Delete all data of this installation too.")] = False,
) -> None:
    """End every process of the stack. Data stays, unless --purge."""
    from operations.cli.stack_started import down as take_down
    from operations.stack.settings import load_settings

    take_down(load_settings(), purge)


@app.command()
def status(as_json: Json = False) -> None:
    """Show what runs, where, and why something does not."""
    from operations.cli.stack_shown import status as show
    from operations.stack.home import Home
    from operations.stack.running import stack_status
    from operations.stack.settings import load_settings

    found = stack_status(Home(load_settings().home))
    if as_json:
        say_json(found.as_dict())
    else:
        show(found, load_settings())


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this machine for what the stack needs; exit 1 where something is missing."""
    from operations.cli.stack_shown import findings as show
    from operations.stack.doctor import examine
    from operations.stack.settings import load_settings

    findings = examine(load_settings())
    if as_json:
        say_json([finding.as_dict() for finding in findings])
    else:
        show(findings)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)

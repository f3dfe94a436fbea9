"""`tally stuck`: money that is not through past its limit, how old, how much, and what the system does next."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from consumers.executor.stuck import Stuck
    from topics.settings import Settings

app = typer.Typer()


@app.command()
def stuck(as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False) -> None:
    """Orders past their limit (TALLY_STUCK) at a PSP, and what PSPs told of charges that we do not know."""
    from operations.stack.running import current_settings

    found = look(current_settings())
    if as_json:
        typer.echo(json.dumps([_shown(one) for one in found], indent=2))
    elif found:
        _print(found)
    else:
        typer.echo("nothing is stuck", err=True)


def look(settings: Settings) -> list[Stuck]:
    """Oldest first. Errors: psycopg.OperationalError while the executor's store is away."""
    import psycopg

    from consumers.executor.stuck import stuck as find
    from topics.runtime.clock import Clock

    options = "-c search_path=executor -c default_transaction_read_only=on"
    with psycopg.connect(settings.dsn("tally_executor_read"), options=options, connect_timeout=5) as conn:
        return find(conn, settings.stuck, Clock(settings.clock_file).now())


def _shown(one: Stuck) -> dict[str, Any]:
    return {
        "id": one.id,
        "checkout_id": one.checkout_id,
        "psp": one.psp,
        "state": one.state,
        **one.amount.wire(),
        "age_s": one.age_s,
        "next": one.next,
    }


def _print(found: list[Stuck]) -> None:
    from datetime import timedelta

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("order", "PSP", "state", "amount", "age", "next")
    for one in found:
        cells = (one.id, one.psp, one.state, str(one.amount), str(timedelta(seconds=one.age_s)), one.next)
        table.add_row(*(Text(cell) for cell in cells))
    Console().print(table)

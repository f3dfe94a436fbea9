"""`tally wallet SELLER`: what a seller has, by currency."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from operations.cli.terminal import note, say_json

app = typer.Typer()


@app.command()
def wallet(
    seller_account: Annotated[str, typer.Argument(metavar="SELLER", help="the seller's account")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout")] = False,
) -> None:
    """What a seller has, by currency: available, pending and reserved."""
    from operations.stack.running import current_settings
    from topics.runtime.shape.reading import read

    rows = read(
        current_settings(),
        "wallet",
        "SELECT currency, available, pending, reserved, version FROM wallet_view WHERE seller_account = %s ORDER BY 1",
        [seller_account],
    )
    if not rows:
        note(f"{seller_account} has no wallet yet: one is opened by the first captured payment")
        raise typer.Exit(1)
    wallets = [_in_major_units(row) for row in rows]
    if as_json:
        say_json({"seller_account": seller_account, "wallets": wallets})
    else:
        _print_table(wallets)


def _in_major_units(row: dict[str, Any]) -> dict[str, Any]:
    from schemas.money import Money

    amounts = {name: Money(row[name], row["currency"]).amount for name in ("available", "pending", "reserved")}
    return {"currency": row["currency"], **amounts, "version": row["version"]}


def _print_table(wallets: list[dict[str, Any]]) -> None:
    from operations.cli.tables import Table

    table = Table("currency")
    for name in ("available", "pending", "reserved"):
        table.add_column(name, justify="right")
    for found in wallets:
        table.add_row(found["currency"], found["available"], found["pending"], found["reserved"])
    table.show()

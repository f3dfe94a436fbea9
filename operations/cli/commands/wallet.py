"""`tally wallet SELLER`: what a seller has, by currency, what is pending and reserved; `--negative`: who owes us."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from operations.cli.terminal import note, say_json

if TYPE_CHECKING:
    from topics.settings import Settings

app = typer.Typer()

_PENDING = (
    "SELECT currency, available_from, share, count(*) AS captures, sum(remaining)::bigint AS amount FROM holding_view"
    " WHERE seller_account = %s AND released_by IS NULL AND remaining > 0 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
)
_RESERVED = (
    "SELECT currency, payout_id, placed_at AS since, amount FROM reservation_view"
    " WHERE seller_account = %s AND state = 'reserved' ORDER BY currency, placed_at, payout_id"
)
_COLUMNS = "seller_account, currency, available, pending, reserved, version"


@app.command()
def wallet(
    seller_account: Annotated[str | None, typer.Argument(metavar="SELLER", help="the seller's account")] = None,
    pending: Annotated[bool, typer.Option("--pending", help="what is pending, and until when")] = False,
    reserved: Annotated[bool, typer.Option("--reserved", help="what is reserved, and for which pay-outs")] = False,
    negative: Annotated[
        bool, typer.Option("--negative", help="every wallet whose available balance is below zero")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout")] = False,
) -> None:
    """What a seller has, by currency: available, pending and reserved."""
    from operations.stack.running import current_settings

    settings = current_settings()
    if (seller_account is None) != negative or (negative and (pending or reserved)):
        raise typer.BadParameter("name a SELLER, or say --negative")
    if seller_account is None:
        _show_negative(settings, as_json)
        return
    wallets = _read(settings, "WHERE seller_account = %s ORDER BY currency", [seller_account])
    if not wallets:
        note(f"{seller_account} has no wallet yet: one is opened by the first captured payment")
        raise typer.Exit(1)
    details = {"pending": _amounts(settings, _PENDING, seller_account)} if pending else {}
    details |= {"reserved": _amounts(settings, _RESERVED, seller_account)} if reserved else {}
    if as_json:
        shown = [{name: value for name, value in each.items() if name != "seller_account"} for each in wallets]
        say_json({"seller_account": seller_account, "wallets": shown} | details)
        return
    _print(wallets, "currency")
    for name, rows in details.items():
        if rows:
            _DETAILS[name](rows)
        else:
            note(f"nothing is {name}")


def _show_negative(settings: Settings, as_json: bool) -> None:
    found = _read(settings, "WHERE available < 0 ORDER BY currency, available, seller_account", [])
    if as_json:
        say_json({"wallets": found})
    elif found:
        _print(found, "seller_account", "currency")
    else:
        note("no wallet is below zero")


def _read(settings: Settings, where: str, values: list[object]) -> list[dict[str, Any]]:
    from schemas.money import Money
    from topics.runtime.shape.reading import read

    pockets = ("available", "pending", "reserved")
    rows = read(settings, "wallet", f"SELECT {_COLUMNS} FROM wallet_view {where}", values)
    return [row | {name: Money(row[name], row["currency"]).amount for name in pockets} for row in rows]


def _amounts(settings: Settings, statement: str, seller_account: str) -> list[dict[str, Any]]:
    from schemas.money import Money
    from topics.runtime.shape.reading import read

    rows = read(settings, "wallet", statement, [seller_account])
    return [row | {"amount": Money(row["amount"], row["currency"]).amount} for row in rows]


def _print(wallets: list[dict[str, Any]], *names: str) -> None:
    from operations.cli.tables import Table

    table = Table(*("seller" if name == "seller_account" else name for name in names))
    for name in ("available", "pending", "reserved"):
        table.add_column(name, justify="right")
    for found in wallets:
        table.add_row(*(found[name] for name in (*names, "available", "pending", "reserved")))
    table.show()


def _print_held(held: list[dict[str, Any]]) -> None:
    from operations.cli.tables import Table

    table = Table("available from (UTC)", "why", "captures", "currency")
    table.add_column("amount", justify="right")
    for each in held:
        why = "hold days" if each["share"] == "net" else "reserve"
        row = (f"{each['available_from']:%Y-%m-%d %H:%M}", why, str(each["captures"]), each["currency"], each["amount"])
        table.add_row(*row)
    table.show()


def _print_reserved(kept: list[dict[str, Any]]) -> None:
    from operations.cli.tables import Table

    table = Table("reserved since (UTC)", "pay-out", "currency")
    table.add_column("amount", justify="right")
    for each in kept:
        table.add_row(f"{each['since']:%Y-%m-%d %H:%M}", each["payout_id"], each["currency"], each["amount"])
    table.show()


_DETAILS = {"pending": _print_held, "reserved": _print_reserved}

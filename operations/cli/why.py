"""Why a seller is paid out or not, read from the stores: a heading and a table for each currency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from operations.cli.terminal import say

if TYPE_CHECKING:
    from topics.settings import Settings


def explained(settings: Settings, seller_account: str) -> list[dict[str, Any]] | None:
    """As the API tells it; None if nobody knows the seller."""
    from producers.doors.sellers import Seller, said_of
    from producers.payability import payability
    from producers.payability_rows import PAYOUTS, WALLET, books_of, reserved_in, rules_of, shown
    from topics.runtime.shape.clock import Clock
    from topics.runtime.shape.reading import read

    registered = read(
        settings,
        "doors",
        "SELECT seller_account, owner, revision, terms AS settings, changed_at AS created_at, changed_at FROM seller_view"
        " WHERE seller_account = %s",
        [seller_account],
    )
    wallet = read(settings, "wallet", WALLET, {"seller": seller_account})
    if not registered and not wallet:
        return None
    payouts = read(settings, "payouts", PAYOUTS, {"seller": seller_account, "reserved": reserved_in(wallet)})
    for row in registered:
        row["settings"].get("destination", {})["sealed"] = ""  # which nobody reads here
    seller = said_of(Seller(**registered[0])) if registered else None
    now = Clock(settings.clock_file).now()
    return [shown(each) for each in payability(seller, books_of(wallet, payouts), rules_of(settings), now)]


def print_explained(found: list[dict[str, Any]]) -> None:
    for each in found:
        more = f"; more on {each['more_on']:%Y-%m-%d %H:%M} UTC" if each["more_on"] else ""
        say(f"{each['currency']}: {each['total']} in all, {each['payable_now']} can be paid out now{more}")
        _print_lines(each["lines"])


def _print_lines(lines: list[dict[str, Any]]) -> None:
    from operations.cli.tables import Table

    table = Table()
    table.add_column("amount", justify="right")
    for name in ("reason", "until (UTC)", "whose turn", "pay-out"):
        table.add_column(name)
    for line in lines:
        until = f"{line['until']:%Y-%m-%d %H:%M}" if line["until"] else ""
        payout = " ".join(filter(None, (line["payout_id"], line["payout_status"])))
        table.add_row(line["amount"], line["reason"], until, line["whose_turn"], payout)
    table.show()

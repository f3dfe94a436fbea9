"""A pay-out's statement, read from the wallet's views: as a table, JSON or CSV."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, LiteralString

from operations.cli.terminal import say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from producers.statements import Line, Statement
    from topics.settings import Settings


class _Wallet:
    """The wallet's views, as the API's reader gives them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def rows(
        self, statement: LiteralString, values: Sequence[object] | Mapping[str, object] = ()
    ) -> list[dict[str, Any]]:
        from topics.runtime.shape.reading import read

        return read(self._settings, "wallet", statement, values)


def found(settings: Settings, payout_id: str) -> Statement | None:
    """None if nothing was ever reserved for it."""
    from producers.statements import RESERVED, SENT, of_payout
    from topics.runtime.shape.reading import read

    rows = read(settings, "wallet", RESERVED, [payout_id])
    return of_payout(payout_id, rows[0], read(settings, "payouts", SENT, [payout_id])) if rows else None


def written(settings: Settings, statement: Statement, as_csv: bool) -> str:
    """As the API writes it."""
    from producers import statements

    async def whole() -> bytes:
        pieces = (statements.as_csv if as_csv else statements.as_json)(_Wallet(settings), statement)
        return b"".join([piece async for piece in pieces])

    return asyncio.run(whole()).decode()


def print_lines(settings: Settings, statement: Statement) -> None:
    from operations.cli.tables import Table
    from producers.statements import head

    told = head(statement)
    since = "the beginning" if told["from"] is None else f"{told['from']:%Y-%m-%d %H:%M:%S}"
    say(f"{told['seller_account']}, {told['currency']}, from {since} to {told['to']:%Y-%m-%d %H:%M:%S} UTC")
    table = Table("at (UTC)", "kind", "of")
    for name in ("amount", "available"):
        table.add_column(name, justify="right")
    table.add_row("", "opening", "", "", told["opening"])
    for line in asyncio.run(_lines(settings, statement)):
        table.add_row(*_cells(line, statement.currency))
    of = " · ".join(str(each) for each in (statement.payout_id, statement.sent) if each)
    table.add_row("", "pay-out", of, f"-{told['payout']}", told["closing"])
    table.show()


async def _lines(settings: Settings, statement: Statement) -> list[Line]:
    from producers import statements

    return [line async for chunk in statements.lines(_Wallet(settings), statement) for line in chunk]


def _cells(line: Line, currency: str) -> tuple[str, ...]:
    from schemas.money import Money

    of = " ".join(filter(None, (line.payment_order_id or line.payout_id, line.about)))
    amounts = (Money(minor, currency).amount for minor in (line.changed, line.available))
    return (f"{line.at:%m-%d %H:%M:%S}", line.kind, of, *amounts)

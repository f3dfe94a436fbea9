"""Checkout.com's payouts report (CSV): what each pay-out of a period came to.

Columns: checkout.com/docs, funds management, settlement reports. A row is a claim: the rows of its pay-out, which come in
another file of the same source, must add up to it. Its columns of fees and payments say nothing that those do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from reconciliation.formats.amounts import decimals_of
from reconciliation.formats.blocks import first_line
from reconciliation.formats.checkoutcom import PayoutReport
from reconciliation.formats.chunks import Line
from reconciliation.formats.finer import whole
from reconciliation.formats.keys import digest
from reconciliation.formats.records import Columns, Records, normal
from reconciliation.formats.refusing import Cell, Refusals, Unreadable
from reconciliation.formats.rows import chunked
from reconciliation.formats.shape import NO_KEY, Chunk, Control, ReadFrom

_REQUIRED = ("client entity id", "holding currency", "payout id", "payout date", "payout amount")
_READ_PAST = (
    *("client entity name", "sub entity id", "sub entity name", "currency account id", "currency account name"),
    *("reporting start date", "reporting end date", "merchant payout fees", "payments", "refunds", "chargebacks"),
    *("pay to cards", "card payment interchange fees", "card payment scheme fees", "acquiring premiums"),
    *("card payment gateway fees", "card payment blended fees", "refunded interchange fees", "refund scheme fees"),
    *("refund gateway fees", "chargeback fees", "retrieval fees", "representment fees", "adjustments", "tax"),
    *("pay to card interchange fees", "pay to card scheme fees", "pay to card fees", "account updater fees"),
    *("alternative payment method fees", "transfers in", "transfers out", "authentication fees"),
    *("authentication scheme fees", "risk engine fees", "intelligent acceptance fees", "network token fees"),
)


class CheckoutcomPayouts:
    name = "checkoutcom_payouts"
    version = 1
    provider = "checkoutcom"
    of: Literal["psp", "bank"] = "psp"
    mode: Literal["replace", "union"] = "union"
    ties = "each pay-out's amount is what its rows in the settlement breakdown, or in the financial actions, add up to"

    def sniff(self, head: bytes, name: str) -> int:
        columns = {normal(column) for column in first_line(head).split(",")}
        return 90 if columns.issuperset(_REQUIRED) else 0

    def read(self, blocks: Iterable[bytes], source: ReadFrom) -> Iterator[Chunk | Control]:
        refusals = Refusals(source.released)
        with refusals.raised_at_the_end():
            records = Records(blocks)
            columns = Columns(records.header(), required=_REQUIRED, optional=("payout date utc", *_READ_PAST))
            payouts = _Payouts(source, columns)
            yield from chunked(records, columns, payouts.chunks, refusals, payouts.line, payouts.cells)
            if not refusals:
                payouts.check()
                yield payouts.control("payouts", has_rows=False)


class _Payouts(PayoutReport):
    """What is known while one file is read."""

    def __init__(self, source: ReadFrom, columns: Columns) -> None:
        super().__init__(source, columns)
        self._pick = columns.picker(*_REQUIRED, "payout date utc")

    def line(self, row: list[str]) -> Line:
        """Errors: Unreadable."""
        entity, currency, payout_id, paid_on, amount, paid_on_utc = self._pick(row)
        self.entity(entity)
        settlement = self.payout(payout_id)
        if not settlement or not amount:
            raise Unreadable("bad_row", "a pay-out has an id and an amount")
        paid = -whole(self.exact[amount], currency)
        name = digest(self.source.name, "payout", settlement, currency)
        if not self.occurrences.is_new(name):
            raise Unreadable("bad_row", "this pay-out stands here twice")
        when = self.when(paid_on, paid_on_utc)
        money = (paid, currency, paid, currency, 0)
        return Line("p", NO_KEY, settlement, "", settlement, *money, at=when.at, value_day=when.day, digest=name)

    def cells(self, row: list[str]) -> Iterator[Cell]:
        """In the order in which a row's columns are read."""
        readers: dict[str, Callable[[str], object]] = {
            "client entity id": self.is_met,
            "payout amount": self.exact.parse,
            "holding currency": decimals_of,
            "payout date": self.when,
        }
        return ((self.columns.written(name), self.columns.place(name), read) for name, read in readers.items())

"""Checkout.com's financial actions (CSV), by pay-out or by date: a row for each part of an action, each fee its own.

Columns: checkout.com/docs, funds management, financial actions reports. Amounts are signed decimals of major units with up
to eight digits behind the point. They say what the settlement breakdown says: it is one of the two that counts, the one
that the source names as its format. Of any other source these rows are evidence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from reconciliation.formats.amounts import decimals_of
from reconciliation.formats.blocks import first_line
from reconciliation.formats.checkoutcom import PayoutReport
from reconciliation.formats.checkoutcom_types import fee_part, is_fee, kind_of
from reconciliation.formats.chunks import Line, as_evidence
from reconciliation.formats.finer import whole
from reconciliation.formats.records import Columns, Records, normal
from reconciliation.formats.refusing import Cell, Refusals
from reconciliation.formats.rows import chunked
from reconciliation.formats.shape import Chunk, Control, ReadFrom

_REQUIRED = (
    *("client entity id", "action type", "action id", "payment id", "reference", "processed on", "payout id"),
    *("breakdown type", "processing currency", "processing currency amount", "fx rate applied"),
    *("holding currency", "holding currency amount"),
)
_OPTIONAL = ("processed on utc",)
_READ_PAST = (
    *("client entity name", "sub entity id", "sub entity name", "processing channel id", "processing channel name"),
    *("merchant category code", "currency account id", "currency account name", "currency account custom id"),
    *("requested on", "requested on utc", "fx trade id", "payment method", "card type", "card category"),
    *("issuer country", "entity country", "region", "mid", "response code", "response description", "timezone"),
    # The tax once more in the currency of the entity's country, and of a fee what it is made of.
    *("entity country tax currency", "tax fx rate", "tax currency amount", "fee detail"),
    *("transaction currency", "transaction currency amount", "available on", "available on utc"),
)
_MONEY = re.compile(r"\b(gross|net|deduction|fees?|tax|reserve|amount|interchange)\b")
_OF_PAYMENTS = frozenset("crRbB")


class CheckoutcomFinancialActions:
    name = "checkoutcom_financial_actions"
    version = 1
    provider = "checkoutcom"
    of: Literal["psp", "bank"] = "psp"
    mode: Literal["replace", "union"] = "replace"
    ties = "the rows of a pay-out add up to what the payouts report says of it; evidence, unless the source has this format"

    def sniff(self, head: bytes, name: str) -> int:
        columns = {normal(column) for column in first_line(head).split(",")}
        return 95 if columns.issuperset(_REQUIRED) else 60 if {"action id", "breakdown type"} <= columns else 0

    def read(self, blocks: Iterable[bytes], source: ReadFrom) -> Iterator[Chunk | Control]:
        refusals = Refusals(source.released)
        with refusals.raised_at_the_end():
            records = Records(blocks)
            columns = Columns(
                records.header(),
                required=_REQUIRED,
                optional=(*_OPTIONAL, *_READ_PAST),
                is_money=lambda name: _MONEY.search(name) is not None,
            )
            counts = source.counts(self.name)
            actions = _Actions(source, columns, counts=counts)
            yield from chunked(records, columns, actions.chunks, refusals, actions.line, actions.cells)
            if not refusals:
                actions.check()
                yield actions.control("financial actions", has_rows=counts)


class _Actions(PayoutReport):
    """What is known while one file is read."""

    def __init__(self, source: ReadFrom, columns: Columns, *, counts: bool) -> None:
        super().__init__(source, columns)
        self._pick = columns.picker(*_REQUIRED, *_OPTIONAL)
        self._counts = counts

    def line(self, row: list[str]) -> Line:
        """A line that is paid out and counts, else evidence. Errors: Unreadable."""
        (entity, action_type, action, payment, reference, processed, payout_id, breakdown, charged_in, charged_text, rate,
         currency, amount_text, at_utc) = self._pick(row)  # fmt: skip
        self.entity(entity)
        settlement, amount = self.payout(payout_id), self.exact[amount_text]
        kind = _kind(action_type, breakdown, amount)
        when = self.when(processed, at_utc)
        net = self.rounding.minor((settlement, currency, "net"), amount, currency)
        part = fee_part(breakdown)
        if is_fee(breakdown):
            gross, charged_in, rate, fee = 0, currency, "", -net
        else:
            gross, charged_in, rate = self._gross(
                kind, amount, net, currency, self.exact[charged_text], charged_in, rate
            )
            fee, part = 0, 0
        name = (self.source.name, settlement, action_type, breakdown, action, payment, reference, processed)
        text = "\x1f".join((*name, currency, str(amount), charged_in, charged_text, rate))
        commission, _, scheme, interchange, tax = (fee if place == part else 0 for place in range(5))
        line = Line(
            kind, self.key(kind, reference, payment, action), action or payment, self.order(reference), settlement,
            gross, charged_in, net, currency, fee, commission, 0, scheme, interchange, tax,
            rate, when.at, when.day, self.occurrences.digest(text),
        )  # fmt: skip
        return line if settlement and self._counts else as_evidence(line)

    def _gross(
        self, kind: str, amount: int, net: int, currency: str, charged: int, charged_in: str, rate: str
    ) -> tuple[int, str, str]:
        """In minor units of the payment's currency, with the rate if that is another one. Errors: Unreadable."""
        if kind not in _OF_PAYMENTS:
            return net, currency, ""
        if charged_in in ("", currency):
            return whole(amount, currency), currency, ""
        self.check_rate(charged, charged_in, amount, currency, rate)
        return whole(charged, charged_in), charged_in, rate

    def cells(self, row: list[str]) -> Iterator[Cell]:
        """In the order in which a row's columns are read."""
        place = self.columns.place
        breakdown = row[place("breakdown type")]
        readers: dict[str, Callable[[str], object]] = {
            "client entity id": self.is_met,
            "holding currency amount": self.exact.parse,
            "action type": lambda text: is_fee(breakdown) and kind_of(text, True, False),
            "breakdown type": lambda text: is_fee(text) or kind_of(text, True, True),
            "processed on utc": lambda text: text and self.when("", text),
            "processed on": lambda text: row[place("processed on utc")] or self.when(text),
            "holding currency": decimals_of,
            "processing currency amount": self.exact.parse,
            "processing currency": lambda text: text and decimals_of(text),
            "fx rate applied": self.is_rate,
        }
        return ((self.columns.written(name), place(name), read) for name, read in readers.items())


def _kind(action_type: str, breakdown: str, amount: int) -> str:
    """A fee of a payment's action is a part of what that payment costs; another one stands by itself."""
    if not is_fee(breakdown):
        return kind_of(breakdown, amount > 0, moves=True)
    kind_of(action_type, False, moves=False)  # known
    kind = _ACTIONS.get(normal(action_type))
    return kind or "f"


_ACTIONS = {
    **dict.fromkeys(("capture", "partial capture"), "c"),
    **dict.fromkeys(("refund", "partial refund"), "r"),
    "chargeback": "b",
}

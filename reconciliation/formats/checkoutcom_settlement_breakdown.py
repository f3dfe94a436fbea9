"""Checkout.com's settlement breakdown (CSV): the movements of a pay-out, each with its deductions.

Columns: checkout.com/docs, funds management, settlement reports. Amounts are signed decimals of major units with up to
eight digits behind the point; deductions have a minus. gross + deduction = net in the holding currency.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from reconciliation.formats.amounts import decimals_of
from reconciliation.formats.blocks import first_line
from reconciliation.formats.checkoutcom import PayoutReport
from reconciliation.formats.checkoutcom_types import kind_of
from reconciliation.formats.chunks import Line
from reconciliation.formats.finer import shared, whole
from reconciliation.formats.records import Columns, Records, normal
from reconciliation.formats.refusing import Cell, Refusals, Unreadable
from reconciliation.formats.rows import chunked
from reconciliation.formats.shape import Chunk, Control, ReadFrom

_PARTS = (  # as our fees have them: commission, (no markup), scheme, interchange, tax
    "processing fee in holding currency",
    "scheme fee in holding currency",
    "interchange in holding currency",
    "tax in holding currency",
)
_REQUIRED = (
    *("client entity id", "type", "payment id", "reference", "processed on", "available on", "holding currency"),
    *("payout id", "gross in holding currency", "deduction in holding currency", "net in holding currency"),
    *(*_PARTS, "reserve in holding currency"),
    *("processing currency", "gross in processing currency", "fx rate applied"),
)
_OPTIONAL = ("action id", "processed on utc", "available on utc")
_READ_PAST = (
    *("client entity name", "processing channel id", "processing channel name", "payment method", "card type"),
    *("card category", "issuer country", "entity country", "region", "mid", "merchant category code"),
    *("acquirer reference number", "account funding transaction", "entity segment", "issuing bank", "bin"),
    *("payment type", "udf 1", "udf 2", "udf 3", "udf 4", "udf 5", "timezone", "card product type", "payout date"),
    "net in processing currency",
)
_MONEY = re.compile(r"\b(gross|net|deduction|fees?|tax|reserve|amount|interchange)\b|in holding currency")
_OF_PAYMENTS = frozenset("crRbB")
_HELD = frozenset("hH")


class CheckoutcomSettlementBreakdown:
    name = "checkoutcom_settlement_breakdown"
    version = 1
    provider = "checkoutcom"
    of: Literal["psp", "bank"] = "psp"
    mode: Literal["replace", "union"] = "replace"
    ties = "in each row gross + deduction = net; the rows of a pay-out add up to what the payouts report says of it"

    def sniff(self, head: bytes, name: str) -> int:
        columns = {normal(column) for column in first_line(head).split(",")}
        return 95 if columns.issuperset(_REQUIRED) else 60 if "deduction in holding currency" in columns else 0

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
            breakdown = _Breakdown(source, columns)
            yield from chunked(records, columns, breakdown.chunks, refusals, breakdown.line, breakdown.cells)
            if not refusals:
                breakdown.check()
                yield breakdown.control("settlement breakdown")


class _Breakdown(PayoutReport):
    """What is known while one file is read."""

    def __init__(self, source: ReadFrom, columns: Columns) -> None:
        super().__init__(source, columns)
        self._pick = columns.picker(*_REQUIRED, *_OPTIONAL)

    def line(self, row: list[str]) -> Line:
        """Errors: Unreadable."""
        (entity, type_, payment, reference, processed, available, currency, payout_id, gross_text, deduction_text,
         net_text, *parts_texts, reserve_text, charged_in, charged_text, rate,
         action, at_utc, day_utc) = self._pick(row)  # fmt: skip
        self.entity(entity)
        exact = self.exact
        gross, deduction, net = exact[gross_text], exact[deduction_text], exact[net_text]
        kind = kind_of(type_, gross > 0, gross != 0)
        settlement = self.payout(payout_id)
        parts, kind = self._parts(kind, gross, deduction, net, [*parts_texts, reserve_text])
        charged_in, rate = self._charged_in(kind, currency, charged_in, rate)
        amounts = self._amounts(kind, gross, net, currency, settlement, exact[charged_text], charged_in, rate)
        shares = shared(amounts[-1], parts, currency)
        at, day = self.when(processed, at_utc), self.when(available, day_utc)
        name = (self.source.name, settlement, type_, payment, action, reference, processed, currency, charged_in)
        text = "\x1f".join((*name, str(gross), str(net), charged_text, rate))
        return Line(
            kind,
            self.key(kind, reference, payment, action),
            action or payment,
            self.order(reference),
            settlement,
            *amounts,
            commission=shares[0],
            scheme_fee=shares[1],
            interchange=shares[2],
            tax=shares[3],
            rate=rate,
            at=at.at,
            value_day=day.day,
            digest=self.occurrences.digest(text),
        )

    def _parts(self, kind: str, gross: int, deduction: int, net: int, texts: list[str]) -> tuple[list[int], str]:
        """The costs (+) in units of 10⁻⁸, and the kind: a row may be nothing but a reserve."""
        *parts, reserve = [-self.exact[text] for text in texts]
        if gross + deduction != net:
            raise Unreadable("row_does_not_tie", "gross + deduction is not net")
        if not any(parts) and not reserve:  # what a pay-out costs has no part of its own
            return [-deduction, 0, 0, 0], kind
        if sum(parts) + reserve != -deduction:
            raise Unreadable("row_does_not_tie", "fees, tax and reserve do not add up to the deduction")
        if not reserve:
            return parts, kind
        if gross or any(parts):
            raise Unreadable("schema_drift", "a reserve beside a payment or a fee in one row")
        return [0, 0, 0, 0], "h" if reserve > 0 else "H"

    def _charged_in(self, kind: str, currency: str, charged_in: str, rate: str) -> tuple[str, str]:
        """The currency of the payment, and the rate if it is another one than the pay-out's."""
        if kind not in _OF_PAYMENTS or not charged_in or charged_in == currency:
            return currency, ""
        return charged_in, rate

    def _amounts(
        self, kind: str, gross: int, net: int, currency: str, settlement: str, charged: int, charged_in: str, rate: str
    ) -> tuple[int, str, int, str, int]:
        """Gross, net and fee in minor units. Errors: Unreadable."""
        name = (settlement, currency)
        minor = self.rounding.minor((*name, "net"), net, currency)
        if kind in _HELD:
            return minor, currency, minor, currency, 0
        if kind not in _OF_PAYMENTS:
            fee = self.rounding.minor((*name, "fee"), gross - net, currency)
            fee = -minor if kind == "f" else fee
            return minor + fee, currency, minor, currency, fee
        if charged_in == currency:
            if charged != gross:
                raise Unreadable("row_does_not_tie", "one currency, and gross is not gross in the processing currency")
            whole_gross = whole(gross, currency)
            return whole_gross, currency, minor, currency, whole_gross - minor
        self.check_rate(charged, charged_in, gross, currency, rate)
        whole_gross = whole(charged, charged_in)
        fee = self.rounding.minor((*name, "fee"), gross - net, currency)
        return whole_gross, charged_in, minor, currency, fee

    def cells(self, row: list[str]) -> Iterator[Cell]:
        """In the order in which a row's columns are read."""
        place = self.columns.place
        gross = row[place("gross in holding currency")]

        def is_type(text: str) -> object:
            moves = gross.strip("0.-") != ""
            return kind_of(text, True, moves)

        charges = [name for name in _REQUIRED if name.endswith("currency") and _MONEY.search(name)]
        readers: dict[str, Callable[[str], object]] = {
            "client entity id": self.is_met,
            **dict.fromkeys(charges, self.exact.parse),
            "type": is_type,
            "holding currency": decimals_of,
            "processing currency": lambda text: text and decimals_of(text),
            "fx rate applied": self.is_rate,
            "processed on utc": lambda text: text and self.when("", text),
            "available on utc": lambda text: text and self.when("", text),
            "processed on": lambda text: row[place("processed on utc")] or self.when(text),
            "available on": lambda text: row[place("available on utc")] or self.when(text),
        }
        return ((self.columns.written(name), place(name), read) for name, read in readers.items())

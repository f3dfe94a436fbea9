"""Adyen's Settlement Details report (CSV): a batch of a merchant account.

Columns and types: docs.adyen.com, reporting, settlement reconciliation, transaction level, Settlement details report and
its journal types. Amounts are decimals of major units, unsigned, in a debit and a credit column; an empty one is 0. Fees have
one column each, and a minus where they are given back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Literal

from reconciliation.formats.amounts import MajorUnits, Rates, Units, decimals_of, distance_at_rate, slack_at_rate
from reconciliation.formats.blocks import first_line
from reconciliation.formats.chunks import Chunks, Line, line_of
from reconciliation.formats.keys import Occurrences, ours, theirs
from reconciliation.formats.records import Columns, Records, normal
from reconciliation.formats.refusing import Cell, Refusals, Unreadable
from reconciliation.formats.rows import chunked
from reconciliation.formats.shape import NO_KEY, Chunk, Control, ReadFrom, Refusal
from reconciliation.formats.times import Times
from schemas.masking import masked
from schemas.money import Money

# docs.adyen.com, development resources, currency codes: where Adyen's decimals differ from ISO 4217's.
EXPONENTS = {"CLP": 2, "CVE": 0}

KINDS = {
    "Settled": "c",
    "SettledInInstallments": "c",
    "SettledInstallment": "c",
    "SettledReversed": "c",
    "Refunded": "r",
    "RefundedInInstallments": "r",
    "RefundedInstallment": "r",
    "RefundedReversed": "R",
    "Chargeback": "b",
    "ChargebackInInstallments": "b",
    "ChargebackReversed": "B",
    "SecondChargeback": "2",
    "Fee": "f",
    "MiscCosts": "f",
    "AuthorisationSchemeFee": "f",
    "PaymentCost": "f",
    "SettledExternally": "f",  # the money came another way; what Adyen charges for it is here
    "RefundedExternally": "f",
    "ChargebackExternally": "f",
    "ChargebackReversedExternally": "f",
    "MerchantPayout": "p",
    "EpaPaid": "p",
    "BankInstructionReturned": "q",
    "DepositCorrection": "h",  # or H, by its sign
    "ReserveAdjustment": "h",
    "Balancetransfer": "t",
    "InternalCompanyPayout": "t",
    "InvoiceDeduction": "i",
    "MatchedStatement": "j",
    "ManualCorrected": "j",
    "PaidOut": "j",  # to a third party, not to the merchant's bank account
    "PaidOutReversed": "j",
}
_OF_PAYMENTS = frozenset("crRbB2")
_ONE = frozenset({"", "1"})
_DISPUTES = frozenset("bB2")

_REQUIRED = (
    "merchant account",
    "psp reference",
    "merchant reference",
    "creation date",
    "timezone",
    "type",
    "modification reference",
    "gross currency",
    "gross debit gc",
    "gross credit gc",
    "exchange rate",
    "net currency",
    "net debit nc",
    "net credit nc",
    "commission nc",
    "markup nc",
    "scheme fees nc",
    "interchange nc",
    "batch number",
)
_OPTIONAL = (
    "modification merchant reference",
    "booking date",
    "booking date timezone",
    "payment fees nc",  # the total of the four before it: checked, never added
    "merchant order reference",
    "dispute reference",
)
# Known, and not needed: the row's equation holds without them.
_READ_PAST = (
    "company account",
    "payment method",
    "payment method variant",
    *(f"reserved{number}" for number in range(4, 11)),
    "metadata",
    "metadata json",
    "balance currency",
    "net debit bc",
    "net credit bc",
    "dcc markup nc",
    "gross fees nc",
    "funds destination",
    "balance platform debit",
    "balance platform credit",
    "shopper country",
    "clearing network",
    "arn",
    "settlement flow",
    "authorisation code",
)
_MONEY = re.compile(r".*(?: (?:[gnbsp]c)|debit|credit|amount|fees?|commission|markup|interchange)")
_FEES = ("commission nc", "markup nc", "scheme fees nc", "interchange nc", "payment fees nc")
_BATCH = re.compile(r"[0-9]{1,12}", re.ASCII)


class AdyenSettlementDetails:
    name = "adyen_settlement_details"
    version = 1
    provider = "adyen"
    of: Literal["psp", "bank"] = "psp"
    mode: Literal["replace", "union"] = "replace"
    ties = "in each row gross at its rate - fees = net; in each currency of a batch all nets, pay-outs too, add up to 0"

    def sniff(self, head: bytes, name: str) -> int:
        columns = {normal(column) for column in first_line(head).split(",")}
        if not {"psp reference", "batch number", "net currency"} <= columns:
            return 0
        return 100 * len(columns.intersection(_REQUIRED)) // len(_REQUIRED)

    def read(self, blocks: Iterable[bytes], source: ReadFrom) -> Iterator[Chunk | Control]:
        refusals = Refusals(source.released)
        with refusals.raised_at_the_end():
            records = Records(blocks)
            columns = Columns(
                records.header(), required=_REQUIRED, optional=(*_OPTIONAL, *_READ_PAST), is_money=_is_money
            )
            batch = _Batch(columns, source)
            yield from chunked(records, columns, batch.chunks, refusals, batch.line, batch.cells)
            if not refusals:
                batch.check(refusals)
            if not refusals:
                yield batch.control()


class _Batch:
    """What is known while one file is read."""

    def __init__(self, columns: Columns, source: ReadFrom) -> None:
        self.chunks = Chunks()
        self._columns = columns
        self._source = source
        self._pick = columns.picker(*_REQUIRED, *_OPTIONAL)
        self._units, self._fees = Units(EXPONENTS), Units(EXPONENTS, signed=True)
        self._rates, self._times, self._occurrences = Rates(), Times(), Occurrences()
        self._accounts: set[str] = set()
        self._batches: set[str] = set()

    def line(self, row: list[str]) -> Line:
        """Errors: Unreadable."""
        (account, psp_ref, merchant_ref, created, zone, type_, modification, gross_currency, gross_debit, gross_credit,
         rate, currency, debit, credit, commission, markup, scheme, interchange, batch,
         capture_ref, booked, booked_zone, fees, order, dispute) = self._pick(row)  # fmt: skip
        if account not in self._accounts:
            self._meet_account(account)
        if batch not in self._batches:
            self._batches.add(_batch(batch))
        kind = KINDS.get(type_) or _kind(type_)
        units = self._units[currency]
        net = units[credit] - units[debit]
        parts_of = self._fees[currency]
        parts = (parts_of[commission], parts_of[markup], parts_of[scheme], parts_of[interchange])
        fee = sum(parts)
        if not fee and fees:  # the total alone is given
            fee = parts_of[fees]
            parts = (fee, 0, 0, 0)
        if kind in _OF_PAYMENTS:
            gross_currency = gross_currency or currency
            own = units if gross_currency == currency else self._units[gross_currency]
            gross = own[gross_credit] - own[gross_debit]
            if own is units and rate in _ONE:
                rate = ""
                if gross - fee != net:
                    raise _untied()
            else:
                rate = self._rate(gross, gross_currency, net + fee, currency, rate)
        else:
            gross_currency, rate = currency, ""
            gross = net + fee
        if kind == "f":  # what Adyen charges is a fee on nothing
            gross, fee, parts = 0, -net, parts if fee == -net else (-net, 0, 0, 0)
        when = self._times[(booked, booked_zone) if booked else (created, zone)]
        text = (
            f"{self._source.name}\x1f{batch}\x1f{account}\x1f{type_}\x1f{psp_ref}\x1f{merchant_ref}\x1f{modification}"
            f"\x1f{created}\x1f{zone}\x1f{gross_currency}\x1f{gross}\x1f{currency}\x1f{net}\x1f{fee}\x1f{rate}"
        )
        key = self._key(kind, psp_ref, merchant_ref, modification, capture_ref, dispute)
        return line_of(
            Line,
            (
                "H" if kind == "h" and net > 0 else kind,
                key,
                psp_ref if kind == "c" else modification or psp_ref,
                order or ("" if merchant_ref == key else _order(merchant_ref)),
                batch,
                gross,
                gross_currency,
                net,
                currency,
                fee,
                *parts,
                0,
                rate,
                *when,
                self._occurrences.digest(text),
            ),
        )

    def _rate(self, gross: int, gross_currency: str, worth: int, currency: str, rate: str) -> str:
        """The rate, where the currencies differ. Errors: Unreadable where gross at that rate is not net and fees."""
        if not gross and not rate:
            distance, slack = Fraction(abs(worth)), Fraction(0)
        elif not rate:
            raise Unreadable("bad_row", "no exchange rate between two currencies", "Exchange Rate")
        else:
            exact = self._rates[rate]
            distance = distance_at_rate(gross, gross_currency, worth, currency, exact)
            slack = slack_at_rate(gross, gross_currency, currency, rate)
        if distance > slack:
            raise _untied()
        return rate if gross_currency != currency else ""

    def _key(
        self, kind: str, psp_ref: str, merchant_ref: str, modification: str, capture_ref: str, dispute: str
    ) -> str:
        if kind == "c":
            return ours(capture_ref) or ours(merchant_ref) or theirs(self._source.psp, psp_ref or modification)
        if kind in _DISPUTES:
            return theirs(self._source.psp, dispute or modification)
        if kind in _OF_PAYMENTS:
            return ours(capture_ref) or theirs(self._source.psp, modification)
        return NO_KEY

    def _meet_account(self, account: str) -> None:
        """A source is one merchant account: batches of two would have the same numbers."""
        wanted = self._source.accounts
        if self._accounts or not account or (wanted and account not in wanted):
            raise Unreadable(
                "wrong_account", f"merchant account {account[:80]!r} is not the source's, or is a second one"
            )
        self._accounts.add(account)

    def _is_met(self, account: str) -> None:
        if account not in self._accounts:
            raise Unreadable("wrong_account", "")

    def cells(self, row: list[str]) -> Iterator[Cell]:
        """In the order in which a row's columns are read."""
        any_units = MajorUnits(9, 9)
        net_currency = row[self._columns.place("net currency")]
        net, fees = self._units.get(net_currency, any_units), self._fees.get(net_currency, any_units)
        gross = self._units.get(row[self._columns.place("gross currency")], any_units)
        zone, booked_zone = row[self._columns.place("timezone")], row[self._columns.place("booking date timezone")]
        readers: dict[str, Callable[[str], object]] = {
            "merchant account": self._is_met,
            "type": _kind,
            "net currency": decimals_of,
            "batch number": _batch,
            **dict.fromkeys(("net debit nc", "net credit nc"), net.parse),
            **dict.fromkeys(_FEES, fees.parse),
            **dict.fromkeys(("gross debit gc", "gross credit gc"), gross.parse),
            "gross currency": lambda text: text and decimals_of(text),
            "exchange rate": lambda text: text and self._rates[text],
            "booking date": lambda text: text and self._times[text, booked_zone],
            "creation date": lambda text: self._times[text, zone],
        }
        return ((self._columns.written(name), self._columns.place(name), read) for name, read in readers.items())

    def check(self, refusals: Refusals) -> None:
        """That all nets add up to nothing."""
        if not self._batches:
            refusals.add(Refusal("empty", "the file has no line but its header"))
        sums = self.chunks.settlements()
        if len(self._batches) > 1 and any(each.ties for each in sums):
            return  # each batch for itself: one that does not tie is not booked
        for currency, total in self.chunks.totals().items():
            if total:
                wrong = Money(total, currency)
                detail = f"credits less debits are {wrong}, not 0: lines are missing or changed"
                refusals.add(Refusal("bad_total", detail))

    def control(self) -> Control:
        [account] = self._accounts
        numbers = sorted(map(int, self._batches))
        batches = f"batch {numbers[0]}" if len(numbers) == 1 else f"batches {numbers[0]} to {numbers[-1]}"
        chunks = self.chunks
        return Control(
            f"{batches} of {account}", "", (account,), *chunks.days(), chunks.lines,
            sequence=numbers[0] if len(numbers) == 1 else None,
            claims=chunks.claims(), sums=chunks.settlements(), totals=chunks.totals(), notes=self._columns.notes,
        )  # fmt: skip


def _kind(type_: str) -> str:
    try:
        return KINDS[type_]
    except KeyError:
        raise Unreadable("schema_drift", f"an unknown type {masked(type_)[:60]!r}") from None


def _untied() -> Unreadable:
    detail = "gross at the row's rate, less commission, markup, scheme fees and interchange, is not its net"
    return Unreadable("row_does_not_tie", detail)


def _batch(text: str) -> str:
    if _BATCH.fullmatch(text) is None:
        raise Unreadable("bad_row", "not the number of a batch")
    return text


def _order(merchant_ref: str) -> str:
    """What else than our call id the merchant's reference may be, without card numbers."""
    return "" if ours(merchant_ref) else masked(merchant_ref)


def _is_money(name: str) -> bool:
    return _MONEY.fullmatch(name) is not None

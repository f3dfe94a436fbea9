"""Settlements of a day → PayPal's STL or TRR: records by their first field, unsigned hundredths whatever the currency.

Records: developer.paypal.com/docs/reports/sftp-reports/settlement-report and …/transaction-detail
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from simulator.currencies import ISO
from simulator.settlements.csv_lines import quote
from simulator.settlements.model import CannotWrite, Kind, Row, Settlement

COLUMNS = (
    *("Transaction ID", "Invoice ID", "PayPal Reference ID", "PayPal Reference ID Type", "Transaction Event Code"),
    *("Transaction Initiation Date", "Transaction Completion Date", "Transaction Debit or Credit"),
    *("Gross Transaction Amount", "Gross Transaction Currency", "Fee Debit or Credit", "Fee Amount", "Fee Currency"),
    *("Custom Field", "Consumer ID", "Payment Tracking ID", "Store ID", "Bank Reference ID"),
    *("Credit Transactional Fee", "Credit Promotional Fee", "Credit Term"),
)
DETAIL = (
    *COLUMNS[:13],
    *("Transactional Status", "Insurance Amount", "Sales Tax Amount", "Shipping Amount", "Transaction Subject"),
    *("Transaction Note", "Payer's Account ID", "Payer Address Status", "Item Name", "Item ID"),
    *("Option 1 Name", "Option 1 Value", "Option 2 Name", "Option 2 Value"),
    *("Auction Site", "Auction Buyer ID", "Auction Closing Date"),
    *(f"Shipping Address {part}" for part in ("Line1", "Line2", "City", "State", "Zip", "Country")),
    *("Shipping Method", "Custom Field"),
    *(f"Billing Address {part}" for part in ("Line1", "Line2", "City", "State", "Zip", "Country")),
    *("Consumer ID", "First Name", "Last Name", "Consumer Business Name", "Card Type", "Payment Source"),
    *("Shipping Name", "Authorization Review Status", "Protection Eligibility", "Payment Tracking ID"),
)
_PAYER = {
    "Transactional Status": '"S"',
    "Payer's Account ID": '"payer@example.org"',
    "First Name": '"Cindy"',
    "Last Name": '"Whovill"',
    "Billing Address Line1": '"321 Notta Boulevard"',
}
_CODES: Mapping[Kind, str] = {
    "capture": "T0006",
    "refund": "T1107",
    "refund_reversed": "T1100",
    "chargeback": "T1201",
    "second_chargeback": "T1207",
    "chargeback_reversed": "T1202",
    "fee": "T0106",
    "payout": "T0400",
    "payout_reversed": "T1101",
    "reserve_held": "T1110",
    "reserve_released": "T1111",
    "adjustment": "T1900",
}
_TAKEN_BACK = "T1106"
_CONVERSION = "T0200"


@dataclass(slots=True)
class _Totals:
    """Of one currency, in hundredths."""

    credits: int = 0
    debits: int = 0
    fee_credits: int = 0
    fee_debits: int = 0
    begin: int = 0
    count: int = 0

    def add(self, gross: int, fee: int) -> None:
        self.count += 1
        self.credits += max(gross, 0)
        self.debits += max(-gross, 0)
        self.fee_credits += max(-fee, 0)
        self.fee_debits += max(fee, 0)

    def fields(self) -> list[str]:
        """The sums, then three balances at the beginning and the end: available, payable and total are the same."""
        end = self.begin + self.credits - self.debits + self.fee_credits - self.fee_debits
        balances = [field for _ in range(3) for each in (self.begin, end) for field in _amount(each)]
        sums = (self.credits, self.debits, self.fee_credits, self.fee_debits)
        return [*map(str, sums), *balances, str(self.count)]


@dataclass(frozen=True, slots=True)
class _Record:
    """A transaction in one currency; what is exchanged is several."""

    id: str
    code: str
    reference: str
    gross: int
    currency: str
    fee: int
    bank_reference: str = ""


def write(settlements: Sequence[Settlement], made_at: int, *, detail: bool = False) -> Iterator[bytes]:
    """The file of a day, a record at a time; with `detail` the TRR, which names the payer, too."""
    account = quote(settlements[0].account)
    day = settlements[0].day.replace("-", "/")
    yield _line('"RH"', _time(made_at), '"A"', account, "009", "")
    yield _line('"FH"', "01")
    yield _line('"SH"', f"{day} 00:00:00 +0000", f"{day} 23:59:59 +0000", account, '""')
    yield _line('"CH"', *map(quote, DETAIL if detail else COLUMNS))
    totals: dict[str, _Totals] = {}
    for settlement in settlements:
        for place, row in enumerate(settlement.rows):
            if row.kind == "carried":
                _carry(row, settlement, totals)
                continue
            for record in _records(row, place, settlement):
                totals.setdefault(record.currency, _Totals()).add(record.gross, record.fee)
                fields = dict(zip(COLUMNS, _body(record, row), strict=True))
                told = fields | _PAYER if detail else fields
                yield _line('"SB"', *(told.get(name, '""') for name in (DETAIL if detail else COLUMNS)))
    yield from _footers(totals)


def _footers(totals: Mapping[str, _Totals]) -> Iterator[bytes]:
    count = str(sum(each.count for each in totals.values()))
    for footer, counted in (("SF", "SC"), ("RF", "RC")):
        for currency, each in sorted(totals.items()):
            yield _line(quote(footer), quote(currency), *each.fields())
        yield _line(quote(counted), count)
    yield _line('"FF"', count)


def _carry(row: Row, settlement: Settlement, totals: dict[str, _Totals]) -> None:
    """What was carried from the settlement before is the balance at the beginning; the one at the end follows."""
    if int(row.payout_ref) < settlement.number:
        totals.setdefault(row.currency, _Totals()).begin += _hundredths(row.net, row.currency)


def _records(row: Row, place: int, settlement: Settlement) -> Iterator[_Record]:
    """The transaction; after one in another currency both legs of its exchange, the second with the fee."""
    id_, bank_reference = row.psp_ref or f"{settlement.payout_id[3:15]}{place}", ""
    if row.kind == "payout":
        id_, bank_reference = settlement.payout_id[3:], settlement.trace
    reference = "" if row.charge_psp_ref == row.psp_ref else row.charge_psp_ref
    gross = _hundredths(row.gross, row.currency)
    fee = _hundredths(row.fee.total, row.net_currency)
    if not row.rate:
        yield _Record(id_, _code(row), reference, gross, row.currency, fee, bank_reference)
        return
    exchanged = _hundredths(row.net + row.fee.total, row.net_currency)
    yield _Record(id_, _code(row), reference, gross, row.currency, 0)
    yield _Record(f"{id_}-1", _CONVERSION, id_, -gross, row.currency, 0)
    yield _Record(f"{id_}-2", _CONVERSION, id_, exchanged, row.net_currency, fee)


def _body(record: _Record, row: Row) -> tuple[str, ...]:
    fee = ('""', "", '""') if not record.fee else (*_amount(-record.fee), quote(record.currency))
    at = _time(row.at)
    texts = (record.id, row.order_ref, record.reference, "TXN" if record.reference else "", record.code)
    more = ("", "", "", record.bank_reference)
    return (
        *map(quote, texts),
        *(at, at),
        *(*_amount(record.gross), quote(record.currency)),
        *fee,
        *map(quote, (row.our_ref, *more)),
        *("", "", ""),
    )


def _code(row: Row) -> str:
    if row.kind not in _CODES:
        raise CannotWrite(f"PayPal's report has no code for the kind {row.kind}")
    return _TAKEN_BACK if row.kind == "capture" and row.gross < 0 else _CODES[row.kind]


def _hundredths(minor: int, currency: str) -> int:
    if ISO[currency] > 2:
        raise CannotWrite(f"PayPal has no balances in {currency}")
    return minor * int(10 ** (2 - ISO[currency]))


def _amount(hundredths: int) -> tuple[str, str]:
    return ('"DR"' if hundredths < 0 else '"CR"'), str(abs(hundredths))


def _time(at: int) -> str:
    return f"{datetime.fromtimestamp(at // 1_000_000, UTC):%Y/%m/%d %H:%M:%S %z}"


def _line(*fields: str) -> bytes:
    return (",".join(fields) + "\r\n").encode()
